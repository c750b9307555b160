"""Measures on magnitudes of short-time spectra, as MVSep's quality checker publishes them; all are better if higher.

They are defined by the code that computes the published values (utils/metrics.py of
Music-Source-Separation-Training), and everything about them is part of that: sizes, windows, and that mel bands and
weighting are made for 44.1 kHz whatever the rate of a recording is. So a score depends on the samples alone, and
scores of recordings of another rate can be compared with each other only.

Signals are functions that give a new iterator of (samples, channels) float64 blocks, since some measures need a
signal twice. Reference and estimate have equal channels and come in blocks of equal lengths. All samples of all
channels count alike, so a mono signal scores as it would in several equal channels. Nothing is undefined in silence:
two silent signals score 100, and logarithms have a floor.

The packages whose classes that code calls hold a whole recording, in several forms, and need PyTorch, librosa and
torchaudio; here memory does not grow with length. The tests compare the two.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt

import numpy as np
import scipy.signal
from numpy.typing import ArrayLike

from evaluator.measures.frames import Block, Frames, Real, TooShortError, filtered, magnitudes
from evaluator.measures.mel import MelBands, bands_of

Signal = Callable[[], Iterator[Block]]

RATE_HZ = 44100  # of all filters here, whatever the recording's
L1_SIZE, L1_HOP = 2048, 1024
AURA_SIZE, AURA_HOP = 1024, 256
MULTI_SIZES, MULTI_BANDS = (1024, 2048, 4096), 128
LEAST_POWER = 1e-8  # of a bin
BLEED_SIZE, BLEED_HOP, BLEED_BANDS = 4096, 1024, 512
LEAST_MAGNITUDE = 1e-10  # of a band, before its logarithm
RANGE_DB = 80.0  # below the loudest band, everything is as loud as that


def l1_freq(reference: Signal, estimate: Signal) -> float | None:
    """100 / (1 + 10·mean |‌|S| − |Ŝ|‌|), frames of 2048 without a window; None for 1024 samples or fewer."""
    total, number = 0.0, 0
    try:
        for s, s_hat in zip(
            magnitudes(reference(), L1_SIZE, L1_HOP, "reflect", "none"),
            magnitudes(estimate(), L1_SIZE, L1_HOP, "reflect", "none"),
            strict=True,
        ):
            total += float(np.abs(s - s_hat).sum())
            number += s.size
    except TooShortError:
        return None
    return _of_hundred(10 * total / number)


def aura_stft(reference: Signal, estimate: Signal) -> float | None:
    """100 / (1 + 10·d), d the distance of spectra in frames of 1024 (auraloss's STFTLoss); None up to 512 samples."""
    distance = _Distance(AURA_SIZE, AURA_HOP)
    try:
        for _ in distance.add_up(reference(), estimate()):
            pass
    except TooShortError:
        return None
    return _of_hundred(10 * distance.value)


def aura_mrstft(reference: Signal, estimate: Signal) -> float | None:
    """100 / (1 + 10·d), d the mean distance of A-weighted mel spectra of three sizes; None up to 2048 samples.

    It is auraloss's MultiResolutionSTFTLoss with scale "mel", 128 bands and perceptual weighting.
    """
    distances = [_Distance(size, size // 4, bands_of(RATE_HZ, size, MULTI_BANDS)) for size in MULTI_SIZES]
    signals = (_shared(_as_heard(signal), len(distances)) for signal in (reference, estimate))
    under_way = [each.add_up(s, s_hat) for each, s, s_hat in zip(distances, *signals, strict=True)]
    try:
        _side_by_side(under_way)
    except TooShortError:
        return None
    return _of_hundred(10 * sum(each.value for each in distances) / len(distances))


def _shared(blocks: Iterator[Frames], count: int) -> list[Iterator[Frames]]:
    """Iterators over the same blocks. A block goes when all have had it (itertools.tee keeps up to 57 of them)."""
    ahead: list[deque[Frames]] = [deque() for _ in range(count)]

    def branch(own: deque[Frames]) -> Iterator[Frames]:
        while True:
            if not own:
                block = next(blocks, None)
                if block is None:
                    return
                for each in ahead:
                    each.append(block)
                del block
            yield own.popleft()

    return [branch(own) for own in ahead]


def _side_by_side(under_way: Sequence[Iterator[int]]) -> None:
    """Run iterators over what they share to their ends: always the one that has got least far, so little is held."""
    reached = dict.fromkeys(range(len(under_way)), 0)
    while reached:
        last = min(reached, key=reached.__getitem__)
        step = next(under_way[last], None)
        if step is None:
            del reached[last]
        else:
            reached[last] += step


def _as_heard(signal: Signal) -> Iterator[Frames]:
    return filtered((block.astype(np.float32) for block in signal()), _a_weighting())


def _of_hundred(distance: float) -> float:
    return 100 / (1 + distance)


class _Distance:
    """Mean |ln S − ln Ŝ| plus spectral convergence ‖Ŝ − S‖ / ‖Ŝ‖ (Arik et al. 2018), which the estimate scales here.

    That is how the published code calls auraloss: with the estimate where its loss has the target.
    """

    def __init__(self, size: int, hop: int, bands: MelBands | None = None) -> None:
        self._size, self._hop, self._bands = size, hop, bands
        self._logs, self._number, self._error, self._energy = 0.0, 0, 0.0, 0.0

    def add_up(self, reference: Iterator[Real], estimate: Iterator[Real]) -> Iterator[int]:
        """Take in a piece of both at each step, of so many samples, until they end."""
        for s, s_hat in zip(
            magnitudes(reference, self._size, self._hop, "reflect"),
            magnitudes(estimate, self._size, self._hop, "reflect"),
            strict=True,
        ):
            s, s_hat = (np.maximum(each, sqrt(LEAST_POWER)) for each in (s, s_hat))
            if self._bands is not None:
                s, s_hat = self._bands(s), self._bands(s_hat)
            self._logs += float(np.abs(np.log(s / s_hat)).sum())
            self._number += s.size
            # squares in float64: those of float32 would overflow at samples of 10¹⁷, which other measures take
            self._error += float(np.square(s_hat - s, dtype=np.float64).sum())
            self._energy += float(np.square(s_hat, dtype=np.float64).sum())
            yield s.shape[1] * self._hop

    @property
    def value(self) -> float:
        return self._logs / self._number + sqrt(self._error / self._energy)


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


@dataclass(frozen=True)
class Bleed:
    """What an estimate has too much of, and too little; each from 0 to 100, which is nothing."""

    bleedless: float
    fullness: float


def bleed(reference: Signal, estimate: Signal) -> Bleed:
    """100 / (1 + m), m the mean in dB by which mel bands are louder than the reference's; fullness: by which quieter.

    Levels in 512 bands of frames of 4096 are taken no lower than 80 dB below the loudest one of their own signal.
    """
    floor, floor_hat = (_loudest(signal) - RANGE_DB for signal in (reference, estimate))
    more, louder, less, quieter = 0.0, 0, 0.0, 0
    for level, level_hat in zip(_levels(reference), _levels(estimate), strict=True):
        difference = np.maximum(level_hat, floor_hat) - np.maximum(level, floor)
        above, below = difference[difference > 0], difference[difference < 0]
        more, louder = more + float(above.sum()), louder + above.size
        less, quieter = less - float(below.sum()), quieter + below.size
    return Bleed(_of_hundred(more / max(louder, 1)), _of_hundred(less / max(quieter, 1)))


def _loudest(signal: Signal) -> float:
    """In dB."""
    return float(_decibels(max(magnitude.max() for magnitude in _bands(signal))))


def _levels(signal: Signal) -> Iterator[Frames]:
    """Levels of the mel bands in dB, (channels, frames, bands)."""
    return map(_decibels, _bands(signal))


def _bands(signal: Signal) -> Iterator[Frames]:
    return map(
        bands_of(RATE_HZ, BLEED_SIZE, BLEED_BANDS), magnitudes(signal(), BLEED_SIZE, BLEED_HOP, "zeros")
    )


def _decibels(magnitude: ArrayLike) -> Frames:
    return 20 * np.log10(np.maximum(magnitude, np.float32(LEAST_MAGNITUDE)))


DISTANCES: Mapping[str, Callable[[Signal, Signal], float | None]] = {
    "l1_freq": l1_freq,
    "aura_stft": aura_stft,
    "aura_mrstft": aura_mrstft,
}
