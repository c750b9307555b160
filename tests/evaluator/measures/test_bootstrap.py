"""The interval of a mean, where the answer is known."""

import numpy as np
import pytest

from evaluator.measures import bootstrap
from tests.thinned import one_in

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("number", one_in(2, [400, 3000]))
def test_with_many_tracks_it_is_that_of_the_normal_law(number: int) -> None:
    values = np.random.default_rng(1).normal(0.3, 1.0, number)
    half_width = 1.96 * values.std() / number**0.5
    assert bootstrap.interval(values) == pytest.approx(
        (values.mean() - half_width, values.mean() + half_width), abs=0.2 * half_width
    )


def test_it_moves_and_grows_with_the_values_and_turns_round_with_their_sign() -> None:
    values = [3.0, -1.0, 7.0, 4.0, 2.5, 6.0, 0.0, 5.5]
    low, high = bootstrap.interval(values)
    assert min(values) < low < np.mean(values) < high < max(values)
    assert bootstrap.interval([2 * value + 1 for value in values]) == pytest.approx(
        (2 * low + 1, 2 * high + 1)
    )
    assert bootstrap.interval([-value for value in values]) == pytest.approx((-high, -low))
    assert bootstrap.interval(values) == (low, high)
    assert bootstrap.interval([2.0] * 9) == pytest.approx((2.0, 2.0))


def test_a_resample_is_a_mean_of_as_many_tracks_in_blocks_of_any_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bootstrap, "BLOCK_DRAWS", 700)
    blocks = list(bootstrap._resamples(7, 3))
    assert sum(map(len, blocks)) == bootstrap.RESAMPLES
    assert all(np.allclose(block.sum(axis=1), 1.0) for block in blocks)


def test_few_tracks_say_nothing() -> None:
    assert bootstrap.interval_if_enough([1.0] * (bootstrap.FEWEST_TRACKS - 1)) is None
    assert bootstrap.interval_if_enough([1.0] * bootstrap.FEWEST_TRACKS) is not None
