"""Boards: two decimals and no more, equal numbers share a place, and hidden tracks stay hidden."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, update

from evaluator.challenge import MUSIC
from evaluator.service import benchmarks, boards, intervals, worker
from evaluator.service.boards import Filter, Row
from evaluator.service.tables import Benchmark, Entry, MeanScore, TrackScore
from tests.evaluator import audio
from tests.evaluator.service.test_entries import scored
from tests.evaluator.service.world import FRAMES, World, estimates, sound


def rows(world: World, **query: str) -> list[dict[str, Any]]:
    return list(world.program(None).get("/api/v1/leaderboards/bench", params=query).json()["rows"])


@pytest.mark.parametrize("is_ensemble", [False, True])
def test_nothing_is_left_out_that_nobody_asked_to(is_ensemble: bool) -> None:
    row = Row(1, 1, "Alpha", "ada", "", is_ensemble, "", 0.0, {})
    assert Filter().passes(row)
    assert Filter("alp").passes(row)
    assert Filter(single=True).passes(row) == (not is_ensemble)


def test_equal_numbers_share_a_place(world: World) -> None:
    for name, value in (("ann", 2.0), ("bob", 3.0), ("carla", 3.0), ("dora", 1.0)):
        scored(world, name, value, visibility="public")
    assert [(row["place"], row["author"]) for row in rows(world)] == [
        (1, "bob"),
        (1, "carla"),
        (3, "ann"),
        (4, "dora"),
    ]


def test_private_entries_are_seen_without_a_place_by_their_author(world: World) -> None:
    scored(world, "ann", 5.0)
    scored(world, "bob", 3.0, visibility="public")
    assert [row["author"] for row in rows(world)] == ["bob"]
    own = world.program("ann").get("/api/v1/leaderboards/bench").json()["rows"]
    assert [(row["place"], row["author"]) for row in own] == [(None, "ann"), (1, "bob")]


def test_rows_are_filtered_and_of_each_account_the_best_is_kept(world: World) -> None:
    for name, value, ensemble in (("ann", 2.0, False), ("ann", 4.0, True), ("bob", 3.0, False)):
        title = f"{name} {value}"
        scored(world, name, value, visibility="public", title=title, is_ensemble=ensemble, method="SCNet")

    def found(**query: str) -> list[tuple[int, str]]:
        return [(row["place"], row["name"]) for row in rows(world, **query)]

    assert found(text="ANN") == [(1, "ann 4.0"), (3, "ann 2.0")]
    assert found(single="true") == [(2, "bob 3.0"), (3, "ann 2.0")]
    assert found(best="true") == [(1, "ann 4.0"), (2, "bob 3.0")]
    assert len(found(text="scnet")) == 3
    scored(world, "bob", 1.0, visibility="anonymous", title="nobody's")
    assert found(best="true")[-1] == (3, "nobody's"), "else one would see whose it is"
    page = world.browser().get("/benchmarks/bench", params={"text": '"><b>', "best": "true"}).text
    assert "&#34;&gt;&lt;b&gt;" in page
    assert "text=%22%3E%3Cb%3E" in page
    export = world.program(None).get("/api/v1/leaderboards/bench/export/csv", params={"text": "bob"}).text
    assert export.count("\n") == 2


@pytest.mark.usefixtures("judged_here")
def test_means_have_two_decimals_wherever_they_are_shown(world: World) -> None:
    entry = world.scored("ann", estimates(0.8123), visibility="public")
    seen = json.dumps([rows(world), world.show(None, entry)["means"]])
    found = world.show(None, entry)["means"]["public"]["sdr"].values()
    assert all(value == round(value, 2) for value in found)
    assert str(next(iter(found))) in seen
    for kind in ("csv", "latex"):
        text = world.program(None).get(f"/api/v1/leaderboards/bench/export/{kind}").text
        assert f"{next(iter(found)):.2f}" in text


def test_a_mean_over_all_stems_needs_all_of_them() -> None:
    tracks: dict[str, dict[str, dict[str, float | None]]]
    tracks = {"a": {"sdr": {"bass": 1.004, "drums": 2.0}}, "b": {"sdr": {"bass": 2.0, "drums": None}}}
    parts = {"a": "public", "b": "private"}
    part = worker.shown_means(tracks, parts, ["bass", "drums"], complete=False)
    whole = worker.shown_means(tracks, parts, ["bass", "drums"], complete=True)
    assert ("public", "mean", "sdr") not in part
    assert whole["public", "mean", "sdr"] == 1.5
    assert whole["public", "bass", "sdr"] == 1.0
    assert whole["private", "drums", "sdr"] is None


@pytest.mark.thorough
def test_the_private_part_is_shown_when_the_benchmark_has_closed(world: World) -> None:
    world.add("split", private_share=0.5, closes=world.now() + 1000)
    entry = world.scored("ann", estimates(0.8), "split", visibility="public")
    anybody = world.program(None)
    for path in (f"/api/v1/entries/{entry}", "/api/v1/leaderboards/split", f"/entries/{entry}"):
        assert "private" not in anybody.get(path).text
    assert anybody.get("/api/v1/leaderboards/split?part=private").status_code == 400
    assert set(world.show("ann", entry)["means"]) == {"public"}, "not to its author either"
    world.seconds += 1000
    assert list(world.show(None, entry)["means"]) == ["private", "public"]
    assert anybody.get("/api/v1/leaderboards/split").json()["part"] == "private"
    assert "kept private until closing" in anybody.get("/benchmarks/split").text


@pytest.mark.thorough
def test_tracks_are_shown_of_open_benchmarks_alone(world: World) -> None:
    hidden = world.scored("ann", estimates(0.8), visibility="public")
    page = world.browser().get(f"/entries/{hidden}").text
    assert "As a table" not in page
    with world.database.writing() as session:
        session.execute(update(Benchmark).values(is_open=True))
    page = world.browser().get(f"/entries/{hidden}").text
    assert "As a table" in page
    assert 'x1="' in page


def test_scores_of_tracks_are_those_of_their_entry(world: World) -> None:
    values = {scored(world, name, value): value for name, value in (("ann", 2.0), ("bob", 3.0))}
    with world.database.writing() as session:
        session.execute(update(Benchmark).values(is_open=True))
    with world.database.reading() as session:
        for number, value in values.items():
            entry = session.get_one(Entry, number)
            part = entry.benchmark.tracks[0]["part"]
            assert boards.tracks_of(session, entry, "sdr", part) == {"a": {"bass": value}}


@pytest.mark.parametrize("query", [{"measure": "taste"}, {"stem": "banjo"}, {"part": "all"}])
def test_what_there_is_no_board_by(world: World, query: dict[str, str]) -> None:
    answer = world.program(None).get("/api/v1/leaderboards/bench", params=query)
    assert answer.status_code == 400
    assert "expected one of" in answer.json()["error"]
    page = world.browser().get("/benchmarks/bench", params=query)
    assert (page.status_code, "expected one of" in page.text) == (400, True)


def test_lower_is_better_where_it_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from evaluator.measures.catalogue import MEASURES

    monkeypatch.setattr(
        boards, "MEASURES", {**MEASURES, "sdr": replace(MEASURES["sdr"], higher_is_better=False)}
    )
    for name, value in (("ann", 2.0), ("bob", 3.0)):
        scored(world, name, value, visibility="public")
    assert [row["author"] for row in rows(world)] == ["ann", "bob"]


def test_intervals_hold_the_mean_and_groups_what_cannot_be_told_apart() -> None:
    tracks = np.random.default_rng(0).standard_normal(50)
    noise = 0.01 * np.random.default_rng(1).standard_normal(50)
    scores = {7: tracks + 9, 3: tracks + 9 + noise - noise.mean(), 5: tracks + 8, 1: tracks - 2}
    found = intervals.sureness({entry: list(values) for entry, values in scores.items()})
    for entry, values in scores.items():
        low, high = found.intervals[entry]
        assert low < values.mean() < high
        assert high - low == pytest.approx(2 * 1.96 * values.std() / 50**0.5, rel=0.15)
    assert found.groups == {7: 1, 3: 1, 5: 2, 1: 3}
    assert intervals.sureness({}) == intervals.Sureness()


def test_how_sure_a_board_is_is_computed_once_and_where_it_is_shown(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads the scores of all tracks of all entries, and anybody may ask for it."""
    computed: list[list[int]] = []

    def sureness(scores: Mapping[int, Sequence[float]]) -> intervals.Sureness:
        computed.append(list(scores))
        return intervals.Sureness(groups=dict.fromkeys(scores, len(scores)))

    monkeypatch.setattr(intervals, "sureness", sureness)
    monkeypatch.setattr(intervals, "FEWEST_TRACKS", 2)
    with world.database.writing() as session:
        bench = benchmarks.named(session, "bench")
        bench.is_open, bench.dataset_type = True, 0
    first = with_tracks(world, scored(world, "ann", 2.0, visibility="public"))
    for path in ("/", "/api/quality_checker/leaderboard"):
        world.browser().get(path)
    assert computed == []
    for query in ({}, {}, {"single": True}, {"text": "none"}):
        world.program(None).get("/api/v1/leaderboards/bench", params=query)
        world.browser().get("/benchmarks/bench", params=query)
    assert computed == [[first]]
    assert [row["group"] for row in rows(world)] == [1]
    second = with_tracks(world, scored(world, "bob", 3.0, visibility="public"))
    assert [row["group"] for row in rows(world)] == [2, 2]
    with world.database.writing() as session:  # scored again, by other data
        session.execute(update(MeanScore).where(MeanScore.entry_id == second).values(value=1.0))
    assert [row["group"] for row in rows(world)] == [2, 2]
    assert computed == [[first], [second, first], [first, second]]


