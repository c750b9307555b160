"""What every test of the evaluator has in common."""

from pathlib import Path

import pytest

from evaluator.runs.leaderboard import FILE_VARIABLE


@pytest.fixture(autouse=True)
def leaderboard_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the runs of the tests, and of the processes they start, out of the user's leaderboard."""
    path = tmp_path / "leaderboard.sqlite"
    monkeypatch.setenv(FILE_VARIABLE, str(path))
    return path
