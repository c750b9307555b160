"""The weights of an ensemble's step by mathematics: the score of any weighting, and the weighting that scores best.

A step makes each stem as a weighted mean of its members' estimates e_i; what it puts out is linear in these means
and in the step's input x (with mixture consistency every stem depends on all means). So an output is
ŝ = β x + Σ w_i g_i e_i with fixed numbers β and g, and its squared error is a quadratic form of the weights w whose
coefficients are inner products of references, input and estimates: a `Scorer` is made of these alone, and no audio is
needed any more.

Pure numpy and scipy. Shapes: T tracks, K outputs that have a reference, n weights. Scores are the challenge's SDR in
dB (arXiv 2305.07489, eq. 1) of estimates in float precision, neither clipped nor brought to 16 bits.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from evaluator.measures.sdr import DELTA

Vector = NDArray[np.float64]
DB = 10 / np.log(10)  # of a natural logarithm
INPUT = "input"
RANDOM_STARTS = 4
MOST_ITERATIONS = 500
DECIMALS = 4


@dataclass(frozen=True)
class Layout:
    """What the rows of a step's Gram matrices stand for: references of `outputs`, the step's input, the estimates.

    outputs: the K signals that the step makes and that have a reference.
    candidates: (member, stem) of each of the n estimates; `member` is the member's place in the step.
    blend: output -> {stem or "input": coefficient}, by which outputs follow from the stems' weighted means.
    """

    outputs: tuple[str, ...]
    candidates: tuple[tuple[int, str], ...]
    blend: Mapping[str, Mapping[str, float]]

    @property
    def stems(self) -> tuple[str, ...]:
        """The stems that have weights, in order of first appearance."""
        return tuple(dict.fromkeys(stem for _, stem in self.candidates))

    def groups(self) -> list[NDArray[np.intp]]:
        """For each of `stems` the places of its weights, which sum to one."""
        return [
            np.array([i for i, (_, own) in enumerate(self.candidates) if own == stem]) for stem in self.stems
        ]


@dataclass(frozen=True)
class Scorer:
    """Scores of weightings of one step over T tracks.

    The squared error of output k in track t is w·quadratic[t,k]·w − 2 linear[t,k]·w + constant[t,k].

    quadratic: (T, K, n, n). linear: (T, K, n). constant, energy: (T, K), energy that of the references.
    chosen: places of the outputs whose mean is to be maximised.
    """

    layout: Layout
    quadratic: NDArray[np.float64]
    linear: NDArray[np.float64]
    constant: NDArray[np.float64]
    energy: NDArray[np.float64]
    chosen: tuple[int, ...]

    def over(self, tracks: NDArray[np.intp]) -> "Scorer":
        """The same over some of the tracks."""
        return replace(
            self,
            quadratic=self.quadratic[tracks],
            linear=self.linear[tracks],
            constant=self.constant[tracks],
            energy=self.energy[tracks],
        )

    def sdr(self, weights: Vector) -> NDArray[np.float64]:
        """SDR in dB of every output in every track, (T, K)."""
        errors, _ = self.errors(weights)
        scores: NDArray[np.float64] = DB * (np.log(self.energy + DELTA) - np.log(errors))
        return scores

    def objective(self, weights: Vector) -> float:
        """Mean SDR in dB over tracks and chosen outputs."""
        return float(self.sdr(weights)[:, self.chosen].mean())

    def objective_and_gradient(self, weights: Vector) -> tuple[float, Vector]:
        """The objective in dB, and its derivative with respect to each weight."""
        errors, halves = self.errors(weights)
        chosen = list(self.chosen)
        scores = DB * (np.log(self.energy[:, chosen] + DELTA) - np.log(errors[:, chosen]))
        slopes = -2 * DB * halves[:, chosen] / errors[:, chosen, None]
        return float(scores.mean()), slopes.mean(axis=(0, 1))

    def errors(self, weights: Vector) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(Σ (s − ŝ)² + δ as (T, K), half its gradient as (T, K, n)); rounding may not take the sum below zero."""
        products = self.quadratic @ weights
        errors = (products - 2 * self.linear) @ weights + self.constant
        return np.maximum(errors, 0) + DELTA, products - self.linear


def scorer(layout: Layout, grams: Sequence[NDArray[np.float64]], objective: str | None = None) -> Scorer:
    """A Scorer from each track's Gram matrix, (K + 1 + n, K + 1 + n) with the rows that `Layout` names.

    objective: the one output whose SDR is to be maximised; by default the mean over all.
    """
    gram = np.stack(grams)
    k = len(layout.outputs)
    factors = np.array(
        [[layout.blend[output].get(stem, 0.0) for _, stem in layout.candidates] for output in layout.outputs]
    )
    of_input = np.array([layout.blend[output].get(INPUT, 0.0) for output in layout.outputs])
    references = gram[:, range(k), range(k)]  # ⟨s, s⟩
    reference_input = gram[:, :k, k]
    input_input = gram[:, k, k, None]
    return Scorer(
        layout=layout,
        quadratic=factors[:, :, None] * factors[:, None, :] * gram[:, None, k + 1 :, k + 1 :],
        linear=factors * (gram[:, :k, k + 1 :] - of_input[:, None] * gram[:, None, k, k + 1 :]),
        constant=references - 2 * of_input * reference_input + of_input**2 * input_input,
        energy=references,
        chosen=tuple(range(k)) if objective is None else (layout.outputs.index(objective),),
    )


