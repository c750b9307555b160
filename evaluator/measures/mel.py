"""Mel filters on Slaney's scale, with triangles of equal area: those of librosa.filters.mel."""

from functools import lru_cache

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

BREAK_HZ, BREAK_MEL = 1000.0, 15.0  # linear below, logarithmic above (Slaney's Auditory Toolbox, 1998)
STEP = np.log(6.4) / 27  # of the logarithm of frequency, for one mel


def filters(rate_hz: float, size: int, bands: int) -> NDArray[np.float64]:
    """Weights of the bins of a transform of `size`, (bands, bins), from 0 Hz to half of the rate."""
    edges = _hertz(np.linspace(0.0, _mel(rate_hz / 2), bands + 2))
    bins = np.fft.rfftfreq(size, 1 / rate_hz)
    low, middle, high = (edge[:, None] for edge in (edges[:-2], edges[1:-1], edges[2:]))
    triangles = np.clip(np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)), 0, None)
    return np.asarray(triangles * 2 / (high - low), np.float64)


def _mel(hertz: float) -> float:
    if hertz < BREAK_HZ:
        return hertz * BREAK_MEL / BREAK_HZ
    return float(BREAK_MEL + np.log(hertz / BREAK_HZ) / STEP)


def _hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    linear = mel * BREAK_HZ / BREAK_MEL
    return np.where(mel < BREAK_MEL, linear, BREAK_HZ * np.exp(STEP * (mel - BREAK_MEL)))


class MelBands:
    """Sums of magnitudes in mel bands. Most weights are zero, so only the others are kept."""

    def __init__(self, rate_hz: float, size: int, bands: int) -> None:
        self._weights = scipy.sparse.csr_matrix(filters(rate_hz, size, bands).astype(np.float32))

    def __call__(self, magnitudes: NDArray[np.float32]) -> NDArray[np.float32]:
        """(channels, frames, bins) -> (channels, frames, bands)."""
        channels, frames, bins = magnitudes.shape
        flat = self._weights @ magnitudes.reshape(-1, bins).T
        return np.asarray(flat.T, np.float32).reshape(channels, frames, -1)


@lru_cache(maxsize=8)
def bands_of(rate_hz: float, size: int, bands: int) -> MelBands:
    """The bands, made once."""
    return MelBands(rate_hz, size, bands)
