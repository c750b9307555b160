"""Recordings for tests of commands."""

from pathlib import Path

import numpy as np
import soundfile


def write_noise(path: Path, seconds: float = 0.5, rate: int = 44_100, channels: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = 0.1 * np.random.default_rng(0).standard_normal((round(seconds * rate), channels))
    soundfile.write(path, array, rate, subtype="FLOAT")
    return path


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