def with_tracks(world: World, entry: int) -> int:
    """The entry, which has a score of each track and stem."""
    with world.database.writing() as session:
        session.execute(delete(TrackScore).where(TrackScore.entry_id == entry))
        session.add_all(
            TrackScore(entry_id=entry, track=track, stem=stem, measure="sdr", value=1.0)
            for track in FRAMES
            for stem in MUSIC.stems
        )
    return entry


@pytest.mark.thorough
def test_intervals_are_told_of_open_and_closed_benchmarks_alone(world: World, tmp_path: Path) -> None:
    frames = dict.fromkeys("abcdef", 400)
    world.add("six", audio.write_music(tmp_path / "six", frames), closes=world.now() + 10)
    files = {
        f"{track}_{stem}.wav": sound(0.9 * audio.noise(400, seed=seed) + 0.001 * audio.noise(400, seed=99))
        for seed, track in enumerate(frames)
        for stem in MUSIC.stems
    }
    world.scored("ann", files, "six", visibility="public")
    shown = world.program(None).get("/api/v1/leaderboards/six").json()["rows"]
    assert [(row["interval"], row["group"]) for row in shown] == [(None, None)]
    assert "95 %" not in world.browser().get("/benchmarks/six").text
    world.seconds += 10
    (row,) = world.program(None).get("/api/v1/leaderboards/six").json()["rows"]
    low, high = row["interval"]
    assert low <= row["scores"]["mean"] <= high
    assert "95 %" in world.browser().get("/benchmarks/six").text


NASTY = '=1+1<script>alert("&")</script>{\\input{x}} 100%_~^'


def test_exports_hold_no_formula_no_markup_and_no_command(world: World) -> None:
    scored(world, "ann", 1.25, visibility="public", title=NASTY, method="@SUM(A1)")
    text = world.program(None).get("/api/v1/leaderboards/bench/export/csv").text
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["name"] == f"'{NASTY}"
    assert row["method"] == "'@SUM(A1)"
    assert row["sdr mean"] == "1.25"
    latex = world.program(None).get("/api/v1/leaderboards/bench/export/latex").text
    assert r"\input" not in latex
    assert r"\textbackslash{}input\{x\}" in latex
    assert r"100\%\_\textasciitilde{}\textasciicircum{}" in latex
    page = world.browser().get("/benchmarks/bench").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
