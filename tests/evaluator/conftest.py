"""What every test of the evaluator has in common."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_leaderboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the runs of the tests out of the user's leaderboard."""
    monkeypatch.setenv("SDX_LEADERBOARD", str(tmp_path / "leaderboard.sqlite"))
