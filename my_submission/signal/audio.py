"""Audio as it enters and leaves: validation, PCM conversion, channels.

Inside, a signal is a torch float32 tensor (channels, samples); NumPy arrays at the edges are (samples, channels).
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from my_submission.signal.rates import MODEL_SAMPLE_RATE as MODEL_SAMPLE_RATE

Stems = dict[str, Tensor]
"""Signals of one track by name, all (channels, samples) float32 of one length and rate."""

LOWEST_SAMPLE_RATE, HIGHEST_SAMPLE_RATE = 8_000, 192_000

# Full scale of integer PCM, as soundfile and scipy.io.wavfile deliver it; unsigned 8 bit has its zero at 128.
_PCM_FULL_SCALE = {"int8": 2**7, "uint8": 2**7, "int16": 2**15, "int32": 2**31}


def signal_from_array(array: npt.NDArray[Any]) -> Tensor:
    """A mixture array as a (channels, samples) float32 signal; integer PCM is scaled to ±1.

    array: (samples,) or (samples, channels), 1 or 2 channels, float16/32/64 or int8/uint8/int16/int32.
    Raises ValueError, saying what was found and expected, for anything else and for empty, NaN or infinite input.
    """
    array = np.asarray(array)
    _check_shape(array)
    if array.dtype.name in _PCM_FULL_SCALE:
        zero = 128 if array.dtype.name == "uint8" else 0
        samples = (array.astype(np.float64) - zero) / _PCM_FULL_SCALE[array.dtype.name]
    elif np.issubdtype(array.dtype, np.floating):
        samples = array
    else:
        raise ValueError(
            f"mixture: expected float samples or int8, uint8, int16 or int32 PCM, found dtype {array.dtype}"
        )
    signal = np.ascontiguousarray(samples.reshape(len(samples), -1).T, dtype=np.float32)
    if not np.isfinite(signal).all():
        channel, sample = np.argwhere(~np.isfinite(signal))[0]
        raise ValueError(
            f"mixture: expected finite samples, found {signal[channel, sample]} "
            f"at sample {sample} of channel {channel}"
        )
    return torch.from_numpy(signal)


def _check_shape(array: npt.NDArray[Any]) -> None:
    expected = "mixture: expected (samples,) or (samples, channels) with 1 or 2 channels, found"
    if array.ndim not in (1, 2):
        raise ValueError(f"{expected} {array.ndim} axes, shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{expected} an empty array, shape {array.shape}")
    if array.ndim == 2 and array.shape[1] > 2:
        hint = "; it looks transposed: pass array.T" if array.shape[0] <= 2 else ""
        raise ValueError(f"{expected} {array.shape[1]} channels, shape {array.shape}{hint}")


def check_sample_rate(sample_rate: object) -> None:
    """ValueError unless the rate is a whole number of Hz from 8 to 192 kHz."""
    if (
        not isinstance(sample_rate, int | float | np.integer | np.floating)
        or not LOWEST_SAMPLE_RATE <= sample_rate <= HIGHEST_SAMPLE_RATE
        or sample_rate != int(sample_rate)
    ):
        found = repr(sample_rate) if isinstance(sample_rate, str) else sample_rate
        raise ValueError(
            f"sample_rate: expected a whole number from {LOWEST_SAMPLE_RATE} to {HIGHEST_SAMPLE_RATE} Hz, "
            f"found {found}"
        )


def array_from_signal(signal: Tensor) -> npt.NDArray[np.float32]:
    """A (channels, samples) signal as a (samples, channels) float32 array."""
    return np.ascontiguousarray(signal.T.numpy(), dtype=np.float32)


def round_to_16_bits(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Samples rounded, in place, to what a 16-bit file can hold, k/32768; those beyond full scale are not clipped.

    libsndfile rounds down when it writes floats to 16 bits. That shifts every sample by half a step on average, and
    turns silence with a little noise into −1. Samples on this grid are written unchanged.
    """
    samples *= 2**15
    np.rint(samples, out=samples)
    samples /= 2**15
    return samples


def to_stereo(signal: Tensor) -> Tensor:
    """A mono signal in both channels; a stereo one as it is."""
    return signal.expand(2, -1) if signal.shape[0] == 1 else signal


def to_channels(signal: Tensor, channels: int) -> Tensor:
    """A stereo signal with the mixture's number of channels: as it is, or the mean of both as (1, samples)."""
    return signal if channels == 2 else signal.mean(dim=0, keepdim=True)
