"""Fixtures of the attacks, and the record of what was seen."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.isolation import systems, world
from tests.isolation.harness import Attack
from tests.isolation.world import World

RECORD_VARIABLE = "SDX_ISOLATION_RECORD"
"""A file to which each test adds a line: which promises an attack was on, on which system, and how it ended."""

MakeWorld = Callable[[Attack], World]


@pytest.fixture(autouse=True, scope="session")
def _harness() -> None:
    """Orphans come to us; and no byte code of this process is mistaken for an attack's."""
    sys.dont_write_bytecode = True
    systems.adopt_orphans()


@pytest.fixture
def make_world() -> Iterator[MakeWorld]:
    """A world for an attack on a system, which is gone after the test."""
    with ExitStack() as stack:

        def make(attack: Attack) -> World:
            root = world.new_root()
            stack.callback(shutil.rmtree, root, ignore_errors=True)
            return stack.enter_context(world.made(root, attack.expected))

        yield make


@pytest.fixture
def record() -> Callable[[Attack, str, str], None]:
    """Adds a line to the record, if one is asked for."""

    def add(attack: Attack, system: str, outcome: str) -> None:
        if path := os.environ.get(RECORD_VARIABLE):
            line = {"attack": attack.name, "promises": attack.promises, "system": system, "outcome": outcome}
            with open(path, "a") as file:
                file.write(json.dumps(line) + "\n")

    return add
