"""Mel filters on Slaney's scale, with triangles of equal area: those of librosa.filters.mel."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

BREAK_HZ, BREAK_MEL = 1000.0, 15.0  # linear below, logarithmic above (Slaney's Auditory Toolbox, 1998)
STEP = np.log(6.4) / 27  # of the logarithm of frequency, for one mel
BLOCK = 4096  # weights of one product: few of them are zero, and BLAS computes it on one thread


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
    """Sums of magnitudes in mel bands: products of neighbouring bands with the bins that they have weights of."""

    def __init__(self, rate_hz: float, size: int, bands: int) -> None:
        weights = filters(rate_hz, size, bands).T.astype(np.float32)
        self._bands = bands
        self._blocks = [
            (these, bins, np.ascontiguousarray(weights[bins, these])) for these, bins in _blocks(weights)
        ]

    def __call__(self, magnitudes: NDArray[np.float32]) -> NDArray[np.float32]:
        """(signals, …, bins) -> (signals, …, bands); equal signals have equal sums."""
        signals, *others, bins = magnitudes.shape
        made = np.empty((signals, *others, self._bands), np.float32)
        # a product each: where a row stands in one may change its last bits
        rows, into = magnitudes.reshape(signals, -1, bins), made.reshape(signals, -1, self._bands)
        for these, heard, weights in self._blocks:
            np.matmul(rows[..., heard], weights, out=into[..., these])
        return made


def _blocks(weights: NDArray[np.float32]) -> Iterator[tuple[slice, slice]]:
    """Neighbouring bands, and the bins of which they have weights; (bins, bands) of BLOCK weights at most."""
    first, bands = 0, weights.shape[1]
    while first < bands:
        last, bins = first, slice(0, 0)
        while last < bands:
            found = np.flatnonzero(weights[:, first : last + 1].any(axis=1))
            wider = slice(int(found[0]), int(found[-1]) + 1)
            if last > first and (wider.stop - wider.start) * (last + 1 - first) > BLOCK:
                break
            last, bins = last + 1, wider
        yield slice(first, last), bins
        first = last


@lru_cache(maxsize=8)
def bands_of(rate_hz: float, size: int, bands: int) -> MelBands:
    """The bands, made once."""
    return MelBands(rate_hz, size, bands)
