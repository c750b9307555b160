"""What the leaderboard shows: nothing mixed that cannot be compared, and who would have passed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from evaluator.challenge import of_stems
from evaluator.isolation.sandbox import Limits
from evaluator.reporting import display, leaderboard_view
from evaluator.running import dataset
from evaluator.runs import entries, published, reproduction
from evaluator.runs.passing import would_pass
from evaluator.runs.results import Result
from tests.evaluator import audio, made_results
from tests.evaluator.runs.boards import command, store_of


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
    assert "--sort piano: no run here has that stem; expected one of bass," in capsys.readouterr().err
    assert "--preset mdx-demo --stems instrumental,vocals" in "\n".join(reproduction.commands(run))


def test_an_unfinished_run_says_nothing_of_passing() -> None:
    assert would_pass(made_results.result({"a": 1.0}, number=2)) == "unknown"


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
    assert "no run on such data; expected one of" in capsys.readouterr().err


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
