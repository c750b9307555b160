"""Means of scores: over the stems of a track, over the tracks of a run."""

from collections.abc import Mapping, Sequence

MEAN = "mean"  # the name of a mean over stems, beside those of the stems
Scores = Mapping[str, float | None]  # stem -> value; None if the measure is not defined


def mean(values: Sequence[float | None]) -> float | None:
    """Plain mean of the values that are there; None if there are none."""
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def total(tracks: Sequence[Scores], stems: Sequence[str]) -> dict[str, float | None]:
    """Means over tracks: per stem, and under "mean" the mean over tracks of each track's mean over stems."""
    per_stem = {stem: mean([scores[stem] for scores in tracks]) for stem in stems}
    return {MEAN: mean([mean([scores[stem] for stem in stems]) for scores in tracks]), **per_stem}
