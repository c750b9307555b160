"""The table of a run: as wide as what it says, and what its footer says of what was left out."""

from dataclasses import replace

import pytest

from evaluator.reporting import display
from evaluator.runs.records import LeftOut
from evaluator.runs.results import Result
from tests.evaluator import made_results

pytestmark = pytest.mark.quick

FEWER = "vocals: without a; vocals: without b"


def with_economies(*economies: tuple[str, ...], time_factor: float | None = 1.57) -> Result:
    """A run whose tracks left these out."""
    run = made_results.result({f"t{place}": 1.0 for place in range(len(economies))})
    tracks = zip(run.tracks, economies, strict=True)
    assert run.plan.submission is not None
    told = replace(run.plan.submission, requested_time_factor=time_factor)
    return replace(
        run,
        plan=replace(run.plan, submission=told),
        tracks=tuple(replace(track, economies=left_out) for track, left_out in tracks),
    )


def test_where_no_track_worked_there_is_no_mean_and_no_column_for_its_name() -> None:
    lines = display.table(made_results.result({"a": "crashed", "b": "timeout"})).splitlines()
    assert lines[0].split()[:2] == ["track", "status"]
    assert lines[0].index("status") == len("track  ")
    assert [line.split()[0] for line in lines[2:4]] == ["a", "b"]
    assert lines[5] == display.SDR_WORDS


def test_the_mean_says_of_how_many_tracks_it_is() -> None:
    one = made_results.result({"a": "crashed", "b": 2.0, "c": 4.0})
    assert "\nmean of 2 of 3 " in display.table(one)
    every = made_results.result({"b": 2.0})
    assert "\nscore   " in display.table(every)
    data = replace(every.plan.data, left_out=(LeftOut("a", "no drums"),))
    assert "\nscore of 1 of 2 " in display.table(replace(every, plan=replace(every.plan, data=data)))


def test_what_was_left_out_is_said_once_for_all_tracks_that_lack_it() -> None:
    a, b = FEWER.split("; ")
    lines = display.table(with_economies((a, b), (), (a,), (a, b))).splitlines()
    assert [line for line in lines if line.startswith("To be in time")] == [
        f"To be in time, less was computed for t0, t3: {FEWER}.",
        f"To be in time, less was computed for t2: {a}.",
    ]
    many = display.table(with_economies(*[(a,)] * 8))
    assert f"for t0, t1, t2, t3, t4, 3 more: {a}." in many


def test_a_run_that_was_told_its_limit_says_that_nothing_had_to_be_left_out() -> None:
    assert "To be in time, nothing had to be left out." in display.table(with_economies((), ()))
    assert "To be in time" not in display.table(with_economies((), (), time_factor=None))
    run = with_economies((), ())
    late = replace(run, tracks=(run.tracks[0], replace(run.tracks[1], seconds=99.0)))
    assert "To be in time" not in display.table(late)
