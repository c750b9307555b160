"""The kit on a system without what only POSIX has, as far as that shows here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from tests.evaluator import audio
from tests.my_submission.files_model import write_tiny_preset
from tests.working_copy import KIT_FOLDERS, ROOT, tracked_files


def without_posix(*command: object, but_for: str = "") -> "subprocess.CompletedProcess[str]":
    """Run Python without what Windows does not have; `but_for` are packages that keep their part for this system."""
    path = os.pathsep.join([str(Path(__file__).with_name("without_posix")), str(ROOT)])
    environment = {
        **os.environ,
        "PYTHONPATH": path,
        "PYTHONWARNINGS": "ignore",
        "IMPORTED_WITH_POSIX": but_for,
    }
    return subprocess.run(
        [sys.executable, *map(str, command)], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_every_module_imports_without_posix() -> None:
    modules = [
        ".".join(Path(name).with_suffix("").parts).removesuffix(".__init__")
        for name in tracked_files()
        if name.endswith(".py") and name.split("/")[0] in ("sdx", *KIT_FOLDERS)
    ]
    code = f"import importlib, signal\nfor name in {modules}: importlib.import_module(name)\nprint(signal.SIGHUP)"
    done = without_posix("-c", code, but_for="distributed")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("AttributeError: module 'signal' has no attribute 'SIGHUP'"), done.stderr


@pytest.mark.slow
def test_separate_runs_without_posix(tmp_path: Path) -> None:
    preset, song, out = write_tiny_preset(tmp_path), tmp_path / "song.wav", tmp_path / "out"
    soundfile.write(song, audio.noise(8000), audio.RATE_HZ)
    done = without_posix("-m", "sdx", "separate", song, "-o", out, "--preset", preset, "--jobs", 2)
    assert done.returncode == 0, done.stderr
    assert len(list(out.rglob("*.wav"))) == 4
