"""Inner products of long signals, from which the error of every linear combination of them follows."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

BLOCK_SAMPLES = 1 << 15

Blocks = Iterable[NDArray[np.floating]]
"""A signal as (channels, length) arrays that follow one another."""


def gram_matrix(signals: Sequence[Blocks]) -> NDArray[np.float64]:
    """The inner products ⟨signal i, signal j⟩ over all channels and samples, (n, n) float64.

    signals: n signals cut at the same places; ValueError if they are not, or differ in length or channels.
    Only one block of each is in memory. Samples are taken as they are; products and sums are float64.
    """
    total = np.zeros((len(signals), len(signals)))
    for blocks in zip(*signals, strict=True):
        shapes = {block.shape for block in blocks}
        if len(shapes) > 1:
            raise ValueError(f"expected blocks of one shape (channels, samples), found {sorted(shapes)}")
        rows = np.array(blocks, np.float64).reshape(len(signals), -1)
        total += rows @ rows.T
    return total


def blocks_of(
    signal: NDArray[np.floating], block_samples: int = BLOCK_SAMPLES
) -> Iterator[NDArray[np.floating]]:
    """A (channels, samples) array, mapped from disk perhaps, in blocks."""
    for start in range(0, signal.shape[-1], block_samples):
        yield signal[:, start : start + block_samples]
