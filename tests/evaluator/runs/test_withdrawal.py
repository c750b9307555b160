"""Runs that were taken back, and rows that cannot be read: left out everywhere, named, and never lost."""

import csv
import io
import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from evaluator import __main__
from evaluator.commands import evaluate
from evaluator.runs import entries, leaderboard, results
from evaluator.runs.leaderboard import MIGRATIONS, LeaderboardError, Store
from evaluator.runs.results import Result
from tests.evaluator import made_results

LOW, HIGH = made_results.result({"a": 1.0}), made_results.result({"a": 2.0})


def call(*arguments: str) -> int:
    return __main__.main(list(arguments))


@pytest.fixture
def runs() -> tuple[str, str]:
    """The ids of two recorded runs on the same data, the better one recorded last."""
    store = Store()
    return store.record(LOW, None), store.record(HIGH, None)


def put(leaderboard_file: Path, **columns: object) -> None:
    """Write a row as somebody might by hand."""
    entry = entries.make_entry(made_results.result({"b": 5.0}), None)
    row = {"id": entry.id, "recorded": entry.recorded, "folder": None, "result": entry.document} | columns
    with sqlite3.connect(leaderboard_file) as connection:
        connection.execute(f"INSERT INTO runs ({','.join(row)}) VALUES (?, ?, ?, ?)", tuple(row.values()))


# Withdrawing


