"""What the child that scores is asked at once."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from evaluator.isolation import supervisor
from evaluator.service import judge
from evaluator.service.judging import RefusedEntry, _parsed, batches
from evaluator.service.task import SENTENCE_CHARACTERS

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


@pytest.mark.parametrize("sentence", [400 * "x", 400 * "漢", 400 * "🎵", 5000 * "x", "short"])
@pytest.mark.parametrize("number", [1, 100, 1000])
def test_problems_are_told_as_far_as_they_go_through(sentence: str, number: int) -> None:
    """Names are the sender's, of any length: an answer that is cut would count as a fault of ours."""
    line = json.dumps(judge._problems(number * [sentence]))
    assert len(line) < supervisor.LINE_BYTES
    with pytest.raises(RefusedEntry) as raised:
        _parsed(line)
    told = raised.value.problems
    assert told[0] == sentence[:SENTENCE_CHARACTERS]
    assert len(told) == number or told[-1] == f"and {number - len(told) + 1} more"
