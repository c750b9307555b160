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

    Few tests write to it: a folder for each of thousands would take longer than most of them.
    """
    path = tmp_path_factory.getbasetemp() / f"leaderboard{next(_numbers)}.sqlite"
    before = os.environ.get(FILE_VARIABLE)
    os.environ[FILE_VARIABLE] = str(path)
    yield path
    os.environ.pop(FILE_VARIABLE, None)
    if before is not None:
        os.environ[FILE_VARIABLE] = before
