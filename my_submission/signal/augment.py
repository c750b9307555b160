"""Test-time augmentations: a change to a model's input, and what undoes it on the model's output.

Each is a gain (polarity, loudness), a level that is taken away (normalisation) or a delay (the shift trick), so one
record holds any combination. Presets name some of it, so torch is not imported here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    Reader = Callable[[int, int], Tensor]


class Polarity(StrEnum):
    """Which polarities of the input a model is run on (arXiv 2305.07489): x, −x, or the mean of both."""

    PLAIN = "plain"
    INVERTED = "inverted"
    BOTH = "both"

    @property
    def gains(self) -> tuple[float, ...]:
        return {"plain": (1.0,), "inverted": (-1.0,), "both": (1.0, -1.0)}[self.value]


class Normalise(StrEnum):
    """What of a track has mean 0 and deviation 1 once it is normalised: the mean of its channels, or all of them."""

    MONO = "mono"
    ALL = "all"


@dataclass(frozen=True)
class Augmentation:
    """The input without `offset`, times `gain`, after `delay_samples` zeros; undone on every source of the output."""

    gain: float = 1.0
    delay_samples: int = 0
    offset: float = 0.0

    def forward(self, read: Reader, samples: int) -> Reader:
        """The augmented input, delay_samples longer than the track of that many samples that `read` reads."""

        def augmented(start: int, length: int) -> Tensor:
            first = start - self.delay_samples
            piece = read(first, length)
            if self.offset:  # outside the track there is silence, also then
                inside = slice(max(0, -first), max(0, min(length, samples - first)))
                piece = piece.clone()
                piece[..., inside] -= self.offset
            return self.gain * piece

        return augmented

    def inverse(self, start: int, estimates: Tensor) -> tuple[int, Tensor]:
        """Where a piece (…, samples) of the augmented output belongs in the track, and the piece without it."""
        first = max(0, self.delay_samples - start)
        piece = estimates[..., first:] / self.gain
        return max(0, start - self.delay_samples), piece + self.offset if self.offset else piece


def draw_delays(shifts: int, max_delay_samples: int, rng: np.random.Generator) -> tuple[int, ...]:
    """Delays for the shift trick, uniform over [0, max_delay_samples]; with no shifts, the single delay 0."""
    if shifts == 0:
        return (0,)
    return tuple(int(delay) for delay in rng.integers(0, max_delay_samples, size=shifts, endpoint=True))


def loudness_gain(signal: Tensor, sample_rate: int, target_lufs: float) -> float:
    """The gain that brings a (channels, samples) signal to a loudness (ITU-R BS.1770-4, integrated).

    It is 1 if loudness is undefined: the signal is shorter than one 0.4 s block, or below the absolute gate
    throughout.
    """
    import pyloudnorm  # imports scipy.signal, which takes a second; few presets need it

    meter = pyloudnorm.Meter(sample_rate)
    if signal.shape[-1] < math.ceil(meter.block_size * sample_rate):
        return 1.0
    loudness = meter.integrated_loudness(signal.T.numpy())
    return 10 ** ((target_lufs - loudness) / 20) if math.isfinite(loudness) else 1.0


LEAST_DEVIATION = 1e-8
"""Of what is normalised. Below it, at −160 dB, a track is left as it is, where others divide by zero."""


def mean_and_deviation(read: Reader, samples: int, of: Normalise) -> tuple[float, float]:
    """What to subtract from a track of that many samples, and what to divide it by; 0 and 1 for silence.

    read: gives (channels, length); windows go from left to right.
    Source: the command line of `demucs` 2.0.3 (mono) and KUIELab's submission to the Music Demixing Challenge 2021.
    The deviation is that of a sample: the sum of squares is over one number fewer.
    """
    count, mean, squares = 0, 0.0, 0.0
    for start in range(0, samples, _BLOCK_SAMPLES):
        block = read(start, min(_BLOCK_SAMPLES, samples - start)).double()
        values = block.mean(dim=0) if of is Normalise.MONO else block.flatten()
        before, count = count, count + values.numel()
        change = float(values.mean()) - mean
        # Two blocks' sums of squares about their own means, and what their means are apart (Chan et al. 1983).
        squares += (
            float(values.var(correction=0)) * values.numel() + change**2 * before * values.numel() / count
        )
        mean += change * values.numel() / count
    deviation = math.sqrt(squares / (count - 1)) if count > 1 else 0.0
    return (mean, deviation) if deviation > LEAST_DEVIATION else (0.0, 1.0)


_BLOCK_SAMPLES = 1 << 20
