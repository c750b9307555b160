"""A service in a temporary folder, with one small benchmark, people, and a clock of its own.

Every test of the world runs with SQLite, and among the slow ones with PostgreSQL, where its server is there.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from evaluator.service import accounts
from tests.evaluator.service import postgres
from tests.evaluator.service.world import World, copy_world, make_world

NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def _quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords that take no tenth of a second each."""
    monkeypatch.setattr(accounts, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    folder = postgres.programs()
    if folder is None:
        pytest.skip("needs the Debian package postgresql")
    with postgres.server(folder) as url:
        yield url


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a world, to be copied."""
    folder = tmp_path_factory.mktemp("world")
    make_world(folder).close()
    return folder


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "postgresql":
        url = postgres.new_database(request.getfixturevalue("postgres_url"), f"world{next(NUMBERS)}")
        made = make_world(tmp_path, url)
    else:
        made = copy_world(request.getfixturevalue("template"), tmp_path)
    yield made
    made.close()
