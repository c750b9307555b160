"""The store: nothing lost, nothing half written, and carried elsewhere as it is."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from evaluator.locations import REPOSITORY
from evaluator.runs import entries, leaderboard
from evaluator.runs.documents import ResultError
from evaluator.runs.leaderboard import MIGRATIONS, LeaderboardError, Store
from tests.evaluator import made_results
from tests.evaluator.runs.boards import command, store_of

WRITER = """
import sys
from pathlib import Path
from evaluator.runs.leaderboard import Store
from tests.evaluator import made_results

store, name, number = Store(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
for i in range(number):
    # About 100 kB a row, so that a kill finds it half written
    run = made_results.result({f"{name} {i} {j}": float(j) for j in range(300)})
    print(store.record(run, None), flush=True)
"""


def start_writer(store: Path, name: str, number: int, output: Path) -> subprocess.Popen[bytes]:
    with output.open("wb") as file:
        command = [sys.executable, "-c", WRITER, str(store), name, str(number)]
        return subprocess.Popen(command, cwd=REPOSITORY, stdout=file)


def test_a_run_comes_back_as_it_was() -> None:
    run = made_results.result({"a": 1.25, "b": "timeout"})
    entry = store_of(run).find("latest")
    assert entry.result == run
    assert entry.id == entries.run_id(entries.canonical(run.to_json()))


@pytest.mark.slow
def test_several_writers_lose_nothing(tmp_path: Path) -> None:
    store = tmp_path / "new" / "leaderboard.sqlite"
    writers = [start_writer(store, name, 8, tmp_path / name) for name in "abcd"]
    assert [writer.wait(timeout=120) for writer in writers] == [0] * 4
    reported = {line for name in "abcd" for line in (tmp_path / name).read_text().split()}
    assert len(reported) == 32
    assert {entry.id for entry in Store(store).entries()} == reported


@pytest.mark.slow
def test_a_killed_writer_leaves_whole_rows(tmp_path: Path) -> None:
    store = tmp_path / "leaderboard.sqlite"
    reported: set[str] = set()
    for attempt in range(2):
        output = tmp_path / f"output {attempt}"
        writer = start_writer(store, str(attempt), 100_000, output)
        deadline = time.monotonic() + 60
        while output.read_text().count("\n") < 4 + attempt and time.monotonic() < deadline:
            time.sleep(0.003)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        reported |= {line for line in output.read_text().split() if len(line) == 64}
    kept = Store(store).entries()  # repairs what was cut off
    assert reported <= {entry.id for entry in kept}
    assert all(entries.make_entry(entry.result, None).id == entry.id for entry in kept)
    with sqlite3.connect(store) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_kill_between_writing_and_commit_leaves_the_rows_before(tmp_path: Path) -> None:
    path = tmp_path / "leaderboard.sqlite"
    first = Store(path).record(made_results.result({"a": 1.0}), None)
    # A cache of one page forces pages of the open transaction into the file itself before the kill.
    script = f"""
import os, signal, sqlite3
connection = sqlite3.connect({str(path)!r}, isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
for i in range(200):
    connection.execute("INSERT INTO runs (id, recorded, result) VALUES (?, '', ?)", (str(i), '"' + "x" * 5000 + '"'))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.with_name(f"{path.name}-journal").exists()
    assert path.stat().st_size > 500_000
    assert [entry.id for entry in Store(path).entries()] == [first]


def test_nothing_is_changed_or_deleted(leaderboard_file: Path) -> None:
    store_of(made_results.result({"a": 1.0}))
    for statement in ("DELETE FROM runs", "UPDATE runs SET recorded = ''"):
        with (
            sqlite3.connect(leaderboard_file) as connection,
            pytest.raises(sqlite3.Error, match="append-only"),
        ):
            connection.execute(statement)


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_a_file_of_an_earlier_schema_migrates(leaderboard_file: Path, version: int) -> None:
    runs = [made_results.result({"a": float(i)}) for i in range(3)]
    with sqlite3.connect(leaderboard_file) as connection:
        for statements in MIGRATIONS[:version]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {version}")
        for run in runs:
            entry = entries.make_entry(run, None)
            row = (entry.id, "2024-01-01T00:00:00+00:00", "/old", json.dumps(run.to_json()))
            connection.execute("INSERT INTO runs (id, recorded, folder, result) VALUES (?, ?, ?, ?)", row)
    store = Store()
    assert [entry.result for entry in store.entries()] == runs
    with sqlite3.connect(leaderboard_file) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        columns = [column[1] for column in connection.execute("PRAGMA table_xinfo(runs)")]
        assert columns == ["number", "id", "recorded", "folder", "result"]


def test_a_run_that_this_code_cannot_read_is_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    known = made_results.result({"a": 1.0})
    later = replace(entries.make_entry(known, None), id="f" * 64, document='{"schema_version": 2}')
    store = store_of(known)
    store.add([later])
    assert [entry.result for entry in store.entries()] == [known]
    assert f"{store.path}: row-2 left out: run ffffffff: schema_version: found 2, expected 1" in caplog.text


def test_a_run_from_before_some_fields_keeps_its_id_on_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = made_results.result({"a": 1.0}).to_json()
    del item["jobs"], item["data"]["only"]
    (tmp_path / "result.json").write_text(json.dumps(item))
    assert command("import", str(tmp_path)) == 0
    assert command("export", str(tmp_path / "runs.json")) == 0
    monkeypatch.setenv(leaderboard.FILE_VARIABLE, str(tmp_path / "other.sqlite"))
    assert command("import", str(tmp_path / "runs.json")) == 0
    (entry,) = Store().entries()
    assert entry.id == entries.run_id(entries.canonical(item))
    assert json.loads(entry.document) == item


def test_a_file_of_a_later_version_is_refused_and_left_alone(leaderboard_file: Path) -> None:
    with sqlite3.connect(leaderboard_file) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = leaderboard_file.read_bytes()
    with pytest.raises(LeaderboardError, match="schema version 99"):
        store_of(made_results.result({"a": 1.0}))
    assert leaderboard_file.read_bytes() == before


def test_a_file_that_is_no_database_is_said_to_be_so(leaderboard_file: Path) -> None:
    leaderboard_file.write_text("not a database" * 100)
    with pytest.raises(LeaderboardError, match=r"not a database.*\n?.*move it away"):
        Store().entries()


def test_a_file_whose_schema_is_no_text_is_damaged(tmp_path: Path) -> None:
    """SQLite names it in its message, which Python then cannot read."""
    path = tmp_path / "leaderboard.sqlite"
    Store(path).add([])
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE runs", b"CREATE TABL\x80 runs"))
    with pytest.raises(LeaderboardError, match="move it away"):
        Store(path).entries()


def test_export_and_import_carry_runs_and_repeat_without_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [made_results.result({"a": float(i)}) for i in range(3)]
    store_of(*runs)
    assert command("export", str(tmp_path / "runs.json")) == 0
    monkeypatch.setenv(leaderboard.FILE_VARIABLE, str(tmp_path / "other.sqlite"))
    assert command("import", str(tmp_path / "runs.json")) == 0
    assert command("import", str(tmp_path / "runs.json")) == 0
    assert "0 runs appended, 3 there already" in capsys.readouterr().out
    assert [entry.result for entry in Store().entries()] == runs


def test_a_changed_export_is_refused(tmp_path: Path) -> None:
    item = entries.to_export(store_of(made_results.result({"a": 1.0})).entries())
    item["runs"][0]["result"]["score"]["mean"] = 99.0
    (tmp_path / "runs.json").write_text(json.dumps(item))
    with pytest.raises(ResultError, match="run 0: changed since it was exported"):
        entries.read_runs(tmp_path / "runs.json")


def test_result_files_and_run_folders_can_be_imported(tmp_path: Path) -> None:
    run = made_results.result({"a": 1.0})
    (tmp_path / "result.json").write_text(json.dumps(run.to_json()))
    assert command("import", str(tmp_path), str(tmp_path / "result.json")) == 0
    assert [entry.result for entry in Store().entries()] == [run]


def test_a_page_beside_what_is_imported_from_elsewhere_is_no_report_of_ours(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    own, stranger = Store().path.parent / "20260101-music", tmp_path_factory.mktemp("stranger")
    for number, folder in enumerate((own, stranger)):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").write_text(json.dumps(made_results.result({"a": float(number)}).to_json()))
        (folder / "report.html").write_text("<script>alert(1)</script>")
    assert command("import", str(own), str(stranger)) == 0
    assert {entry.folder for entry in Store().entries()} == {str(own.resolve()), None}


def test_ambiguous_and_unknown_ids(capsys: pytest.CaptureFixture[str]) -> None:
    store = store_of(*(made_results.result({"a": float(i)}) for i in range(40)))
    with pytest.raises(LeaderboardError, match="is the beginning of"):
        store.find("")
    with pytest.raises(LeaderboardError, match="nor the id of one of the 40 runs"):
        store.find("zzz")
