"""Is one run better than another? Paired differences track by track, an interval, a test, one sentence."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evaluator import text_table
from evaluator.measures.means import MEAN
from evaluator.runs import run_scores
from evaluator.runs.run_scores import RunScores

RESAMPLES = 10_000
SEED = 0
CONFIDENCE = 0.95
TIE_DB = 1e-6  # sums of squares are good to 1e-7 of their value, which is 4e-7 dB
FEWEST_TRACKS = 6  # with fewer, even the same sign on every track has a probability above 5 % (2·0.5⁵)
MOVED = 5

Verdict = Literal["better", "worse", "not distinguishable", "equal"]


@dataclass(frozen=True)
class Paired:
    """Differences B − A of one stem, or of the tracks' means, over tracks: dB."""

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
    """A track and its differences B − A, in dB by stem."""

    name: str
    differences: dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """Run B against run A over the tracks that worked in both."""

    a: RunScores
    b: RunScores
    tracks: tuple[str, ...]
    left_out: tuple[str, ...]  # one phrase for each track that failed in either
    stems: tuple[Paired, ...]  # the mean first; empty without a common track
    moved: tuple[Moved, ...]

    @property
    def verdict(self) -> Verdict:
        """What the mean over stems says of B; nothing on too few tracks."""
        if self.stems and all(paired.ties == len(self.tracks) for paired in self.stems):
            return "equal"
        if len(self.tracks) < FEWEST_TRACKS or self.stems[0].low <= 0 <= self.stems[0].high:
            return "not distinguishable"
        return "better" if self.stems[0].low > 0 else "worse"

    @property
    def sentence(self) -> str:
        """The verdict with the figures it rests on."""
        return _sentence(self)


def compare(a: RunScores, b: RunScores, seed: int = SEED) -> Comparison:
    """Compare B with A; ResultError if they were made on different data."""
    run_scores.require_same_data(a, b)
    names = run_scores.common(a, b)
    differences = {
        stem: np.array([b.tracks[name].value(stem) - a.tracks[name].value(stem) for name in names])
        for stem in a.measures
    }
    picks = np.random.default_rng(seed).integers(0, max(len(names), 1), (RESAMPLES, len(names)))
    return Comparison(
        a=a,
        b=b,
        tracks=names,
        left_out=tuple(_left_out(a, b, names)),
        stems=tuple(_paired(a, b, names, stem, differences[stem], picks) for stem in a.measures if names),
        moved=_most_moved(names, differences),
    )


def _left_out(a: RunScores, b: RunScores, names: Sequence[str]) -> list[str]:
    every = dict.fromkeys([*a.tracks, *b.tracks])
    return [
        f"{name}: {_status(a, name)} in A, {_status(b, name)} in B" for name in every if name not in names
    ]


def _status(run: RunScores, name: str) -> str:
    return run.tracks[name].status if name in run.tracks else "not run"


def _paired(
    a: RunScores,
    b: RunScores,
    names: Sequence[str],
    stem: str,
    differences: NDArray[np.float64],
    picks: NDArray[np.int64],
) -> Paired:
    low, high = bootstrap_interval(differences, picks)
    higher, lower = int((differences > TIE_DB).sum()), int((differences < -TIE_DB).sum())
    mean_a, mean_b = run_scores.mean_over(a, names, stem), run_scores.mean_over(b, names, stem)
    assert mean_a is not None
    assert mean_b is not None
    return Paired(
        stem=stem,
        mean_a=mean_a,
        mean_b=mean_b,
        difference=float(differences.mean()),
        low=low,
        high=high,
        higher=higher,
        lower=lower,
        ties=len(differences) - higher - lower,
        p_value=sign_test(higher, lower),
    )


def bootstrap_interval(
    differences: NDArray[np.float64], picks: NDArray[np.int64], confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Percentile interval of the mean of (tracks,) values (Efron 1979); `picks` is (resamples, tracks) indices."""
    means = differences[picks].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def sign_test(higher: int, lower: int) -> float:
    """Probability that a fair coin splits at least as unevenly (two-sided p-value); 1 without any difference."""
    number, fewer = higher + lower, min(higher, lower)
    tail = sum(comb(number, k) for k in range(fewer + 1)) / 2**number
    return min(1.0, 2.0 * float(tail))


def _most_moved(names: Sequence[str], differences: dict[str, NDArray[np.float64]]) -> tuple[Moved, ...]:
    order = np.argsort(-np.abs(differences[MEAN]), kind="stable")[:MOVED]
    return tuple(
        Moved(names[i], {stem: float(values[i]) for stem, values in differences.items()})
        for i in order
        if any(abs(values[i]) > TIE_DB for values in differences.values())
    )


def _sentence(found: Comparison) -> str:
    if not found.stems:
        return "Nothing can be said: no track worked in both runs."
    number = len(found.tracks)
    tracks = text_table.count(number, "track")
    if found.verdict == "equal":
        return f"The two runs are equal: no stem differs on any of the {tracks} that worked in both."
    mean = found.stems[0]
    few = f" ({tracks} cannot tell, at least {FEWEST_TRACKS} are needed)" if number < FEWEST_TRACKS else ""
    verdict = (
        "not distinguishable from" if found.verdict == "not distinguishable" else f"{found.verdict} than"
    )
    return (
        f"B is {verdict} A on this data{few}: {mean.difference:+.3f} dB on average (95 % interval {mean.low:+.3f} "
        f"to {mean.high:+.3f}), higher on {mean.higher} and lower on {mean.lower} of {tracks} "
        f"(sign test p = {mean.p_value:.2g})."
    )


def describe(found: Comparison) -> str:
    """The comparison as text: what A and B are, differences by stem, tracks that moved most, the sentence."""
    parts = [f"A: {found.a.label}", f"B: {found.b.label}", f"data: {found.a.data_name}", ""]
    if found.stems:
        header = ["stem", "A", "B", "B - A", "95 % interval", "higher", "lower", "equal", "sign test p"]
        parts += [*text_table.align([header, *map(_paired_row, found.stems)]), ""]
    if found.moved:
        measures = found.a.measures
        rows = [
            [moved.name, *(text_table.signed_db(moved.differences[stem]) for stem in measures)]
            for moved in found.moved
        ]
        parts += ["Tracks that moved most (B - A, dB):"]
        parts += [f"  {line}" for line in text_table.align([["track", *measures], *rows])] + [""]
    if found.left_out:
        parts += ["Left out, since not ok in both:", *(f"  {phrase}" for phrase in found.left_out), ""]
    return "\n".join([*parts, found.sentence])


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