def test_a_withdrawn_run_is_listed_only_when_asked_for(
    runs: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("leaderboard", "withdraw", runs[1][:10], "--reason", "trained on\x1b the test set") == 0
    assert capsys.readouterr().out.startswith(f"run {runs[1][:8]}: withdrawn on ")
    assert [entry.id for entry in Store().entries()] == [runs[0]]
    assert Store().find("latest").id == runs[0]
    for form in ("--csv", "--json", "--html", "--all"):
        assert call("leaderboard", "--track", "music", form) == 0
        shown = capsys.readouterr().out
        assert (runs[0][:8] in shown, runs[1][:8] in shown) == (True, False)
    assert call("leaderboard", "--track", "music", "--withdrawn") == 0
    first, second = capsys.readouterr().out.splitlines()[2:4]
    assert (first.split()[0], runs[0][:8] in first) == ("1", True)
    assert (second.split()[0], runs[1][:8] in second) == ("-", True)
    assert r"(trained on\x1b the test set)" in second
    assert call("leaderboard", "--track", "music", "--withdrawn", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert [(row["rank"], row["withdrawn"] is None) for row in shown if row["kind"] == "run"] == [
        (1, True),
        (None, False),
    ]
    assert call("leaderboard", "--withdrawn", "--html") == 0
    assert "withdrawn on" in capsys.readouterr().out


def test_the_store_stays_append_only(leaderboard_file: Path, runs: tuple[str, str]) -> None:
    Store().withdraw(runs[0])
    with sqlite3.connect(leaderboard_file) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (2,)
        for statement in ("DELETE FROM withdrawals", "UPDATE withdrawals SET reason = ''"):
            with pytest.raises(sqlite3.Error, match="append-only"):
                connection.execute(statement)


def test_the_first_reason_stays(runs: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    call("leaderboard", "withdraw", runs[0], "--reason", "first")
    call("leaderboard", "withdraw", runs[0], "--reason", "second")
    first, second = capsys.readouterr().out.splitlines()
    assert second == first.replace("withdrawn", "already withdrawn")
    withdrawal = Store().withdrawal(runs[0])
    assert withdrawal is not None
    assert withdrawal.reason == "first"


def test_the_latest_run_can_be_withdrawn_until_none_is_left(
    runs: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert [call("leaderboard", "withdraw", "latest") for _ in range(3)] == [0, 0, 2]
    said = capsys.readouterr()
    assert [line.split(":")[0] for line in said.out.splitlines()] == [
        f"run {run[:8]}" for run in reversed(runs)
    ]
    assert "no run was recorded yet" in said.err


def test_an_unknown_run_cannot_be_withdrawn(
    runs: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("leaderboard", "withdraw", "zzz") == 2
    assert "nor the id of one of the 2 runs" in capsys.readouterr().err
    assert len(Store().entries()) == 2


def test_importing_it_again_says_so_and_does_not_bring_it_back(
    tmp_path: Path, runs: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    results.write(tmp_path / "result.json", HIGH.to_json())
    Store().withdraw(runs[1], "a mistake")
    assert call("leaderboard", "import", str(tmp_path)) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("0 runs appended, 1 there already")
    assert second.startswith(f"run {runs[1][:8]} was withdrawn on ")
    assert second.endswith(" (a mistake), and stays so")
    assert [entry.id for entry in Store().entries()] == [runs[0]]


def test_it_is_not_exported(tmp_path: Path, runs: tuple[str, str]) -> None:
    Store().withdraw(runs[1])
    call("leaderboard", "export", str(tmp_path / "runs.json"))
    assert [entry.id for entry in entries.read_runs(tmp_path / "runs.json")] == [runs[0]]


def test_asked_for_by_name_it_says_that_it_was_withdrawn(
    runs: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    Store().withdraw(runs[1], "a mistake")
    assert call("leaderboard", "show", runs[1][:8]) == 0
    assert "withdrawn         withdrawn on" in capsys.readouterr().out


@pytest.mark.parametrize("named_by", ["id", "file", "folder"])
def test_nothing_uses_it_silently(
    named_by: str, tmp_path: Path, runs: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    results.write(tmp_path / "result.json", HIGH.to_json())
    Store().withdraw(runs[1], "a mistake")
    wanted = {"id": runs[1][:8], "file": str(tmp_path / "result.json"), "folder": str(tmp_path)}[named_by]
    page, file = str(tmp_path / "page.html"), str(tmp_path / "baseline.json")
    for words in (
        ("compare", runs[0][:8], wanted),
        ("compare", wanted, runs[0][:8]),
        ("baseline", "save", wanted, file),
        ("report", wanted, "--page", page),
    ):
        assert call(*words) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert f"run {runs[1][:8]} was withdrawn on " in said.err
        assert "(a mistake); --withdrawn uses it all the same" in said.err
        assert call(*words, "--withdrawn") == 0
        capsys.readouterr()
    assert "This run was withdrawn on " in Path(page).read_text()


def test_neither_is_a_baseline_that_was_made_of_it(
    tmp_path: Path, runs: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "baseline.json"
    assert call("baseline", "save", runs[1], str(file)) == 0
    assert call("compare", str(file), runs[0]) == 0
    assert call("report", runs[0], "--baseline", str(file), "--page", str(tmp_path / "page.html")) == 0
    Store().withdraw(runs[1])
    capsys.readouterr()
    assert call("compare", str(file), runs[0]) == 2
    assert call("report", runs[0], "--baseline", str(file), "--page", str(tmp_path / "page.html")) == 2
    assert evaluate.main(["--check", str(file), "--data", str(tmp_path)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.partition(f"{file}: run {runs[1][:8]} was withdrawn on ")[1] != "" for line in said] == [
        True
    ] * 3
    assert said[2].endswith("; check against another: `python -m evaluator baseline save RUN` makes one")


def test_a_store_that_cannot_be_read_does_not_keep_a_file_from_being_used(
    tmp_path: Path, leaderboard_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, run in (("a", LOW), ("b", HIGH)):
        results.write(tmp_path / name / "result.json", run.to_json())
    leaderboard_file.write_text("no database" * 100)
    assert call("compare", str(tmp_path / "a"), str(tmp_path / "b" / "result.json")) == 0
    assert caplog.text.count("So it is not known whether run ") == 2


# Rows that cannot be read


BAD_ROWS: dict[str, tuple[dict[str, object], str]] = {
    "of a later version": ({"result": '{"schema_version": 2}'}, "schema_version: found 2, expected 1"),
    "cut short": ({"result": entries.canonical(LOW.to_json())[:200]}, "not readable as JSON"),
    "empty": ({"result": ""}, "not readable as JSON"),
    "no JSON": ({"result": "what\x1b[2J"}, "not readable as JSON"),
    "no text": ({"result": b"\xff\x00"}, "result: found bytes, expected text"),
    "a number": ({"result": 5}, "found int, expected a JSON object"),
    "deep": ({"result": "[" * 100_000}, "nested deeper than 40 levels"),
    "no UTF-8": ({"result": "CAST(x'22ff22' AS TEXT)"}, "not readable as JSON"),
    "an id of bytes": ({"id": b"\x00\x01"}, "id: found bytes, expected text"),
    "an odd id": ({"id": "\x1b[2J"}, r"run \x1b[2J: changed since it was recorded"),
    "an odd time": ({"recorded": "yesterday"}, "found 'yesterday', expected a time"),
    "no time": ({"recorded": b""}, "recorded: found bytes, expected text"),
    "a better score": (
        {"result": entries.canonical(made_results.result({"b": 99.0}).to_json())}, "changed since it was recorded"
    ),
    "an impossible score": (
        {"result": entries.canonical(made_results.result({"b": 1e6}).to_json())}, "expected from -300 to 300 dB"
    ),
}  # fmt: skip


@pytest.mark.thorough
@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_is_named_and_all_others_are_there(
    name: str, tmp_path: Path, leaderboard_file: Path, runs: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    columns, problem = BAD_ROWS[name]
    put(leaderboard_file, **columns)
    third = Store().record(made_results.result({"a": 3.0}), None)
    assert [entry.id for entry in Store().entries()] == [*runs, third]
    line, advice = (record.getMessage() for record in caplog.records)
    assert line.startswith(f"{leaderboard_file}: row-3 left out: ")
    assert problem in line
    assert line.isprintable()
    assert advice == "`python -m evaluator leaderboard withdraw row-3` ends such a warning"
    page = str(tmp_path / "page.html")
    for words in (
        ("compare", runs[0], "latest"),
        ("report", third, "--page", page),
        ("leaderboard", "show", third),
    ):
        assert call(*words) == 0
    for form in ("--csv", "--json", "--html", "--all"):
        assert call("leaderboard", form) == 0
    caplog.clear()
    assert call("leaderboard", "withdraw", "row-3", "--reason", "damaged") == 0
    assert call("leaderboard") == 0
    assert caplog.text == ""
    assert [entry.id for entry in Store().entries(withdrawn=True)] == [*runs, third]


def test_text_that_is_no_utf_8_is_a_bad_row(leaderboard_file: Path, runs: tuple[str, str]) -> None:
    with sqlite3.connect(leaderboard_file) as connection:
        connection.execute(
            "INSERT INTO runs (id, recorded, folder, result)"
            " VALUES (CAST(x'ff' AS TEXT), CAST(x'ff' AS TEXT), CAST(x'ff' AS TEXT), CAST(x'22ff22' AS TEXT))"
        )
    assert len(Store().entries()) == 2
    assert Store().withdraw("row-3").what == "row-3"
    with pytest.raises(LeaderboardError, match="row-3 cannot be used: id: |row-3 cannot be used: run "):
        Store().find("row-3")


def test_many_bad_rows_are_counted(
    leaderboard_file: Path, runs: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(8):
        put(leaderboard_file, id=str(number), result="{")
    assert len(Store().entries()) == 2
    assert [record.getMessage().count("left out") for record in caplog.records] == [1] * 6
    assert caplog.records[-1].getMessage().startswith("3 more left out; ")


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_a_bad_row_of_an_earlier_schema_does_not_keep_the_file_from_migrating(
    leaderboard_file: Path, version: int
) -> None:
    """Its generated columns read the JSON of every row."""
    with sqlite3.connect(leaderboard_file) as connection:
        for statements in MIGRATIONS[:version]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {version}")
    entry = entries.make_entry(LOW, None)
    put(leaderboard_file, id=entry.id, result=entry.document)
    put(leaderboard_file, id="bad", result='{"bad": 1}')
    content = leaderboard_file.read_bytes()
    assert content.count(b'{"bad": 1}') == 1
    leaderboard_file.write_bytes(content.replace(b'{"bad": 1}', b'{"bad": 1 '))
    assert [found.id for found in Store().entries()] == [entry.id]


def test_a_bad_run_asked_for_by_its_id_says_why(leaderboard_file: Path, runs: tuple[str, str]) -> None:
    put(leaderboard_file, result="{")
    bad = entries.make_entry(made_results.result({"b": 5.0}), None).id
    with pytest.raises(LeaderboardError, match="row-3 cannot be used: run .*: not readable as JSON"):
        Store().find(bad[:8])


# What is shown of results of others


EVIL = "=1+1\x1b]0;owned\x07\u202e</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>\n=cmd|' /C x'!A0"


def evil() -> Result:
    """A result with text in every place that takes any."""
    run = made_results.result({"a": 1.0, "b": "timeout"}, preset="=1+1", only="*.</script>")
    name = "<b>&amp;=x"
    return replace(
        run,
        provenance={
            "preset": EVIL.replace("/", ""),
            "weights": [{"name": EVIL, "file": EVIL, EVIL: EVIL}, EVIL],
            EVIL: [EVIL],
        },
        machine={"system": EVIL, "processor": EVIL, "gpus": [EVIL]},
        versions={"python": EVIL},
        tracks=(
            replace(run.tracks[0], name=name, economies=(EVIL,)),
            replace(run.tracks[1], name=f"=1+1/{name}", reason=EVIL),
        ),
    )


@pytest.mark.parametrize(
    "words",
    [
        ("leaderboard", "--all"),
        ("leaderboard", "--csv"),
        ("leaderboard", "--json"),
        ("leaderboard", "--html"),
        ("leaderboard", "show", "latest"),
        ("leaderboard", "export"),
        ("compare", "latest", "latest"),
        ("compare", "latest", "latest", "--json"),
        ("baseline", "save", "latest", "OUT/b.json"),
        ("baseline", "show", "OUT/b.json"),
        ("report", "latest", "--page", "OUT/p.html"),
        ("report", "latest", "--page", "OUT/p.html", "--baseline", "OUT/b.json"),
    ],
    ids=" ".join,
)
def test_nothing_of_a_result_acts_where_it_is_shown(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "evil.json").write_text(json.dumps(evil().to_json()))
    assert call("leaderboard", "import", str(tmp_path / "evil.json")) == 0
    assert call("baseline", "save", "latest", str(tmp_path / "b.json")) == 0
    capsys.readouterr()
    assert call(*(word.replace("OUT", str(tmp_path)) for word in words)) == 0
    said = capsys.readouterr()
    page = (tmp_path / "p.html").read_text() if words[0] == "report" else ""
    for text in (said.out, said.err, page):
        assert not {c for c in text if not c.isprintable()} - {"\n"}
    if "--html" in words or page:
        text = page or said.out
        assert "alert(1)" in text
        assert "<script>alert" not in text
        assert "<img" not in text
        assert "<b>" not in text
        assert text.count("<script") == text.count("</script>")
    if "--csv" in words:
        for row in csv.reader(io.StringIO(said.out)):
            assert not [cell for cell in row if cell.startswith(("=", "+", "@", "\t", "\r"))]
        assert "'=" in said.out


def test_logs_of_an_imported_run_that_lead_elsewhere_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the secret")
    folder = tmp_path / "theirs"
    (folder / "logs").mkdir(parents=True)
    results.write(folder / "result.json", LOW.to_json())
    (folder / "logs" / "a.log").symlink_to(tmp_path / "secret")
    (folder / "setup.log").write_text("\x1b[2Jloading\n")
    assert call("report", str(folder), "--page", str(tmp_path / "page.html")) == 0
    page = (tmp_path / "page.html").read_text()
    assert "the secret" not in page
    assert "\\x1b[2Jloading" in page


def test_a_use_of_the_store_by_other_programs(runs: tuple[str, str]) -> None:
    """What a service needs: withdraw by id, ask by id, and be told of it when a run comes again."""
    store = Store()
    done = store.withdraw(runs[0], "on request")
    assert (done.what, done.is_new) == (f"run {runs[0][:8]}", True)
    assert store.withdrawal(runs[0]) == done.withdrawal
    assert store.withdrawal(runs[1]) is None
    added = store.add(
        [entries.make_entry(LOW, None), entries.make_entry(made_results.result({"a": 7.0}), None)]
    )
    assert (added.appended, added.known, added.withdrawn) == (1, 1, {runs[0]: done.withdrawal})
    assert leaderboard.locate(runs[1], store).withdrawal is None
