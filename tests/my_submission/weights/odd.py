"""The network whose odd checkpoints are opened, and what an error about one looks like."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from my_submission.models.demucs_file import load_torch
from my_submission.weights import WeightsError, load_manifest
from tests.random_checkpoints import demucs_arguments

ROW = replace(load_manifest().checkpoints["htdemucs"], sha256=None, bytes=None)
NETWORK, ARGUMENTS = demucs_arguments("htdemucs", small=True)


def refused(path: Path, complaint: str, open_it: Callable[[Path], object] | None = None) -> None:
    with pytest.raises(WeightsError, match=complaint) as caught:
        (open_it or (lambda path: load_torch(path, ROW)))(path)
    message = str(caught.value)
    assert str(path) in message
    assert message.isprintable()
    assert len(message) < 1_000
