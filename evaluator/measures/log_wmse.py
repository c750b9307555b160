"""logWMSE: the logarithm of the mean square of what is heard of an error, beside the mixture (Nomono, 2023).

It is defined by the package log-wmse-audio-quality, and by torch-log-wmse up to 0.3, with which published values are
computed. torch-log-wmse 1.0 and later also hear errors 68 dB below the mixture, so they have other values for almost
perfect estimates, but the same for others. That package needs torchaudio, whose builds fit one build of PyTorch each.
"""

from collections.abc import Iterable
from functools import lru_cache
from math import log, sqrt

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from evaluator.measures.frames import Filter, Frames
from evaluator.measures.spectral import RATE_HZ, Pair

SCALE = -4.0  # so that the values are of the size of SDR in dB
EPSILON = 1e-8
LEAST_HEARD = 10 ** (-68 / 20)  # of a mixture whose RMS is 1
TAPS, RESPONSE_SIZE = 4000, 8192


class LogWmse:
    """−4·ln(mean e² + 10⁻⁸), e the weighted error over the weighted mixture's RMS; the mean of all channels.

    mixture_rms: `weighted_rms` of the mixture, which has as many channels.
    Samples of e below −68 dB count as silence, so the highest value is 73.68. A silent reference is no special case.
    Where a channel of the mixture is silent, its RMS counts as 10⁻⁸, which makes every error there enormous.
    The weighting is made for 44.1 kHz, and applied to the samples whatever their rate is (see spectral.py).
    """

    def __init__(self, mixture_rms: NDArray[np.float64]) -> None:
        self._heard = Filter(hearing())
        self._scale = 1 / (mixture_rms[:, None] + EPSILON)
        self._total: NDArray[np.float64] = np.zeros_like(mixture_rms)
        self._number = 0

    def add(self, pair: Pair) -> None:
        s, s_hat = pair
        self._take(self._heard.add(s_hat - s))

    def end(self) -> None:
        self._take(self._heard.end())

    def _take(self, error: Frames) -> None:
        relative = error * self._scale
        relative[np.abs(relative) < LEAST_HEARD] = 0.0
        self._total += np.square(relative).sum(axis=1)
        self._number += error.shape[1]

    def values(self) -> dict[str, float]:
        means = self._total / self._number
        return {"log_wmse": float(np.mean(SCALE * np.log(means + EPSILON)))}


def weighted_rms(blocks: Iterable[Frames]) -> NDArray[np.float64]:
    """Root mean square of the weighted signal, (channels,); of (channels, samples) blocks."""
    total: NDArray[np.float64] = np.zeros(1)
    number = 0
    for block in Filter(hearing()).all_of(blocks):
        total = total + np.square(block, dtype=np.float64).sum(axis=1)
        number += block.shape[1]
    return np.asarray(np.sqrt(total / number), np.float64)


@lru_cache(maxsize=1)
def hearing() -> Frames:
    """4000 taps without phase that weight frequencies as the ear does, after Fenton and Lee (2017).

    A high shelf of 5 dB at 1.5 kHz, a high pass at 120 Hz, 2.5 dB around 500 Hz, and a low pass at 10 kHz that is
    passed twice, at 44.1 kHz; the response of 8192 samples, cut to its middle.
    """
    angles = np.linspace(0, np.pi, RESPONSE_SIZE // 2 + 1, endpoint=False)
    low_pass = scipy.signal.butter(1, 10_000, fs=RATE_HZ)
    response = np.ones(len(angles))
    for b, a in (
        _shelf(1500.0, 5.0, 1 / sqrt(2)),
        scipy.signal.butter(2, 120, "highpass", fs=RATE_HZ),
        _peak(500.0, 2.5, 1.5 / sqrt(2)),
        low_pass,
        low_pass,
    ):
        response = response * np.abs(scipy.signal.freqz(b, a, worN=angles)[1])
    middle = RESPONSE_SIZE // 2 + 1
    symmetric = np.fft.fftshift(np.fft.irfft(response, RESPONSE_SIZE))
    return symmetric[middle - TAPS // 2 : middle + TAPS // 2].astype(np.float32)


def _shelf(hertz: float, gain_db: float, q: float) -> tuple[list[float], list[float]]:
    """High shelf of the Audio EQ Cookbook (Bristow-Johnson)."""
    amplitude, cosine, alpha = _cookbook(hertz, gain_db, q)
    more, fewer, slope = amplitude + 1, amplitude - 1, 2 * sqrt(amplitude) * alpha
    b = [more + fewer * cosine + slope, -2 * (fewer + more * cosine), more + fewer * cosine - slope]
    a = [more - fewer * cosine + slope, 2 * (fewer - more * cosine), more - fewer * cosine - slope]
    return [amplitude * each for each in b], a


def _peak(hertz: float, gain_db: float, q: float) -> tuple[list[float], list[float]]:
    """Peaking equaliser of the same."""
    amplitude, cosine, alpha = _cookbook(hertz, gain_db, q)
    b = [1 + alpha * amplitude, -2 * cosine, 1 - alpha * amplitude]
    a = [1 + alpha / amplitude, -2 * cosine, 1 - alpha / amplitude]
    return b, a


def _cookbook(hertz: float, gain_db: float, q: float) -> tuple[float, float, float]:
    angle = 2 * np.pi * hertz / RATE_HZ
    return 10 ** (gain_db / 40), float(np.cos(angle)), float(np.sin(angle)) / (2 * q)


HIGHEST = SCALE * log(EPSILON)
