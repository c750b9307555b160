"""How sure a mean over tracks is: the percentile bootstrap (Efron 1979), of one definition for all that show it."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
FEWEST_RESAMPLES = 1_000
MOST_DRAWS = 50_000_000  # of tracks in all: with more than 5,000 tracks, fewer resamples do
SEED = 0
CONFIDENCE = 0.95
FEWEST_TRACKS = 6  # with fewer, even the same sign on every track has a probability above 5 % (2·0.5⁵)
BLOCK_DRAWS = 1 << 20  # of tracks at a time


def interval(values: NDArray[np.float64] | Sequence[float], seed: int = SEED) -> tuple[float, float]:
    """The 95 % interval of the mean of (tracks,) values, in their unit; the same values give the same one."""
    found = np.asarray(values, dtype=np.float64)
    # Not by BLAS, whose threads wait for each other on a busy machine, and whose last digits are the processor's.
    means = np.concatenate([np.einsum("rt,t->r", shares, found) for shares in _resamples(len(found), seed)])
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def interval_if_enough(values: Sequence[float]) -> tuple[float, float] | None:
    """The same; None with too few tracks to say anything."""
    return interval(values) if len(values) >= FEWEST_TRACKS else None


def _resamples(number: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """(resamples, tracks) shares of each track in the mean of each resample, in blocks."""
    resamples = min(RESAMPLES, max(FEWEST_RESAMPLES, MOST_DRAWS // number))
    rows = max(1, BLOCK_DRAWS // number)
    for block, start in enumerate(range(0, resamples, rows)):
        yield _block(min(rows, resamples - start), number, seed, block)


@lru_cache(maxsize=4)
def _block(rows: int, number: int, seed: int, block: int) -> NDArray[np.float64]:
    picks = np.random.default_rng((seed, block)).integers(0, number, (rows, number))
    flat = (picks + number * np.arange(rows)[:, None]).ravel()
    return np.bincount(flat, minlength=rows * number).reshape(rows, number) / number
