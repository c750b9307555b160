"""The fuzzer finds what a parser may not raise, and finds nothing of that in a short while."""

from pathlib import Path

import pytest

from tests.fuzz import __main__ as fuzzing
from tests.fuzz.targets import TARGETS, Target

pytestmark = pytest.mark.slow

SECONDS = 2.0


def read_badly(path: Path) -> None:
    """A parser with a hole."""
    content = path.read_bytes()
    if not content.startswith(b"name"):
        raise ValueError("no name")
    if content.count(b"\xff"):
        raise KeyError("a hole")


@pytest.fixture(autouse=True)
def _keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "KEPT", tmp_path)


def test_a_hole_is_found_and_its_file_kept(tmp_path: Path) -> None:
    target = Target(".txt", lambda: [b"name: value"], read_badly, (ValueError,))
    found = fuzzing.fuzz("badly", target, 60)
    assert isinstance(found, KeyError)
    kept = (tmp_path / "badly" / "found.txt").read_bytes()
    assert kept.startswith(b"name")
    assert b"\xff" in kept


def test_a_parser_without_end_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: Path) -> None:
        while b"\xff" in path.read_bytes():
            pass

    monkeypatch.setattr(fuzzing, "SLOWEST_SECONDS", 0.2)
    found = fuzzing.fuzz("endless", Target(".txt", lambda: [b"name"], read), 60)
    assert isinstance(found, fuzzing.TooSlowError)


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found_in_a_short_while(name: str) -> None:
    found = fuzzing.fuzz(name, TARGETS[name], SECONDS)
    if found is not None:
        raise found
