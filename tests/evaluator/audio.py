"""Data sets for the tests, small and with known scores."""

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from evaluator.challenge import CINEMATIC, MUSIC
from tests.evaluator.submissions import TRAP_FRAMES

RATE_HZ = 44100
FRAMES = {"trap": TRAP_FRAMES, "well": 120_000}  # in name order, so that what follows a failure is seen


def noise(frames: int, channels: int = 2, seed: int = 0, level: float = 0.05) -> NDArray[np.float64]:
    """Noise of this standard deviation, (samples, channels), on the grid of 16 bits."""
    values = np.random.default_rng(seed).standard_normal((frames, channels)) * level
    return np.round(values * 32768) / 32768


def write_music(root: Path, frames: dict[str, int] | None = None, suffix: str = ".wav") -> Path:
    """Tracks whose four stems are all the same quarter of the mixture."""
    for seed, (name, length) in enumerate((frames or FRAMES).items()):
        stem = noise(length, seed=seed)
        files = {**dict.fromkeys(MUSIC.stems, stem), "mixture": 4 * stem}
        write_track(root / name, files, suffix)
    return root


def write_stems(root: Path, stems: tuple[str, ...], names: tuple[str, ...] = ("one", "two")) -> Path:
    """Tracks with one file per stem, all the same, and their sum as the mixture."""
    for seed, name in enumerate(names):
        stem = noise(20000, seed=seed)
        write_track(root / name, {**dict.fromkeys(stems, stem), "mixture": len(stems) * stem})
    return root


def write_cinematic(root: Path, names: tuple[str, ...] = ("one", "two"), frames: int = 20000) -> Path:
    """Tracks in the cinematic challenge's layout."""
    for seed, name in enumerate(names):
        stems = {stem: noise(frames, seed=10 * seed + i) for i, stem in enumerate(CINEMATIC.stems)}
        mixture = sum(stems.values(), np.zeros((frames, 2)))
        files = {f"{name}_{stem}": array for stem, array in stems.items()}
        files |= {f"{name}_mixture_Lt": mixture[:, 0], f"{name}_mixture_Rt": mixture[:, 1]}
        write_track(root / name, files)
    return root


def write_dnr(root: Path, name: str = "0001", frames: int = 20000) -> Path:
    """A track in the layout of DnR, mono."""
    stems = {file: noise(frames, channels=1, seed=i) for i, file in enumerate(("speech", "sfx", "music"))}
    write_track(root / name, {**stems, "mix": sum(stems.values(), np.zeros((frames, 1)))})
    return root


def write_track(folder: Path, files: dict[str, NDArray[np.float64]], suffix: str = ".wav") -> None:
    """Write 16-bit files of a track."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in files.items():
        soundfile.write(folder / f"{name}{suffix}", array, RATE_HZ, subtype="PCM_16")
