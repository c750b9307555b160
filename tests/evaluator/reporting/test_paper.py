"""Tables and figures for papers: the numbers are those of the runs, and nothing in a name acts."""

import csv
import io
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import pytest

from evaluator import __main__, tables
from evaluator.measures import bootstrap
from evaluator.measures.catalogue import MEASURES
from evaluator.reporting import figures, paper_tables
from evaluator.runs import entries, groups
from evaluator.runs.entries import Entry
from evaluator.runs.groups import Groups
from evaluator.runs.labels import Label
from evaluator.runs.leaderboard import Store
from evaluator.runs.results import Result
from sdx import pages
from tests import thinned
from tests.evaluator import made_results, made_runs

LEVELS = {f"t{i}": float(i * i % 7) for i in range(8)}
HALVES = Groups(("half",), {track: {"half": "low" if i < 6 else "=high"} for i, track in enumerate(LEVELS)})
CONFIDENT = bootstrap.interval([*LEVELS.values()])


def made(name: str, shift: float = 0.0, **failed: str) -> Result:
    tracks = {track: level + shift for track, level in LEVELS.items()} | failed
    return replace(made_results.result(tracks), label=Label(name, None, ("paper",)))


def entry(name: str, shift: float = 0.0, **failed: str) -> Entry:
    return entries.make_entry(made(name, shift, **failed), None)


def export(
    found: list[Entry], name: str, measure: str = "sdr"
) -> tuple[list[dict[str, str]], list[list[str]]]:
    """The numbers of a table, and what is printed."""
    (one,) = [each for each in paper_tables.all_of(found, HALVES, measure) if each.name == name]
    return list(csv.DictReader(io.StringIO(tables.as_csv(one.numbers)))), one.shown.text()


def test_a_row_for_every_track_of_every_run() -> None:
    numbers, shown = export([entry("a"), entry("b", 1.0, t7="timeout")], "tracks")
    assert len(numbers) == len(shown) - 1 == 2 * len(LEVELS)
    assert {row["track"]: float(row["sdr_mean"]) for row in numbers[:8]} == LEVELS
    assert (numbers[-1]["status"], numbers[-1]["sdr_mean"], numbers[-1]["half"]) == ("timeout", "", "'=high")
    assert numbers[0]["rtf"] == "0.5"


def test_means_have_the_interval_of_the_bootstrap_and_a_run_that_failed_has_none() -> None:
    (first, failed), shown = export([entry("a"), entry("b", 1.0, t7="timeout")], "runs")
    assert float(first["mean"]) == pytest.approx(mean(LEVELS.values()))
    assert (float(first["mean_low"]), float(first["vocals_high"])) == pytest.approx(CONFIDENT)
    assert (failed["mean"], failed["worked"]) == ("", "7")
    assert [row[1] for row in shown[1:]] == [
        f"{mean(LEVELS.values()):.2f} [{CONFIDENT[0]:.2f}, {CONFIDENT[1]:.2f}]",
        "-",
    ]


def test_groups_are_means_over_their_tracks() -> None:
    numbers, _ = export([entry("a")], "groups")
    assert [(row["group"], row["tracks"]) for row in numbers] == [("'=high", "2"), ("low", "6")]
    high, low = [*LEVELS.values()][6:], [*LEVELS.values()][:6]
    assert [float(row["mean"]) for row in numbers] == pytest.approx([mean(high), mean(low)])
    assert numbers[0]["mean_low"] == ""
    assert float(numbers[1]["mean_low"]) == pytest.approx(bootstrap.interval(low)[0])


def test_runs_of_one_name_are_repetitions() -> None:
    shifts = (0.0, 0.5, 2.0)
    several = [entry("a", shift) for shift in shifts] + [entry("a", 9.0, t1="crashed"), entry("b")]
    (row, single), shown = export(several, "repetitions")
    assert (row["runs"], row["scored"], single["mean_sd"]) == ("4", "3", "")
    assert float(row["mean_sd"]) == pytest.approx(stdev(shifts))
    assert float(row["mean"]) == pytest.approx(mean(LEVELS.values()) + mean(shifts))
    assert shown[1][2] == f"{float(row['mean']):.2f} ± {stdev(shifts):.2f}"
    labels = paper_tables.labels(several)
    assert (labels[-1], len(set(labels))) == ("b", 5)


def test_nothing_to_repeat_and_no_groups_make_no_tables() -> None:
    assert [one.name for one in paper_tables.all_of([entry("a")], groups.NONE, "sdr")] == ["tracks", "runs"]


