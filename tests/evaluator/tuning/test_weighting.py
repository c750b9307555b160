"""The quadratic form is the score of re-mixed audio, and what is called best is best on a grid."""

import itertools
import time
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluator.measures.sdr import sdr
from evaluator.tuning.gram import blocks_of, gram_matrix
from evaluator.tuning.weighting import (
    INPUT,
    Layout,
    Scorer,
    Vector,
    best_single,
    best_weights,
    equal_weights,
    folds,
    normalised,
    out_of_fold,
    rounded,
    scorer,
    unconstrained_best,
)

pytestmark = pytest.mark.quick

STEMS = ("bass", "drums", "other")


def plain(stems: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Outputs are the means themselves."""
    return {stem: {stem: 1.0} for stem in stems}


def consistent(stems: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Every stem has an equal share of what the means leave of the input."""
    share = 1 / len(stems)
    return {stem: {INPUT: share, **{other: (other == stem) - share for other in stems}} for stem in stems}


class Step:
    """Random tracks of one step: references, an input that is their sum and a little more, members' estimates."""

    def __init__(
        self, blend: dict[str, dict[str, float]], members: int, tracks: int = 4, samples: int = 3000
    ) -> None:
        rng = np.random.default_rng(5)
        stems = tuple(dict.fromkeys(stem for row in blend.values() for stem in row if stem != INPUT))
        candidates = tuple((member, stem) for member in range(members) for stem in stems)
        self.layout = Layout(tuple(blend), candidates, blend)
        self.tracks = []
        for _ in range(tracks):
            references = rng.standard_normal((len(stems), 2, samples)) * rng.uniform(
                0.02, 0.2, (len(stems), 1, 1)
            )
            mixture = references.sum(axis=0) + 0.01 * rng.standard_normal((2, samples))
            estimates = [
                references[stems.index(stem)] * rng.uniform(0.7, 1.1)
                + 0.1 * references[(stems.index(stem) + 1) % len(stems)]
                + rng.uniform(0.02, 0.08) * rng.standard_normal((2, samples))
                for _, stem in candidates
            ]
            outputs = [
                references[stems.index(output)] if output in stems else mixture - references.sum(axis=0)
                for output in blend
            ]
            self.tracks.append(np.stack([*outputs, mixture, *estimates]).astype(np.float32))

    def scorer(self, objective: str | None = None) -> Scorer:
        return scorer(
            self.layout,
            [gram_matrix([blocks_of(signal) for signal in track]) for track in self.tracks],
            objective,
        )

    def remixed(self, weights: Vector) -> NDArray[np.float64]:
        """SDR (T, K) of the audio itself: means, blend, cast to float32, the challenge's metric."""
        scores = np.empty((len(self.tracks), len(self.layout.outputs)))
        for t, track in enumerate(self.tracks):
            outputs, mixture = len(self.layout.outputs), track[len(self.layout.outputs)].astype(np.float64)
            estimates = track[outputs + 1 :].astype(np.float64)
            for k, output in enumerate(self.layout.outputs):
                mixed = self.layout.blend[output].get(INPUT, 0.0) * mixture
                for weight, (_, stem), estimate in zip(
                    weights, self.layout.candidates, estimates, strict=True
                ):
                    mixed = mixed + self.layout.blend[output].get(stem, 0.0) * weight * estimate
                scores[t, k] = sdr(track[k].T, mixed.T.astype(np.float32))
        return scores


def some_weights(step: Step, seed: int = 1) -> Vector:
    rng = np.random.default_rng(seed)
    return normalised(rng.uniform(size=len(step.layout.candidates)), step.layout.groups())


def residual() -> dict[str, dict[str, float]]:
    """One stem, and what it leaves of the input as a second output."""
    return {"vocals": {"vocals": 1.0}, "rest": {"vocals": -1.0, INPUT: 1.0}}


@pytest.mark.parametrize(
    "blend", [plain(STEMS), consistent(STEMS), residual()], ids=["plain", "blend", "rest"]
)
@pytest.mark.parametrize("unconstrained", [False, True])
def test_the_form_is_the_score_of_remixed_audio(
    blend: dict[str, dict[str, float]], unconstrained: bool
) -> None:
    step = Step(blend, members=3)
    weights = some_weights(step)
    if unconstrained:
        weights = 3 * weights - 1
    np.testing.assert_allclose(step.scorer().sdr(weights), step.remixed(weights), rtol=0, atol=1e-6)


def test_blocks_change_nothing() -> None:
    (track,) = Step(plain(STEMS), members=2, tracks=1).tracks
    whole = track.reshape(len(track), -1).astype(np.float64)
    for block_samples in (7, 3000, 4096):
        in_blocks = gram_matrix([blocks_of(signal, block_samples) for signal in track])
        np.testing.assert_allclose(in_blocks, whole @ whole.T, rtol=1e-12)


@pytest.mark.parametrize("samples", [2999, 100])
def test_signals_of_different_lengths_are_an_error(samples: int) -> None:
    (track,) = Step(plain(STEMS), members=2, tracks=1).tracks
    with pytest.raises(ValueError, match="of one shape|argument 2 is shorter"):
        gram_matrix([blocks_of(track[0], 1000), blocks_of(track[1][:, :samples], 1000)])


@pytest.mark.parametrize("objective", [None, "drums"])
def test_the_gradient_is_the_slope_of_the_objective(objective: str | None) -> None:
    step = Step(consistent(STEMS), members=3)
    scores, weights = step.scorer(objective), some_weights(step)
    value, gradient = scores.objective_and_gradient(weights)
    assert value == pytest.approx(scores.objective(weights), abs=1e-12)
    for i, step_along in enumerate(np.eye(len(weights)) * 1e-6):
        slope = (scores.objective(weights + step_along) - scores.objective(weights - step_along)) / 2e-6
        assert gradient[i] == pytest.approx(slope, rel=1e-5, abs=1e-5)


def simplex_grid(size: int, parts: int) -> Iterator[tuple[float, ...]]:
    """All weights of `size` members that are multiples of 1/parts and sum to one."""
    for counts in itertools.product(range(parts + 1), repeat=size - 1):
        if sum(counts) <= parts:
            yield (*(count / parts for count in counts), (parts - sum(counts)) / parts)


@pytest.mark.parametrize(
    ("blend", "members", "parts"),
    [(plain(("vocals",)), 3, 100), (residual(), 3, 60), (consistent(("effect", "music")), 3, 12)],
    ids=["one stem", "stem and residual", "two stems jointly"],
)
def test_nothing_on_a_grid_is_better(blend: dict[str, dict[str, float]], members: int, parts: int) -> None:
    step = Step(blend, members)
    scores = step.scorer()
    groups = scores.layout.groups()
    on_grid = []
    for point in itertools.product(simplex_grid(members, parts), repeat=len(groups)):
        weights = np.empty(len(scores.layout.candidates))
        for group, values in zip(groups, point, strict=True):
            weights[group] = values
        on_grid.append((scores.objective(weights), weights))
    best_value, best_on_grid = max(on_grid, key=lambda found: found[0])
    best = best_weights(scores, equal_weights(scores.layout))
    assert best_value <= scores.objective(best) < best_value + 0.05
    np.testing.assert_allclose(best, best_on_grid, atol=1.5 / parts)


def test_without_consistency_stems_can_be_tuned_apart() -> None:
    step = Step(plain(STEMS), members=3)
    jointly = best_weights(step.scorer(), equal_weights(step.layout))
    for stem, group in zip(step.layout.stems, step.layout.groups(), strict=True):
        alone = best_weights(step.scorer(stem), equal_weights(step.layout))
        np.testing.assert_allclose(jointly[group], alone[group], atol=2e-4)


def test_constraints_hold_and_each_freedom_gains() -> None:
    scores = Step(consistent(STEMS), members=4).scorer()
    equal, single = equal_weights(scores.layout), best_single(scores)
    best = best_weights(scores, equal)
    free = unconstrained_best(scores, best)
    for weights in (equal, single, best):
        assert (weights >= 0).all()
        for group in scores.layout.groups():
            assert weights[group].sum() == pytest.approx(1)
    assert sorted(single) == [0.0] * 9 + [1.0] * 3
    assert scores.objective(best) > max(scores.objective(equal), scores.objective(single))
    assert scores.objective(free) > scores.objective(best)
    _, gradient = scores.objective_and_gradient(free)
    np.testing.assert_allclose(gradient, 0, atol=1e-2)  # of slopes of some 10 dB per unit


def test_the_objective_may_be_one_stem_at_the_others_cost() -> None:
    step = Step(consistent(STEMS), members=3)
    equal = equal_weights(step.layout)
    for_drums = best_weights(step.scorer("drums"), equal)
    for_all = best_weights(step.scorer(), equal)
    scores = step.scorer()
    assert scores.sdr(for_drums).mean(axis=0)[1] >= scores.sdr(for_all).mean(axis=0)[1]
    assert scores.objective(for_drums) <= scores.objective(for_all)


def test_a_perfect_member_is_found_and_its_score_is_finite() -> None:
    step = Step(plain(("vocals",)), members=3)
    for track in step.tracks:
        track[3] = track[0]  # member 1 is the reference itself
    best = best_weights(step.scorer(), equal_weights(step.layout))
    np.testing.assert_allclose(best, [0, 1, 0], atol=1e-3)
    assert np.isfinite(step.scorer().sdr(np.array([0.0, 1.0, 0.0]))).all()


def test_silence_everywhere_is_no_error() -> None:
    step = Step(plain(("vocals",)), members=2)
    for track in step.tracks:
        track[:] = 0
    scores = step.scorer()
    best = best_weights(scores, equal_weights(step.layout))
    assert best.sum() == pytest.approx(1)
    np.testing.assert_allclose(scores.sdr(best), 0, atol=1e-12)  # δ over δ
    assert np.isfinite(unconstrained_best(scores, best)).all()


def test_the_scale_of_the_audio_and_the_order_of_tracks_change_no_weights() -> None:
    step = Step(consistent(STEMS), members=2)
    best = best_weights(step.scorer(), equal_weights(step.layout))
    step.tracks = [track * np.float32(2) for track in reversed(step.tracks)]
    np.testing.assert_allclose(best_weights(step.scorer(), equal_weights(step.layout)), best, atol=1e-3)


def test_folds_hold_every_track_out_once() -> None:
    for tracks, number in ((2, 5), (7, 3), (100, 5)):
        parts = folds(tracks, number)
        assert len(parts) == min(tracks, number)
        assert sorted(np.concatenate([held_out for _, held_out in parts])) == list(range(tracks))
        assert all(not set(tuned_on) & set(held_out) for tuned_on, held_out in parts)
    with pytest.raises(ValueError, match="at least 2 tracks, found 1"):
        folds(1, 5)


def test_out_of_fold_scores_come_from_weights_that_did_not_see_the_track() -> None:
    step = Step(consistent(STEMS), members=3, tracks=5)
    scores = step.scorer()
    equal = equal_weights(step.layout)
    seen: list[int] = []

    def fit(part: Scorer) -> Vector:
        seen.append(len(part.energy))
        return best_weights(part, equal)

    held_out = out_of_fold(scores, fit, folds(5, 5))
    assert seen == [4] * 5
    assert held_out.mean() <= scores.sdr(best_weights(scores, equal)).mean()
    np.testing.assert_allclose(out_of_fold(scores, lambda part: equal, folds(5, 2)), scores.sdr(equal))


def test_rounding_keeps_what_a_preset_states() -> None:
    groups = [np.array([0, 1]), np.array([2, 3])]
    weights = rounded(np.array([1 / 3, 2 / 3, 1e-7, 1]), groups)
    assert weights.tolist() == [0.3333, 0.6667, 0.0, 1.0]


def test_a_hundred_tracks_take_seconds() -> None:
    step = Step(consistent(("bass", "drums", "other", "vocals")), members=4, tracks=100, samples=200)
    scores = step.scorer()
    started = time.process_time()
    best_weights(scores, equal_weights(step.layout))
    assert time.process_time() - started < 10  # 0.1 s on a free core; benchmarks/tune.py measures
