"""No test writes to the leaderboard of this working copy."""

from pathlib import Path

import pytest

from evaluator.leaderboard import FILE_VARIABLE


@pytest.fixture(autouse=True)
def leaderboard_file(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A leaderboard for one test, also for the processes that it starts."""
    path = tmp_path_factory.mktemp("leaderboard") / "leaderboard.sqlite"
    monkeypatch.setenv(FILE_VARIABLE, str(path))
    return path
