"""Folders of workers: gone with them, at the latest when the next worker comes."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sdx.engines.scratch import Scratch, scratch_folder
from tests.test_imports import ROOT

LEAVES = """
import os, signal
from sdx.engines.scratch import Scratch
scratch = Scratch()
(scratch.path / "mixture.wav").touch()
print(scratch.path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_gone_after_the_block_and_others_stay() -> None:
    other = Scratch()
    with scratch_folder() as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").touch()
        assert folder != other.path
    assert not folder.exists()
    assert other.path.is_dir()
    other.close()


def test_what_a_killed_worker_left_goes_when_the_next_one_comes(place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEAVES],
        cwd=ROOT,
        env={"TMPDIR": str(place), "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    left = Path(done.stdout.strip())
    assert (left / "mixture.wav").is_file(), done.stderr
    with scratch_folder():
        assert not left.exists()
