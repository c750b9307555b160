"""What tune says: tables, rounding, and a verdict that is no stronger than the tracks allow."""

import functools

import numpy as np
import pytest

from evaluator.tuning import tune
from evaluator.tuning.estimator import MemberInfo, StepInfo
from evaluator.tuning.gram import blocks_of, gram_matrix
from evaluator.tuning.tune import CURRENT, EQUAL, FREE, SINGLE, TUNED, Tuned, TuneError, weigh
from evaluator.tuning.weighting import Scorer, scorer

pytestmark = pytest.mark.quick


def step_with(*weights: float) -> StepInfo:
    """A step that makes vocals from members with these weights."""
    members = tuple(
        MemberInfo(f"model{i}", {"vocals": weight}, ("vocals",)) for i, weight in enumerate(weights)
    )
    blend = {"vocals": {"vocals": 1.0, "input": 0.0}, "rest": {"vocals": -1.0, "input": 1.0}}
    return StepInfo("vocals", "mixture", ("vocals",), "rest", {}, blend, members)


def scores_of(step: StepInfo, errors: tuple[float, ...], tracks: int, seed: int = 0) -> Scorer:
    """Tracks on which member i's estimate is the reference plus noise of `errors[i]`, differently loud each time."""
    rng = np.random.default_rng(seed)
    grams = []
    for _ in range(tracks):
        reference = rng.standard_normal((2, 500))
        estimates = [
            reference + error * rng.uniform(0.5, 1.5) * rng.standard_normal((2, 500)) for error in errors
        ]
        grams.append(gram_matrix([blocks_of(signal) for signal in (reference, reference, *estimates)]))
    return scorer(tune.layout_of(step, ("vocals",)), grams)


@functools.cache
def tuned_with(errors: tuple[float, ...], weights: tuple[float, ...], tracks: int) -> Tuned:
    step = step_with(*weights)
    return weigh(step, scores_of(step, errors, tracks))


def test_a_clear_gain_is_called_one() -> None:
    tuned = tuned_with((0.3, 0.3, 3.0), (1, 1, 9), tracks=12)
    assert "the tuned weights of step vocals beat the current ones: +" in tune.verdict(tuned)
    assert "higher on 12 of 12 tracks" in tune.verdict(tuned)
    assert tune.objective_db(tuned, TUNED) > tune.objective_db(tuned, CURRENT) + 3


def test_few_tracks_prove_nothing() -> None:
    says = tune.verdict(tuned_with((0.3, 0.3, 3.0), (1, 1, 9), tracks=4))
    assert "are not distinguishably better than the current ones: +" in says
    assert "interval" not in says


def test_weights_that_cannot_be_improved_are_not_beaten() -> None:
    """Current weights that are best on every track alike: what is tuned on some tracks is no better on others."""
    tuned = tuned_with((0.3, 0.3), (1, 1), tracks=8)
    assert "do not beat the current ones" in tune.verdict(tuned)


def test_the_table_has_all_weightings_and_members() -> None:
    tuned = tuned_with((0.3, 0.5, 0.4), (2, 1, 1), tracks=6)
    lines = tune.table(tuned).splitlines()
    assert lines[0] == "Step vocals: weights"
    for name in (CURRENT, EQUAL, SINGLE, TUNED, FREE):
        assert name in lines[1]
    assert lines[2].split()[:5] == ["vocals", "model0", "0.5000", "0.3333", "1.0000"]
    (row,) = (line for line in lines if line.startswith(TUNED))
    in_sample, held_out = map(float, row.split()[1:])
    weighting = tuned.weightings[TUNED]
    assert weighting.out_of_fold is not None
    assert in_sample == pytest.approx(weighting.in_sample.mean(), abs=6e-4)
    assert held_out == pytest.approx(weighting.out_of_fold.mean(), abs=6e-4)


def test_weights_are_scored_as_they_are_written() -> None:
    tuned = tuned_with((0.3, 0.5, 0.4), (2, 1, 1), tracks=6)
    stated = np.array([weights["vocals"] for weights in tuned.preset_weights()])
    assert all(f"{weight:.4f}" == f"{weight}".ljust(6, "0") for weight in stated)
    np.testing.assert_allclose(
        tuned.scores.sdr(stated / stated.sum()), tuned.weightings[TUNED].in_sample, atol=1e-12
    )


def test_a_step_with_nothing_to_weight_says_so() -> None:
    with pytest.raises(TuneError, match="step vocals has one member for every stem"):
        tune.layout_of(step_with(1.0), ("vocals",))


def test_a_member_whose_weight_is_nothing_is_dropped() -> None:
    tuned = tuned_with((0.3, 0.3, 8.0), (1, 1, 1), tracks=4)
    weights = tuned.preset_weights()
    assert weights[2] == {"vocals": 0.0}
    free = tuned.weightings[FREE].weights[2]
    assert abs(free) < tune.NOTHING  # a little, which is nothing
    assert weights[0]["vocals"] + weights[1]["vocals"] == pytest.approx(1)
