"""Recordings for tests, and what has been made of them."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import soundfile

from my_submission import SeparatedFile

Array = Any


def noise(samples: int, channels: int = 2, peak: float = 0.4, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(-peak, peak, (samples, channels)).astype(np.float32)


def write(
    path: Path,
    array: Array,
    rate: int = 44_100,
    subtype: str = "FLOAT",
    tags: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    with soundfile.SoundFile(path, "w", rate, array.shape[1], subtype=subtype) as file:
        for name, value in tags.items():
            setattr(file, name, value)
        file.write(array)
    return path


def read_all(result: SeparatedFile) -> dict[str, Array]:
    return {
        stem: soundfile.read(path, dtype="float32", always_2d=True)[0] for stem, path in result.files.items()
    }


def everything_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
