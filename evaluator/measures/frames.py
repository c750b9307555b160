"""Signals that come in blocks -> filtered signals, and the frames of a centred short-time Fourier transform.

A signal is an iterator of (samples, channels) blocks of any lengths, so that memory does not grow with it. Spectra
are float32, as in the code that computes the published values, and take half the time so.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain
from typing import Literal

import numpy as np
import scipy.fft
import scipy.signal
from numpy.typing import NDArray

Block = NDArray[np.float64]
Frames = NDArray[np.float32]
Real = NDArray[np.floating]
Padding = Literal["reflect", "zeros"]
Window = Literal["hann", "none"]

FRAMES_AT_ONCE = (
    32  # with all frames of a block, what is computed with them leaves the cache and takes new memory
)


class TooShortError(ValueError):
    """The signal is too short to be mirrored at its ends, so its transform is not defined."""


def magnitudes(
    blocks: Iterable[Real], size: int, hop: int, padding: Padding, window: Window = "hann"
) -> Iterator[Frames]:
    """|STFT|, frame by frame: (channels, frames, bins), a few frames at a time.

    Frames are centred on 0, hop, 2·hop, …, up to the last sample and a hop, as in torch.stft with center=True; the
    signal is continued by half a window on both sides. TooShortError if it is shorter than its reflection.
    """
    for frames in _frames(_padded(blocks, size // 2, padding), size, hop):
        yield np.abs(scipy.fft.rfft(frames if window == "none" else frames * _hann(size)))


@lru_cache(maxsize=8)
def _hann(size: int) -> NDArray[np.float32]:
    """The periodic Hann window."""
    return np.asarray(scipy.signal.get_window("hann", size), np.float32)


def filtered(blocks: Iterable[Real], taps: Real) -> Iterator[Real]:
    """The signal convolved with `taps`, as long as it was: the middle of the convolution, zeros around the signal.

    In float32 if both are.
    """
    after = (len(taps) - 1) // 2
    history: Real | None = None
    for block in blocks:
        if history is None:
            history = np.zeros((len(taps) - 1 - after, block.shape[1]), block.dtype)
        history = np.concatenate([history, block])
        if len(history) >= len(taps):
            yield _valid(history, taps)
            history = history[len(history) - len(taps) + 1 :]
    if history is not None and after:
        history = np.concatenate([history, np.zeros((after, history.shape[1]), history.dtype)])
        if len(history) >= len(taps):
            yield _valid(history, taps)


def _valid(signal: Real, taps: Real) -> Real:
    by_channel = np.ascontiguousarray(signal.T)  # strides cost more than this
    return np.asarray(scipy.signal.oaconvolve(by_channel, taps[None], mode="valid", axes=1)).T


def _padded(blocks: Iterable[Real], half: int, padding: Padding) -> Iterator[Real]:
    """The signal with `half` samples before it and after it."""
    left = iter(blocks)
    start: Real = next(left, np.zeros((0, 1)))
    while len(start) <= half and (block := next(left, None)) is not None:
        start = np.concatenate([start, block])
    reflects = padding == "reflect"
    if reflects and len(start) <= half:
        raise TooShortError(f"{len(start)} samples, expected more than {half}")
    silence = np.zeros((half, start.shape[1]))
    yield start[half:0:-1] if reflects else silence
    end = start[:0]
    for block in chain([start], left):
        yield block
        ends = block if len(block) > half else np.concatenate([end, block])
        end = ends[-half - 1 :].copy()
    yield end[-2::-1] if reflects else silence


def _frames(blocks: Iterable[Real], size: int, hop: int) -> Iterator[Frames]:
    """All whole frames, (channels, frames, size), a few at a time.

    A channel's samples lie side by side here, since what computes with frames takes twice as long over strides.
    """
    rest: Frames | None = None
    for block in blocks:
        channels = np.ascontiguousarray(block.T, np.float32)
        rest = channels if rest is None else np.concatenate([rest, channels], axis=1)
        count = (rest.shape[1] - size) // hop + 1
        if count > 0:
            frames = np.lib.stride_tricks.sliding_window_view(rest, size, axis=1)[:, ::hop]
            for first in range(0, count, FRAMES_AT_ONCE):
                yield frames[:, first : first + FRAMES_AT_ONCE]
            rest = rest[:, count * hop :]
