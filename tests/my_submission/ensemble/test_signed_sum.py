"""Sums as people write them."""

import pytest

from my_submission.ensemble.signed_sum import parse_sum

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("vocals", [("vocals", 1)]),
        ("drums+bass", [("drums", 1), ("bass", 1)]),
        (" mixture -vocals − drums ", [("mixture", 1), ("vocals", -1), ("drums", -1)]),
        ("-vocals", [("vocals", -1)]),
        ("a + a", [("a", 1), ("a", 1)]),
    ],
)
def test_sums(text: str, terms: list[tuple[str, int]]) -> None:
    assert parse_sum(text) == terms


@pytest.mark.parametrize("text", ["", " ", "+", "a b", "a +", "a * 2", "2 a", "a + + b", "a, b"])
def test_what_is_no_sum(text: str) -> None:
    assert parse_sum(text) is None
