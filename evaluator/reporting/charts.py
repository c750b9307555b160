"""Positions for the charts of the report page, in percent, so that they fit any width."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor
from statistics import median

STEPS_DB = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)  # no SDR lies outside ±2000 dB, float32 being what it is
MOST_TICKS = 9
LANES = 5  # dots of one strip are spread over this many heights, so that equal scores stay apart


@dataclass(frozen=True)
class Axis:
    """A linear axis of dB with round ends."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def percent(self, value: float) -> float:
        """Where a value lies, from 0 to 100."""
        return 100 * (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Dot:
    """One track's score in a strip; `index` is the track's place in the run, `lane` from 0 to LANES − 1."""

    index: int
    name: str
    value: float
    lane: int


@dataclass(frozen=True)
class Strip:
    """The scores of one stem."""

    name: str
    dots: tuple[Dot, ...]
    median: float
    mean: float


def axis(values: Sequence[float]) -> Axis:
    """The shortest axis with round ends that holds all values; one dB wide at least."""
    low, high = min(values), max(max(values), min(values) + 1)
    spans = ((step, floor(low / step), ceil(high / step)) for step in STEPS_DB)
    step, first, last = next(span for span in spans if span[2] - span[1] < MOST_TICKS)
    ticks = tuple(step * number for number in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks)


def strip(name: str, scores: Sequence[tuple[int, str, float]]) -> Strip:
    """The strip of (index, track, dB); neighbours in value get different lanes."""
    ordered = sorted(scores, key=lambda score: score[2])
    lanes = (2, 0, 4, 1, 3)
    dots = [
        Dot(index, track, value, lanes[place % LANES]) for place, (index, track, value) in enumerate(ordered)
    ]
    values = [value for _, _, value in scores]
    return Strip(name, tuple(dots), median(values), sum(values) / len(values))
