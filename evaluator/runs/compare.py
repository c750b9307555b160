"""Is one run better than another? Paired differences track by track, an interval, a test, one sentence."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import comb
from typing import Literal

import numpy as np

from evaluator import text_table
from evaluator.measures import bootstrap
from evaluator.measures.bootstrap import FEWEST_TRACKS
from evaluator.measures.catalogue import MEASURES, Measure
from evaluator.measures.means import MEAN
from evaluator.runs import run_scores
from evaluator.runs.documents import SDR, ResultError
from evaluator.runs.run_scores import RunScores

TIE = 1e-6  # sums of squares are good to 1e-7 of their value, which is 4e-7 dB
MOVED = 5

Verdict = Literal["better", "worse", "not distinguishable", "equal"]


@dataclass(frozen=True)
class Paired:
    """Differences B − A of one stem, or of the tracks' means, over the tracks that have it in both runs."""

    stem: str
    mean_a: float
    mean_b: float
    difference: float
    low: float  # 95 % bootstrap interval of the mean difference
    high: float
    higher: int  # tracks on which B is higher
    lower: int
    ties: int
    p_value: float  # exact two-sided sign test, ties left out


@dataclass(frozen=True)
class Moved:
    """A track and its differences B − A, by stem, as far as both have it."""

    name: str
    differences: Mapping[str, float | None]


@dataclass(frozen=True)
class LeftOut:
    """A track that is not compared, and its status in both runs."""

    track: str
    a: str
    b: str


@dataclass(frozen=True)
class Comparison:
    """Run B against run A, by one measure, over the tracks that worked in both."""

    a: RunScores
    b: RunScores
    measure: Measure
    tracks: tuple[str, ...]
    left_out: tuple[LeftOut, ...]  # what failed in either
    stems: tuple[Paired, ...]  # the mean first; empty without a common track
    differences: Mapping[str, Mapping[str, float | None]]  # {track: {stem: B − A}}, as far as both have it

    @property
    def moved(self) -> tuple[Moved, ...]:
        """The tracks that moved most."""
        return _most_moved(self.differences)

    @property
    def verdict(self) -> Verdict:
        """What the mean over stems says of B; nothing on too few tracks."""
        if self.stems and all(paired.higher == paired.lower == 0 for paired in self.stems):
            return "equal"
        if len(self.tracks) < FEWEST_TRACKS or self.stems[0].low <= 0 <= self.stems[0].high:
            return "not distinguishable"
        return "better" if self.measure.gain(0.0, self.stems[0].low) > 0 else "worse"

    @property
    def sentence(self) -> str:
        """The verdict with the figures it rests on."""
        return _sentence(self)


def compare(a: RunScores, b: RunScores, measure: str = SDR) -> Comparison:
    """Compare B with A; ResultError if they were made on different data, or one lacks the measure."""
    run_scores.require_same_data(a, b)
    for run in (a, b):
        if measure not in run.metrics:
            raise ResultError(
                f"{run.label} has no {measure}, only {', '.join(run.metrics)}; evaluate it with"
                f" --metrics {MEASURES[measure].option}"
            )
    pairs = {column: run_scores.pairs(a, b, column, measure) for column in a.columns}
    return Comparison(
        a=a,
        b=b,
        measure=MEASURES[measure],
        tracks=tuple(pairs[MEAN]),
        left_out=tuple(_left_out(a, b, pairs[MEAN])),
        stems=tuple(_paired(column, found) for column, found in pairs.items() if found),
        differences={
            name: {column: _difference(found.get(name)) for column, found in pairs.items()}
            for name in pairs[MEAN]
        },
    )


def _left_out(a: RunScores, b: RunScores, names: Collection[str]) -> list[LeftOut]:
    every = dict.fromkeys([*a.tracks, *b.tracks])
    return [LeftOut(name, _status(a, name), _status(b, name)) for name in every if name not in names]


def _status(run: RunScores, name: str) -> str:
    return run.tracks[name].status if name in run.tracks else "not run"


