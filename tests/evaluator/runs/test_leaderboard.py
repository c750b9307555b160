"""The store: nothing lost, nothing half written, nothing mixed that cannot be compared."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from evaluator import __main__
from evaluator.challenge import of_stems
from evaluator.isolation.sandbox import Limits
from evaluator.locations import REPOSITORY
from evaluator.reporting import display, leaderboard_view
from evaluator.running import dataset
from evaluator.runs import entries, leaderboard, published, reproduction
from evaluator.runs.documents import ResultError
from evaluator.runs.leaderboard import MIGRATIONS, LeaderboardError, Store
from evaluator.runs.passing import would_pass
from evaluator.runs.results import Result
from tests.evaluator import audio, made_results

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


def store_of(*runs: Result) -> Store:
    store = Store()
    for run in runs:
        store.record(run, None)
    return store


def command(*arguments: str) -> int:
    return __main__.main(["leaderboard", *arguments])


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


def test_ranking_keeps_data_apart_and_puts_the_best_first() -> None:
    low, high = made_results.result({"a": 1.0}), made_results.result({"a": 2.0})
    other = made_results.result({"a": 9.0}, data_hash="e" * 64)
    failed = made_results.result({"a": "crashed"})
    groups = entries.rank(store_of(low, failed, other, high).entries())
    assert [[entry.result for entry in group.ranked] for group in groups] == [[high, low], [other]]
    assert [entry.result for entry in groups[0].unranked] == [failed]


def test_a_part_of_the_data_has_a_ranking_of_its_own_that_says_so(tmp_path: Path) -> None:
    audio.write_music(tmp_path / "data", {"a": 1000, "b": 1000})
    data = {only: dataset.load(tmp_path / "data", only).tracks for only in (None, "a")}
    whole, part = (
        made_results.result(
            {track.name: 1.0 if only is None else 9.0 for track in tracks},
            data_hash=dataset.content_hash(tracks),
            only=only,
        )
        for only, tracks in data.items()
    )
    groups = entries.rank(store_of(whole, part).entries())
    assert [[entry.result for entry in group.ranked] for group in groups] == [[whole], [part]]
    assert [leaderboard_view.title(group).partition(", data ")[0] for group in groups] == [
        "music, data/music: 2 tracks",
        "music, data/music: 1 track (--only a)",
    ]


def test_a_failure_beside_other_tracks_says_nothing_of_passing() -> None:
    assert would_pass(made_results.result({"a": 1.0, "b": "timeout"}, jobs=2)) == "unknown"
    assert would_pass(made_results.result({"a": 1.0}, jobs=2)) == "yes"


def test_repeating_a_part_of_the_data_with_several_at_a_time() -> None:
    (*_, command, _) = reproduction.commands(made_results.result({"a": 1.0, "b": 1.0}, only="[ab]", jobs=2))
    assert command.endswith("--jobs 2 --only '[ab]'")
    plan = made_results.result({"a": 1.0}).plan
    assert plan.submission is not None
    fitted = replace(plan, submission=replace(plan.submission, requested_time_factor=1.57))
    assert " --fit" in reproduction.commands(replace(made_results.result({"a": 1.0}), plan=fitted))[-2]


def test_sorting_by_a_stem() -> None:
    bass = made_results.result({"a": {"bass": 9.0, "drums": 0.0, "other": 0.0, "vocals": 0.0}})
    vocals = made_results.result({"a": {"bass": 0.0, "drums": 8.0, "other": 8.0, "vocals": 8.0}})
    kept = store_of(bass, vocals).entries()
    assert [entry.result for entry in entries.rank(kept, "bass")[0].ranked] == [bass, vocals]
    assert [entry.result for entry in entries.rank(kept, "vocals")[0].ranked] == [vocals, bass]


@pytest.mark.parametrize(
    ("limits", "given", "expected"),
    [
        (Limits(), 1.0, "yes"),
        (Limits(time_factor=1.0), 1.0, "yes"),
        (Limits(time_factor=3.0), 1.0, "unknown"),
        (Limits(time_factor=None), 1.0, "unknown"),
        (Limits(memory_bytes=32 << 30), 1.0, "unknown"),
        (Limits(), "timeout", "no"),
        (Limits(time_factor=0.5), "timeout", "unknown"),
        (Limits(time_factor=None, cpus=None), "crashed", "no"),
    ],
)
def test_whether_a_run_would_have_passed(limits: Limits, given: float | str, expected: str) -> None:
    run = made_results.result({"a": 1.0, "b": given}, limits=limits)
    assert would_pass(run) == expected


def other_stems(**sdr: float) -> Result:
    """A run that scored these stems."""
    run = made_results.result({"a": sdr}, start="2024-01-03T03:04:05+00:00")
    return replace(run, plan=replace(run.plan, challenge=of_stems(sdr).name))


def test_stems_of_no_challenge_have_a_ranking_of_their_own_and_nothing_to_pass(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = other_stems(vocals=1.0, instrumental=3.0)
    assert would_pass(run) == "unknown"
    assert display.verdict(run) == (
        "All tracks were scored: 2.000 dB; these stems are no challenge's, so there is nothing to pass."
    )
    store = store_of(run, other_stems(vocals=2.0, instrumental=1.0), made_results.result({"a": 1.0}))
    assert [group.challenge for group in entries.rank(store.entries())] == ["instrumental,vocals", "music"]
    assert command("--stems", "vocals,instrumental", "--sort", "vocals") == 0
    title, header, first, second = capsys.readouterr().out.splitlines()
    assert title.startswith("instrumental,vocals, data/music: 1 track")
    assert header.split()[:4] == ["#", "mean", "instrumental", "vocals"]
    assert (first.split()[:4], second.split()[3]) == (["1", "1.500", "1.000", "2.000"], "1.000")
    assert command("--sort", "piano") == 2
    assert "--sort piano: nothing here has such a stem; there is bass," in capsys.readouterr().err
    assert "--preset mdx-demo --stems instrumental,vocals" in "\n".join(reproduction.commands(run))


def test_an_unfinished_run_says_nothing_of_passing() -> None:
    assert would_pass(made_results.result({"a": 1.0}, number=2)) == "unknown"


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


@pytest.mark.parametrize("wanted", ["dddddd", "music", "data/music", "/somewhere/data/music"])
def test_data_is_named_by_hash_or_folder(wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    store_of(made_results.result({"a": 1.0}), made_results.result({"a": 2.0}, data_hash="e" * 64))
    assert command("--data", wanted) == 0
    output = capsys.readouterr().out
    assert "1.000" in output
    assert ("2.000" in output) == (wanted != "dddddd")


def test_unknown_data_is_said_to_be_so(capsys: pytest.CaptureFixture[str]) -> None:
    store_of(made_results.result({"a": 1.0}))
    assert command("--data", "nowhere") == 2
    assert "no run on such data; there is" in capsys.readouterr().err


def test_published_rows_stand_apart_and_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    for found in published.load():
        for row in found.rows:
            stems = [row.scores[stem] for stem in found.stems if stem in row.scores]
            if "mean" in row.scores and stems:
                assert row.scores["mean"] == pytest.approx(sum(stems) / len(stems), abs=0.012)
    store_of(made_results.result({"a": 9.5}))
    assert command("--track", "music", "--json") == 0
    assert {record["kind"] for record in json.loads(capsys.readouterr().out)} == {"run"}
    assert command("--track", "music", "--published", "--json") == 0
    records = json.loads(capsys.readouterr().out)
    assert [record["rank"] for record in records if record["kind"] == "run"] == [1]
    assert all("rank" not in record for record in records if record["kind"] == "published")
    assert {record["track"] for record in records} == {"music"}


def test_every_row_leads_back_to_what_made_it(capsys: pytest.CaptureFixture[str]) -> None:
    run = made_results.result({"a": 1.0})
    run_id = store_of(run).entries()[0].id
    assert command("--csv") == 0
    header, row = capsys.readouterr().out.splitlines()[:2]
    assert {"commit", "dirty", "preset", "weights", "limits", "machine", "would_pass", "data_hash"} < set(
        header.split(",")
    )
    assert all(
        text in row for text in (made_results.COMMIT, "mdx-demo", "a" * 64, "1.57", "a processor", "yes")
    )
    assert command("show", run_id[:8]) == 0
    shown = capsys.readouterr().out
    assert f"checkout {made_results.COMMIT}" in shown
    assert (
        "run_eval.py --data /somewhere/data/music --submission /somewhere/submission --preset mdx-demo"
        in shown
    )


def test_the_page_holds_every_run_and_asks_nothing_of_the_network(capsys: pytest.CaptureFixture[str]) -> None:
    store_of(
        made_results.result({"a": 1.0}, preset="<script>alert(1)</script>"),
        made_results.result({"a": "timeout"}),
    )
    assert command("--html") == 0
    page = capsys.readouterr().out
    assert "<script>alert" not in page
    assert "1 of 1 timeout" in page
    assert "http" not in page.replace("http-equiv", "")


def test_interrupted_runs_are_listed_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    store_of(made_results.result({"a": 1.0}, number=2))
    assert command("--track", "music") == 0
    assert "the options leave out 1 run; interrupted ones are listed with --all" in capsys.readouterr().out
    assert command("--all") == 0
    assert "1 of 2 not run" in capsys.readouterr().out


@pytest.mark.parametrize("form", [[], ["--html"]])
def test_a_board_without_runs_says_whether_there_are_any(
    form: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--tag", "paper", *form) == 0
    assert "No run recorded yet" in capsys.readouterr().out
    store_of(made_results.result({"a": 1.0}), made_results.result({"a": 2.0}))
    assert command("--tag", "paper", *form) == 0
    assert "the options leave out 2 runs" in capsys.readouterr().out


def test_ambiguous_and_unknown_ids(capsys: pytest.CaptureFixture[str]) -> None:
    store = store_of(*(made_results.result({"a": float(i)}) for i in range(40)))
    with pytest.raises(LeaderboardError, match="is the beginning of"):
        store.find("")
    with pytest.raises(LeaderboardError, match="nor the id of one of the 40 runs"):
        store.find("zzz")
