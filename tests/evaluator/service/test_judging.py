"""What the child that scores is asked at once."""

from collections.abc import Mapping
from typing import Any

import pytest

from evaluator.service.judging import batches

pytestmark = pytest.mark.quick


def tracks(*seconds: float) -> list[Mapping[str, Any]]:
    return [{"frames": 100 * each, "rate_hz": 100} for each in seconds]


@pytest.mark.parametrize(
    ("seconds", "answers", "expected"),
    [
        ((10, 10, 10), 1, [[0, 1, 2]]),
        ((30, 30, 30), 1, [[0, 1], [2]]),  # 60 s at once
        ((10, 90, 10), 1, [[0], [1], [2]]),  # one that is longer has to be asked for, too
        ((10, 10, 10), 4, [[0, 1], [2]]),  # 8 answers at once
        ((10, 10), 9, [[0], [1]]),
        ((), 1, []),
    ],
)
def test_as_much_is_asked_at_once_as_may_be(
    seconds: tuple[float, ...], answers: int, expected: list[list[int]]
) -> None:
    assert list(batches(tracks(*seconds), answers, 8, 60.0)) == expected
