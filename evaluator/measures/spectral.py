"""Measures on magnitudes of short-time spectra, as MVSep's quality checker publishes them; all are better if higher.

They are defined by the code that computes the published values (utils/metrics.py of
Music-Source-Separation-Training), and everything about them is part of that: sizes, windows, and that mel bands and
weighting are made for 44.1 kHz whatever the rate of a recording is. So a score depends on the samples alone, and
scores of recordings of another rate can be compared with each other only.

Each takes in a reference and its estimate together, in blocks, as `Pair` has them. All samples of all channels count
alike, so a mono signal scores as it would in several equal channels. Nothing is undefined in silence: two silent
signals score 100, and logarithms have a floor.

The packages whose classes that code calls hold a whole recording, in several forms, and need PyTorch, librosa and
torchaudio; here memory does not grow with length. The tests compare the two.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import lru_cache
from math import sqrt
from typing import Protocol

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from evaluator.measures.frames import Filter, Frames, Transform
from evaluator.measures.mel import MelBands, bands_of

Pair = NDArray[np.float32]
"""(2, channels, samples): as much of the reference, then of the estimate."""
Pairs = Callable[[], Iterator[Pair]]
"""Gives both signals from their beginning, every time it is called."""

RATE_HZ = 44100  # of all filters here, whatever the recording's
L1_SIZE, L1_HOP = 2048, 1024
AURA_SIZE, AURA_HOP = 1024, 256
MULTI_SIZES, MULTI_BANDS = (1024, 2048, 4096), 128
LEAST_POWER = 1e-8  # of a bin
BLEED_SIZE, BLEED_HOP, BLEED_BANDS = 4096, 1024, 512
LEAST_MAGNITUDE = 1e-10  # of a band, before its logarithm
RANGE_DB = 80.0  # below the loudest band, everything is as loud as that
KEPT_BYTES = 96 << 20  # of levels: 4.7 minutes in stereo


class Meter(Protocol):
    """Measures two signals as they come: `add` all blocks, then `end`, then ask for `values`."""

    def add(self, pair: Pair) -> None:
        """Take in as many samples of both signals."""

    def end(self) -> None:
        """There are no more; TooShortError where the measure is not defined for so few."""

    def values(self) -> dict[str, float]:
        """What was found, by name."""


class Spectral(ABC):
    """Looks at one frame after the other."""

    def __init__(self, transform: Transform) -> None:
        self._transform = transform

    def add(self, pair: Pair) -> None:
        for spectra in self._transform.add(pair):
            self._take(spectra)

    def end(self) -> None:
        for spectra in self._transform.end():
            self._take(spectra)

    @abstractmethod
    def _take(self, spectra: Frames) -> None:
        """Take in magnitudes of both signals, (2, channels, frames, bins), which are this meter's to change."""


class L1Freq(Spectral):
    """100 / (1 + 10·mean |‌|S| − |Ŝ|‌|), frames of 2048 without a window; not defined for 1024 samples or fewer."""

    def __init__(self) -> None:
        super().__init__(Transform(L1_SIZE, L1_HOP, "reflect", "none"))
        self._total, self._number = 0.0, 0

    def _take(self, spectra: Frames) -> None:
        s, s_hat = spectra
        self._total += float(np.abs(s - s_hat).sum())
        self._number += s.size

    def values(self) -> dict[str, float]:
        return {"l1_freq": _of_hundred(10 * self._total / self._number)}


class _Distance(Spectral):
    """Mean |ln S − ln Ŝ| plus spectral convergence ‖Ŝ − S‖ / ‖Ŝ‖ (Arik et al. 2018), which the estimate scales here.

    That is how the published code calls auraloss: with the estimate where its loss has the target.
    """

    def __init__(self, size: int, hop: int, bands: MelBands | None = None) -> None:
        super().__init__(Transform(size, hop, "reflect"))
        self._bands = bands
        self._logs, self._number, self._error, self._energy = 0.0, 0, 0.0, 0.0

    def _take(self, spectra: Frames) -> None:
        np.maximum(spectra, np.float32(sqrt(LEAST_POWER)), out=spectra)
        s, s_hat = spectra if self._bands is None else self._bands(spectra)
        self._logs += float(np.abs(np.log(s / s_hat)).sum())
        self._number += s.size
        self._error += _energy(s_hat - s)
        self._energy += _energy(s_hat)

    @property
    def distance(self) -> float:
        return self._logs / self._number + sqrt(self._error / self._energy)


def _energy(values: Frames) -> float:
    """In float64: squares of float32 would overflow at samples of 10¹⁷, which other measures take."""
    wide = values.astype(np.float64).ravel()
    return float(wide @ wide)


