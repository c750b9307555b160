"""Signals of which only a stretch is held, so that a track's length costs no memory."""

import torch
from torch import Tensor

from my_submission.chunking import reader


class SlidingSignal:
    """A (channels, samples) signal that grows at its end and is forgotten at its beginning.

    `add` sums pieces in anywhere from `start` on; `read` gives zeros beyond the track, and raises IndexError where a
    sample is asked for that is forgotten or not there yet.
    """

    def __init__(self, channels: int, samples: int) -> None:
        self.start = 0
        self._samples = samples
        self._held = torch.zeros(channels, 0)

    @property
    def end(self) -> int:
        return self.start + self._held.shape[-1]

    def add(self, start: int, piece: Tensor, factor: float = 1.0) -> None:
        """Add factor · piece at `start`; the signal is zero where nothing was added."""
        if start < self.start:
            raise IndexError(f"samples before {self.start} are forgotten, found {start}")
        missing = start + piece.shape[-1] - self.end
        if missing > 0:
            self._held = torch.nn.functional.pad(self._held, (0, missing))
        self._held[:, start - self.start :][:, : piece.shape[-1]].add_(piece, alpha=factor)

    def read(self, start: int, length: int) -> Tensor:
        """(channels, length) from `start`, which may lie outside the track: a `chunking.Reader`."""
        first, last = max(0, start), min(self._samples, start + length)
        if first < last and not self.start <= first < last <= self.end:
            raise IndexError(f"samples {first} to {last} asked for, {self.start} to {self.end} are held")
        return reader(self._held)(start - self.start, length)

    def take(self, end: int) -> Tensor:
        """The samples from `start` to `end`, which are forgotten here."""
        taken = self.read(self.start, end - self.start)
        self.forget(end)
        return taken

    def forget(self, end: int) -> None:
        """Drop the samples before `end`."""
        if end > self.start:
            self._held = self._held[:, end - self.start :].clone()
            self.start = end