def _paired(column: str, pairs: Mapping[str, tuple[float, float]]) -> Paired:
    number = len(pairs)
    differences = np.array([in_b - in_a for in_a, in_b in pairs.values()])
    low, high = bootstrap.interval(differences)
    higher, lower = int((differences > TIE).sum()), int((differences < -TIE).sum())
    means = run_scores.mean_pair(pairs)
    assert means is not None
    return Paired(
        stem=column,
        mean_a=means[0],
        mean_b=means[1],
        difference=float(differences.mean()),
        low=low,
        high=high,
        higher=higher,
        lower=lower,
        ties=number - higher - lower,
        p_value=sign_test(higher, lower),
    )


def sign_test(higher: int, lower: int) -> float:
    """Probability that a fair coin splits at least as unevenly (two-sided p-value); 1 without any difference."""
    number, fewer = higher + lower, min(higher, lower)
    tail = sum(comb(number, k) for k in range(fewer + 1)) / 2**number
    return min(1.0, 2.0 * float(tail))


def _most_moved(differences: Mapping[str, Mapping[str, float | None]]) -> tuple[Moved, ...]:
    rows = [Moved(name, found) for name, found in differences.items()]
    rows.sort(key=lambda row: -abs(row.differences[MEAN] or 0.0))
    return tuple(
        row for row in rows[:MOVED] if any(abs(value or 0.0) > TIE for value in row.differences.values())
    )


def _difference(pair: tuple[float, float] | None) -> float | None:
    return None if pair is None else pair[1] - pair[0]


def _sentence(found: Comparison) -> str:
    if not found.stems:
        return "Nothing can be said: no track worked in both runs."
    number = len(found.tracks)
    tracks = text_table.count(number, "track")
    if found.verdict == "equal":
        return f"The two runs are equal: no stem differs on any of the {tracks} that worked in both."
    mean = found.stems[0]
    unit = " dB" if found.measure.unit == "dB" else f" of {found.measure.name}"
    few = f" ({tracks} cannot tell, at least {FEWEST_TRACKS} are needed)" if number < FEWEST_TRACKS else ""
    verdict = (
        "not distinguishable from" if found.verdict == "not distinguishable" else f"{found.verdict} than"
    )
    return (
        f"B is {verdict} A on this data{few}: {mean.difference:+.3f}{unit} on average (95 % interval {mean.low:+.3f} "
        f"to {mean.high:+.3f}), higher on {mean.higher} and lower on {mean.lower} of {tracks} "
        f"(sign test p = {mean.p_value:.2g})."
    )


def describe(found: Comparison) -> str:
    """The comparison as text: what A and B are, differences by stem, tracks that moved most, the sentence."""
    parts = [f"A: {found.a.label}", f"B: {found.b.label}", f"data: {found.a.data_name}"]
    parts += [f"measure: {found.measure.name} ({found.measure.words})", ""]
    if found.stems:
        header = ["stem", "A", "B", "B - A", "95 % interval", "higher", "lower", "equal", "sign test p"]
        parts += [*text_table.align([header, *map(_paired_row, found.stems)]), ""]
    if found.moved:
        columns = found.a.columns
        rows = [
            [moved.name, *(text_table.signed_db(moved.differences[column]) for column in columns)]
            for moved in found.moved
        ]
        parts += [f"Tracks that moved most (B - A, {found.measure.unit}):"]
        parts += [f"  {line}" for line in text_table.align([["track", *columns], *rows])] + [""]
    if found.left_out:
        parts += ["Left out, since not ok in both:", *map(_left_out_words, found.left_out), ""]
    return "\n".join([*parts, found.sentence])


def _left_out_words(one: LeftOut) -> str:
    return f"  {one.track}: {one.a} in A, {one.b} in B"


def _paired_row(paired: Paired) -> list[str]:
    return [
        paired.stem,
        text_table.db(paired.mean_a),
        text_table.db(paired.mean_b),
        text_table.signed_db(paired.difference),
        f"{text_table.signed_db(paired.low)} to {text_table.signed_db(paired.high)}",
        str(paired.higher),
        str(paired.lower),
        str(paired.ties),
        f"{paired.p_value:.3g}",
    ]
