"""A service in a temporary folder, with one small benchmark, people, and a clock of its own.

Every test of the world runs with SQLite, and among the slow ones with PostgreSQL, where its server is there.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal
from argon2 import PasswordHasher
from fastapi.testclient import TestClient

from evaluator.service import accounts, examining
from tests.evaluator.service import postgres
from tests.evaluator.service.inside import Inside
from tests.evaluator.service.world import World, copy_world, make_world

NUMBERS = itertools.count()
POSTGRES_TEMPLATE = "template"


@pytest.fixture(autouse=True)
def _quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords that take no tenth of a second each."""
    monkeypatch.setattr(accounts, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture(scope="package", autouse=True)
def _one_event_loop() -> Iterator[None]:
    """As in a service, all requests are of one event loop; to begin one for each takes as long as most requests."""
    with start_blocking_portal() as portal, pytest.MonkeyPatch.context() as patched:
        patched.setattr(TestClient, "portal", portal)
        yield
        portal.call(portal.stop, True)  # whatever a test broke off ends, too


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


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with PostgreSQL, whose database is POSTGRES_TEMPLATE."""
    folder = tmp_path_factory.mktemp("world")
    make_world(folder, postgres.new_database(postgres_url, POSTGRES_TEMPLATE)).close()
    return folder


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "postgresql":
        folder, server = (request.getfixturevalue(name) for name in ("postgres_template", "postgres_url"))
        url = postgres.new_database(server, f"world{next(NUMBERS)}", POSTGRES_TEMPLATE)
        made = copy_world(folder, tmp_path, url)
    else:
        made = copy_world(request.getfixturevalue("template"), tmp_path)
    yield made
    made.close()


@pytest.fixture
def judged_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is scored is scored in this process; that it is behind walls is held by test_scoring_entries.py."""
    monkeypatch.setattr(examining, "Judge", Inside)
