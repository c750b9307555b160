"""Filtered signals, and the frames of a centred short-time Fourier transform, of sound that comes in blocks.

A block is a (…, samples) float32 array of any length: several signals side by side, so that one call of numpy does
for all of them, and memory does not grow with length. Spectra are float32, as in the code that computes the published
values, and take half the time so.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from math import prod
from typing import Literal

import numpy as np
import scipy.fft
import scipy.signal
from numpy.typing import NDArray

Frames = NDArray[np.float32]
Padding = Literal["reflect", "zeros"]
Window = Literal["hann", "none"]

FRAMES_AT_ONCE = 64
"""Of all signals. With more, what is computed with them leaves the cache and takes new memory."""
LEAST_SIZE = 1 << 10
"""Of the transforms of a filter."""


class TooShortError(ValueError):
    """The signal is too short to be mirrored at its ends, so its transform is not defined."""


class Transform:
    """|STFT|, frame by frame: (…, frames, bins), a few frames at a time.

    Frames are centred on 0, hop, 2·hop, …, up to the last sample and a hop, as in torch.stft with center=True; the
    signal is continued by half a window on both sides. skipped: frames at the start that are left out.
    """

    def __init__(
        self, size: int, hop: int, padding: Padding, window: Window = "hann", skipped: int = 0
    ) -> None:
        self._size, self._half, self._hop, self._to_skip = size, size // 2, hop, skipped
        self._reflects = padding == "reflect"
        self._window = None if window == "none" else _hann(size)
        self._held: Frames | None = None  # of which there are no whole frames yet
        self._end: Frames | None = None  # what the end is mirrored from, once the signal has begun

    def add(self, block: Frames) -> Iterator[Frames]:
        """Spectra of the frames that are whole with this block."""
        if not block.shape[-1]:
            return
        held = block if self._held is None else np.concatenate([self._held, block], axis=-1)
        if self._end is None:
            if self._reflects and held.shape[-1] <= self._half:
                self._held = held
                return
            held = np.concatenate([self._beyond(held[..., self._half : 0 : -1]), held], axis=-1)
        self._end = held[..., -self._half - 1 :].copy()
        yield from self._whole(held)

    def end(self) -> Iterator[Frames]:
        """Spectra of the last frames; TooShortError if the signal is shorter than its reflection."""
        if self._held is None or self._end is None:
            if self._reflects:
                raise TooShortError(f"expected more than {self._half} samples")
            return
        after = self._beyond(self._end[..., -2::-1])
        yield from self._whole(np.concatenate([self._held, after], axis=-1))

    def _beyond(self, mirrored: Frames) -> Frames:
        """Half a window of what is before or after the signal."""
        return mirrored if self._reflects else np.zeros((*mirrored.shape[:-1], self._half), np.float32)

    def _whole(self, held: Frames) -> Iterator[Frames]:
        held = np.ascontiguousarray(held)  # the order of its axes may be any, as that of the blocks
        frames = pieces_of(held, self._size, self._hop)
        *signals, count, _ = frames.shape
        self._held = held[..., count * self._hop :]
        skipped = min(self._to_skip, count)
        self._to_skip -= skipped
        at_once = max(1, FRAMES_AT_ONCE // prod(signals))
        for first in range(skipped, count, at_once):
            several = frames[..., first : first + at_once, :]
            yield np.abs(scipy.fft.rfft(several if self._window is None else several * self._window))


@lru_cache(maxsize=8)
def _hann(size: int) -> Frames:
    """The periodic Hann window."""
    return np.asarray(scipy.signal.get_window("hann", size), np.float32)


class Filter:
    """The signal convolved with `taps`, as long as it was: the middle of the convolution, zeros around the signal.

    By overlapping products of spectra ("overlap-save"), with that of the taps made once.
    """

    def __init__(self, taps: Frames) -> None:
        self._size = max(LEAST_SIZE, 1 << (4 * len(taps) - 1).bit_length())
        self._lost = len(taps) - 1  # at the start of each piece, where the convolution is a circular one
        self._after = self._lost // 2
        self._spectrum = scipy.fft.rfft(taps, self._size)
        self._held: Frames | None = None

    def add(self, block: Frames) -> Frames:
        """What is known of the filtered signal with this block; there may be no samples in it."""
        if self._held is None:
            self._held = np.zeros((*block.shape[:-1], self._lost - self._after), np.float32)
        held = np.ascontiguousarray(np.concatenate([self._held, block], axis=-1))
        pieces = pieces_of(held, self._size, self._size - self._lost)
        self._held = held[..., pieces.shape[-2] * (self._size - self._lost) :]
        return self._filtered(pieces)

    def end(self) -> Frames:
        """The last samples; to be asked for once there was a block."""
        assert self._held is not None
        count = self._held.shape[-1] - self._lost + self._after
        beyond = np.zeros((*self._held.shape[:-1], self._size), np.float32)
        return self.add(beyond)[..., :count]

    def all_of(self, blocks: Iterable[Frames]) -> Iterator[Frames]:
        """A whole signal, filtered."""
        for block in blocks:
            yield self.add(block)
        yield self.end()

    def _filtered(self, pieces: Frames) -> Frames:
        made = scipy.fft.irfft(scipy.fft.rfft(pieces) * self._spectrum, self._size)[..., self._lost :]
        return np.asarray(made.reshape(*made.shape[:-2], -1))


def pieces_of(signals: Frames, size: int, hop: int) -> Frames:
    """The whole pieces of (…, samples) signals at 0, hop, 2·hop, …: (…, pieces, size), a view of contiguous ones."""
    *several, samples = signals.shape
    count = max(0, (samples - size) // hop + 1)
    strides = (*signals.strides[:-1], hop * signals.itemsize, signals.itemsize)
    return np.ndarray((*several, count, size), signals.dtype, signals, strides=strides)
