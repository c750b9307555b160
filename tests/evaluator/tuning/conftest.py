"""What the tests of tuning over an engine have in common."""

from collections.abc import Iterator

import pytest

from sdx.engines.held import HELD
from tests.evaluator.tuning.engine_world import World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A preset and tracks."""
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def let_go() -> Iterator[None]:
    """What workers hold from one track to the next, they hold no longer than a test."""
    yield
    HELD.let_go()
