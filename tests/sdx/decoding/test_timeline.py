"""Sound is where the clock wants it: as laws of times and samples, without a file."""

from fractions import Fraction

import pytest

from sdx.decoding.timeline import Timeline

pytestmark = pytest.mark.quick
RATE = 1_000


def pieces(line: Timeline, *times_ms: int | None) -> list[int]:
    """The silence before pieces of 100 ms."""
    return [line.silence_before(None if ms is None else Fraction(ms, 1000), 100) for ms in times_ms]


def test_what_starts_late_or_pauses_has_silence_in_its_place() -> None:
    line = Timeline(RATE, Fraction(0))
    assert pieces(line, 777, 877, 1_500, None, 1_700) == [777, 0, 523, 0, 0]
    assert line.samples == 1_800
    assert line.facts() == [
        "its sound starts at 0.777 s, with silence before it",
        "its sound has a gap of 0.523 s in all, filled with silence",
    ]


def test_times_rounded_to_what_a_container_can_say_are_no_gaps() -> None:
    line = Timeline(RATE, Fraction(0))
    assert pieces(line, 1, 99, 205, 296, 405) == [1, 0, 0, 0, 0]
    assert len(line.facts()) == 1


def test_what_overlaps_is_kept_and_its_delay_said() -> None:
    line = Timeline(RATE, Fraction(5))
    assert pieces(line, 5_000, 5_050, 5_000) == [0, 0, 0]
    assert line.facts() == ["at its end, sound is 0.200 s later than on its clock"]


def test_a_later_gap_makes_up_for_an_overlap() -> None:
    line = Timeline(RATE, Fraction(0))
    assert pieces(line, 0, 50, 400) == [0, 0, 200]
    assert line.samples == 500


@pytest.mark.parametrize("jump_ms", [-2_000, 3_600_000])
def test_a_clock_that_starts_anew_is_no_silence(jump_ms: int) -> None:
    line = Timeline(RATE, Fraction(0), restarts=True)
    assert pieces(line, 2_000, 2_100 + jump_ms, 2_200 + jump_ms, 2_500 + jump_ms) == [2_000, 0, 0, 200]
    assert any(f"jumps by {jump_ms / 1000:+.3f} s at 2.100 s" in fact for fact in line.facts())


def test_a_film_may_pause_for_long_but_not_beyond_its_end() -> None:
    assert pieces(Timeline(RATE, Fraction(0), end=Fraction(90)), 0, 60_000) == [0, 59_900]
    assert pieces(Timeline(RATE, Fraction(0), end=Fraction(20)), 0, 60_000) == [0, 0]
