"""The scenarios of `benchmarks/service.py`, in a small size: many people at once, and kills at random."""

import pytest

from benchmarks.checker import kills, people
from evaluator.isolation import process_tree
from tests.evaluator.service import postgres

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not process_tree.HAS_PROC, reason="ends what is left with its parent"),
]


def test_fifty_people_at_once_lose_nothing() -> None:
    seen = people.run(50, are_scored=False)
    assert seen.failures == []
    assert seen.intact == 50


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_kills_at_random_lose_nothing_double_nothing_and_leave_nothing(
    request: pytest.FixtureRequest, database: str
) -> None:
    url = None
    if database == "postgresql":
        url = postgres.new_database(request.getfixturevalue("postgres_url"), "kills")
    seen = kills.run(10, people=3, seed=url is None, url=url)
    assert seen.is_well, list(seen.rows())
    assert min(seen.kills.values()) > 0
