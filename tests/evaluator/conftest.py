"""What every test of the evaluator has in common."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluator.runs.leaderboard import FILE_VARIABLE

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def leaderboard_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the runs of the tests, and of the processes they start, out of the user's leaderboard.

    They are in one folder, since few tests write to theirs: one for each would take longer than most tests.
    """
    folder = tmp_path_factory.getbasetemp() / "leaderboards"
    folder.mkdir(exist_ok=True)
    path = folder / f"{next(_numbers)}.sqlite"
    before = os.environ.get(FILE_VARIABLE)
    os.environ[FILE_VARIABLE] = str(path)
    yield path
    os.environ.pop(FILE_VARIABLE, None)
    if before is not None:
        os.environ[FILE_VARIABLE] = before
