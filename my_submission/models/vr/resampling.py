"""Signals between the bands of a VR network: with the filters of the program that they were trained with."""

from functools import cache
from math import gcd
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

Filter = Literal["polyphase", "sinc_fastest"]
"""polyphase: scipy's `resample_poly` as it is. sinc_fastest: libsamplerate's filter of that name."""

_PERIODS = 19.234375
_CUTOFF, _BETA = 0.83147069, 10.08
"""Of libsamplerate's filter: a sinc under a Kaiser window over that many samples on each side, of which the cutoff is
a share of half the lower rate. Fitted to its impulse response, of which they give all but −152 dB."""


def resampled(signal: Tensor, from_rate: int, to_rate: int, kind: Filter) -> Tensor:
    """A whole (channels, samples) float32 signal at another rate, samples · to_rate / from_rate rounded up."""
    if from_rate == to_rate:
        return signal
    from scipy.signal import resample_poly  # it takes a second to import

    step = gcd(from_rate, to_rate)
    up, down = to_rate // step, from_rate // step
    window: Any = ("kaiser", 5.0) if kind == "polyphase" else _sinc_fastest(max(up, down))
    made = resample_poly(signal.cpu().numpy(), up, down, axis=-1, window=window)
    return torch.from_numpy(np.ascontiguousarray(made)).to(signal)


@cache
def _sinc_fastest(ratio: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The filter at a rate that is a whole multiple of the lower one of the two: (odd number of taps,)."""
    reach = int(_PERIODS * ratio)
    periods = np.arange(-reach, reach + 1) / ratio
    window = np.i0(_BETA * np.sqrt(1 - (periods / _PERIODS) ** 2)) / np.i0(_BETA)
    return np.asarray(_CUTOFF * np.sinc(_CUTOFF * periods) * window / ratio)