NAMED = figures.Named(
    r"_$\frac{1}{2}$ <b>&ü", dict.fromkeys(("mean", "vocals"), LEVELS), 0.5, 3.0, (2.0, 4.0)
)


@pytest.mark.thorough
@pytest.mark.parametrize("draw", [figures.box, figures.strip, figures.speed])
def test_names_are_text_in_a_figure_that_is_the_same_each_time(draw: object, tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg", "one.png"):
        draw(
            [NAMED, replace(NAMED, rtf=None, scores={**NAMED.scores, "vocals": {}})],
            MEASURES["sdr"],
            tmp_path / name,
        )  # type: ignore[operator]
    text = (tmp_path / "one.svg").read_text()
    assert text == (tmp_path / "two.svg").read_text()
    assert NAMED.label in "".join(ET.fromstring(text).itertext())
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")


def test_a_figure_has_the_colours_of_the_pages() -> None:
    style = pages.read("style.css")
    light = style[: style.index("@media")]
    assert [f"--s{i}: {colour};" in light for i, colour in enumerate(figures.COLOURS)] == [True] * 6


@pytest.mark.thorough
def test_sdr_over_time_leaves_silence_out(tmp_path: Path) -> None:
    lines: dict[str, dict[str, list[float | None]]] = {
        "_a": {"bass": [1.0, None, 2.0]},
        "b": {"bass": [0.5, 0.5, 0.5], "drums": []},
    }
    figures.over_time("a track", lines, tmp_path / "t.svg")
    texts = {text.strip() for text in ET.fromstring((tmp_path / "t.svg").read_text()).itertext()}
    assert {"a track", "b", "_a", "seconds"} <= texts


@pytest.mark.parametrize("drawn", thinned.one_in(2, ["", "box strip speed"]))
def test_the_command_writes_what_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], drawn: str
) -> None:
    for shift in (0.0, 1.0):
        Store().record(made("a", shift), None)
    (tmp_path / "g.csv").write_text("track,half\n" + "".join(f"t{i},low\n" for i in range(6)))
    formats = "csv,tex,svg" if drawn else "csv,tex"
    words = ["paper", "--tag", "paper", "--out", str(tmp_path / "out"), "--formats", formats]
    assert __main__.main([*words, "--groups", str(tmp_path / "g.csv")]) == 0
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {
        f"{name}.{kind}" for name in ("tracks", "runs", "groups", "repetitions") for kind in ("csv", "tex")
    } | {f"{name}.svg" for name in drawn.split()}
    assert "does not name them: t6, t7" in capsys.readouterr().out


@pytest.mark.thorough
def test_sdr_over_time_needs_estimates_that_were_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made_runs.make_run(tmp_path, ("a", "b"), 2.0)
    words = ["paper", str(run.folder), "--out", str(tmp_path / "out"), "--formats", "svg", "--over-time"]
    assert __main__.main([*words, "a*"]) == 0
    assert (tmp_path / "out" / "over-time-a.svg").is_file()
    assert not (tmp_path / "out" / "over-time-b.svg").exists()
    words[words.index(str(tmp_path / "out"))] = str(tmp_path / "another")
    assert __main__.main([*words, "c*"]) == 2
    assert "--over-time c*: nothing to draw; no track has such a name" in capsys.readouterr().err
    assert not (tmp_path / "another").exists()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "no run is named"),
        (["--tag", "none"], "no run has the tag none"),
        (["latest", "--metric", "bleedless"], "has no bleedless"),
        (["latest", "--formats", "csv,xlsx"], "found 'csv,xlsx', expected some of csv,parquet"),
        (["latest", "--groups", "nowhere.csv"], "nowhere.csv: cannot be read"),
        (["--tag", "paper"], "different data"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_writes_nothing(
    words: list[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = made_results.result(LEVELS, data_hash="e" * 64)
    for run in (made("a"), replace(other, label=Label("b", None, ("paper",)))):
        Store().record(run, None)
    try:
        code = __main__.main(["paper", *words, "--out", str(tmp_path / "out")])
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_matplotlib_a_figure_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Store().record(made("a"), None)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    assert __main__.main(["paper", "latest", "--out", str(tmp_path / "out"), "--formats", "csv,svg"]) == 2
    assert "figures need the package matplotlib, which the extra papers installs" in capsys.readouterr().err
    assert __main__.main(["paper", "latest", "--out", str(tmp_path / "out"), "--formats", "csv"]) == 0
