"""Test-time augmentations: a change to a model's input, and what undoes it on the model's output.

Each is a gain (polarity, loudness) or a delay (the shift trick), so one record holds any combination.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
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


@dataclass(frozen=True)
class Augmentation:
    """The input times `gain`, after `delay_samples` zeros; undone on the output."""

    gain: float = 1.0
    delay_samples: int = 0

    def forward(self, read: Reader) -> Reader:
        """The augmented input, delay_samples longer than the track that `read` reads."""
        return lambda start, length: self.gain * read(start - self.delay_samples, length)

    def inverse(self, start: int, estimates: Tensor) -> tuple[int, Tensor]:
        """Where a piece (…, samples) of the augmented output belongs in the track, and the piece without it."""
        first = max(0, self.delay_samples - start)
        return max(0, start - self.delay_samples), estimates[..., first:] / self.gain


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