def out_of_fold(
    scores: Scorer,
    fit: Callable[[Scorer], Vector],
    parts: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]],
) -> NDArray[np.float64]:
    """SDR in dB, (T, K), of every track with weights that `fit` found without it; `parts` as `folds` gives them."""
    result = np.empty_like(scores.energy)
    for tuned_on, held_out in parts:
        result[held_out] = scores.over(held_out).sdr(fit(scores.over(tuned_on)))
    return result


def rounded(weights: Vector, groups: Sequence[NDArray[np.intp]]) -> Vector:
    """Weights with DECIMALS decimals, as a preset states them; they sum to one but for the rounding."""
    return np.round(normalised(weights, groups), DECIMALS)


def normalised(weights: Vector, groups: Sequence[NDArray[np.intp]]) -> Vector:
    """Non-negative weights with each group divided by its sum."""
    result = np.clip(weights, 0, None)
    for group in groups:
        result[group] /= result[group].sum()
    return result


def equal_weights(layout: Layout) -> Vector:
    """The same weight for every member of a stem."""
    return normalised(np.ones(len(layout.candidates)), layout.groups())


def best_single(scores: Scorer) -> Vector:
    """For every stem the one member with which the objective is best, all others at zero.

    Stems are settled in turns until nothing improves, since with consistency one stem's choice bears on the others.
    """
    groups = scores.layout.groups()
    weights = equal_weights(scores.layout)
    best = -np.inf
    while True:
        for group in groups:
            tried = [_with_only(weights, group, place) for place in group]
            weights = max(tried, key=scores.objective)
        reached = scores.objective(weights)
        if reached <= best:
            return weights
        best = reached


def _with_only(weights: Vector, group: NDArray[np.intp], place: int) -> Vector:
    result = weights.copy()
    result[group] = 0
    result[place] = 1
    return result


def best_weights(scores: Scorer, current: Vector, seed: int = 0) -> Vector:
    """The non-negative weights, summing to one for each stem, with the highest objective that was found.

    The objective is smooth but not concave, so sequential quadratic programming (SLSQP) starts from the equal, the
    current and the best single weights and from random ones; the best end counts, and it is never worse than a start.
    Weights are jointly optimised over all stems.
    """
    groups = scores.layout.groups()
    sums = np.zeros((len(groups), len(current)))
    for row, group in zip(sums, groups, strict=True):
        row[group] = 1

    def loss(weights: Vector) -> tuple[float, Vector]:
        value, gradient = scores.objective_and_gradient(weights)
        return -value, -gradient

    found = []
    for start in _starts(scores, current, groups, seed):
        result = minimize(
            loss,
            start,
            jac=True,
            method="SLSQP",
            bounds=[(0, 1)] * len(start),
            constraints={"type": "eq", "fun": lambda w: sums @ w - 1, "jac": lambda w: sums},
            options={"ftol": 1e-12, "maxiter": MOST_ITERATIONS},
        )
        found += [start, normalised(np.asarray(result.x), groups)]
    return max(found, key=scores.objective)


def _starts(
    scores: Scorer, current: Vector, groups: Sequence[NDArray[np.intp]], seed: int
) -> Iterator[Vector]:
    yield current
    yield equal_weights(scores.layout)
    yield best_single(scores)
    rng = np.random.default_rng(seed)
    for _ in range(RANDOM_STARTS):
        yield normalised(rng.exponential(size=len(current)), groups)  # uniform over the simplex


def unconstrained_best(scores: Scorer, start: Vector) -> Vector:
    """Weights of any sign and sum with the highest objective that can be reached from `start`.

    log(E) <= log(E₀) + E/E₀ − 1, with equality at E₀, so each solution of the least-squares problem in which every
    error is divided by its last value is at least as good as the one before (majorise–minimise).
    """
    weights, reached = start, scores.objective(start)
    chosen = list(scores.chosen)
    for _ in range(MOST_ITERATIONS):
        shares = 1 / scores.errors(weights)[0][:, chosen]
        shares /= shares.sum()
        matrix = np.einsum("tk,tkij->ij", shares, scores.quadratic[:, chosen])
        target = np.einsum("tk,tki->i", shares, scores.linear[:, chosen])
        further = np.linalg.lstsq(matrix, target, rcond=1e-12)[0]
        value = scores.objective(further)
        if value <= reached + 1e-9:
            break
        weights, reached = further, value
    return weights


def folds(tracks: int, number: int, seed: int = 0) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """(tracks to tune on, tracks held out) of each fold: every track is held out once.

    number: of folds, at most one per track. ValueError with fewer than two tracks.
    """
    if tracks < 2:
        raise ValueError(f"cross-validation needs at least 2 tracks, found {tracks}")
    order = np.random.default_rng(seed).permutation(tracks)
    held_out = [np.sort(part) for part in np.array_split(order, min(max(number, 2), tracks))]
    return [(np.setdiff1d(order, part), part) for part in held_out]
