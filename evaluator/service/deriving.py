"""The instrumental of an entry that has none: the mixture minus its vocals, or else the sum of all other stems."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from evaluator.running.dataset import Track
from evaluator.running.parts import blocks

Samples = NDArray[np.float32]


def minus_vocals(track: Track, vocals: Path, target: Path) -> None:
    """Write the mixture of a track minus an estimate of its vocals, as float32, neither scaled nor clipped."""
    parts = zip(blocks(vocals), *map(blocks, track.mixtures), strict=True)
    _write(track, (np.concatenate(mixture, axis=1) - estimate for estimate, *mixture in parts), target)


def sum_of(track: Track, stems: Sequence[Path], target: Path) -> None:
    """Write the sum of estimates of a track, as float32, neither scaled nor clipped."""
    parts = zip(*map(blocks, stems), strict=True)
    _write(track, (np.sum(np.broadcast_arrays(*each), axis=0) for each in parts), target)


def _write(track: Track, found: Iterator[Samples], target: Path) -> None:
    first = next(found)
    with soundfile.SoundFile(target, "w", track.rate_hz, first.shape[1], "FLOAT", format="WAV") as file:
        file.write(first)
        for block in found:
            file.write(block)
