"""Inner products of long signals, from which the error of every linear combination of them follows.

Signals are (channels, samples) arrays, on disk as a rule (`numpy.load(path, mmap_mode="r")`): only one block of each
is in memory at a time. Products and sums are float64, samples are taken as they are, which for float32 loses nothing.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BLOCK_SAMPLES = 1 << 15


def gram_matrix(
    signals: Sequence[NDArray[np.floating]], block_samples: int = BLOCK_SAMPLES
) -> NDArray[np.float64]:
    """The inner products ⟨signal i, signal j⟩ over all channels and samples, (n, n) float64.

    signals: n arrays (channels, samples) of one shape; ValueError for any other.
    block_samples: samples of each signal in memory at once; it changes nothing but the order of sums.
    """
    shapes = {signal.shape for signal in signals}
    if len(shapes) > 1:
        raise ValueError(f"expected signals of one shape (channels, samples), found {sorted(shapes)}")
    total = np.zeros((len(signals), len(signals)))
    for start in range(0, shapes.pop()[-1] if shapes else 0, block_samples):
        block = np.array([signal[:, start : start + block_samples] for signal in signals], np.float64)
        rows = block.reshape(len(signals), -1)
        total += rows @ rows.T
    return total