class AuraStft(_Distance):
    """100 / (1 + 10·d), d the distance of spectra in frames of 1024 (auraloss's STFTLoss); from 513 samples on."""

    def __init__(self) -> None:
        super().__init__(AURA_SIZE, AURA_HOP)

    def values(self) -> dict[str, float]:
        return {"aura_stft": _of_hundred(10 * self.distance)}


class AuraMrstft:
    """100 / (1 + 10·d), d the mean distance of A-weighted mel spectra of three sizes; from 2049 samples on.

    It is auraloss's MultiResolutionSTFTLoss with scale "mel", 128 bands and perceptual weighting.
    """

    def __init__(self) -> None:
        self._as_heard = Filter(_a_weighting())
        self._distances = [
            _Distance(size, size // 4, bands_of(RATE_HZ, size, MULTI_BANDS)) for size in MULTI_SIZES
        ]

    def add(self, pair: Pair) -> None:
        self._add(self._as_heard.add(pair))

    def end(self) -> None:
        self._add(self._as_heard.end())
        for each in self._distances:
            each.end()

    def _add(self, heard: Pair) -> None:
        for each in self._distances:
            each.add(heard)

    def values(self) -> dict[str, float]:
        distances = [each.distance for each in self._distances]
        return {"aura_mrstft": _of_hundred(10 * sum(distances) / len(distances))}


def _of_hundred(distance: float) -> float:
    return 100 / (1 + distance)


@lru_cache(maxsize=1)
def _a_weighting() -> Frames:
    """101 taps whose response is near that of IEC 61672's A-weighting, brought to 44.1 kHz by the bilinear transform.

    As auraloss has it (Wright and Välimäki 2019): least squares on 512 frequencies, in pairs, as scipy's firls takes
    them.
    """
    f1, f2, f3, f4 = (2 * np.pi * f for f in (20.598997, 107.65265, 737.86223, 12194.217))
    numerator = [f4**2 * 10 ** (1.9997 / 20), 0, 0, 0, 0]
    denominator = np.polymul([1, 2 * f4, f4**2], [1, 2 * f1, f1**2])
    denominator = np.polymul(np.polymul(denominator, [1, f3]), [1, f2])
    frequencies, response = scipy.signal.freqz(
        *scipy.signal.bilinear(numerator, denominator, fs=RATE_HZ), worN=512, fs=RATE_HZ
    )
    return np.asarray(scipy.signal.firls(101, frequencies, np.abs(response), fs=RATE_HZ), np.float32)


def _bleed_transform(skipped: int = 0) -> Transform:
    return Transform(BLEED_SIZE, BLEED_HOP, "zeros", skipped=skipped)


def _levels(spectra: Frames) -> Frames:
    """Of the mel bands, in dB."""
    made = bands_of(RATE_HZ, BLEED_SIZE, BLEED_BANDS)(spectra)
    return 20 * np.log10(np.maximum(made, np.float32(LEAST_MAGNITUDE), out=made))


class Bleed(Spectral):
    """What an estimate has too much of, and too little: 100 / (1 + m), m a mean in dB; 100 is nothing.

    bleedless: of that by which mel bands are louder than the reference's; fullness: by which quieter. Levels in 512
    bands of frames of 4096 are taken no lower than 80 dB below the loudest one of their own signal. Which that is
    shows in the end, so levels are kept; those of a longer recording are computed once more.
    """

    def __init__(self, pairs: Pairs) -> None:
        super().__init__(_bleed_transform())
        self._pairs = pairs
        self._kept: list[Frames] = []
        self._kept_bytes = 0
        self._is_whole = True
        self._loudest = np.full((2, 1, 1, 1), -np.inf, np.float32)

    def _take(self, spectra: Frames) -> None:
        levels = _levels(spectra)
        self._loudest = np.maximum(self._loudest, levels.max(axis=(1, 2, 3), keepdims=True))
        self._is_whole = self._is_whole and self._kept_bytes + levels.nbytes <= KEPT_BYTES
        if self._is_whole:
            self._kept.append(levels)
            self._kept_bytes += levels.nbytes

    def _all_levels(self) -> Iterator[Frames]:
        yield from self._kept
        if self._is_whole:
            return
        rest = _bleed_transform(skipped=sum(levels.shape[2] for levels in self._kept))
        for pair in self._pairs():
            yield from map(_levels, rest.add(pair))
        yield from map(_levels, rest.end())

    def values(self) -> dict[str, float]:
        floors = self._loudest - np.float32(RANGE_DB)
        more, louder, less, quieter = 0.0, 0, 0.0, 0
        for levels in self._all_levels():
            level, level_hat = np.maximum(levels, floors)
            difference = level_hat - level
            above, below = difference[difference > 0], difference[difference < 0]
            more, louder = more + float(above.sum()), louder + above.size
            less, quieter = less - float(below.sum()), quieter + below.size
        return {
            "bleedless": _of_hundred(more / max(louder, 1)),
            "fullness": _of_hundred(less / max(quieter, 1)),
        }
