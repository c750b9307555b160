"""Signals of which only a stretch is held, so that memory does not grow with a track."""

from collections.abc import Iterator

import torch
from torch import Tensor

_PAGE_SAMPLES = 2**18
"""A signal is held in pages of one size: growing copies nothing, and freed memory fits the next page."""


class SlidingSignal:
    """A (channels, samples) float32 signal that grows at its end and is forgotten at its beginning.

    `add` adds pieces anywhere from `start` on. `read` gives zeros outside the track, and raises IndexError for a
    sample that is forgotten or does not exist yet.
    """

    def __init__(self, channels: int, samples: int) -> None:
        self.start = 0
        self.end = 0
        self._channels = channels
        self._samples = samples
        self._pages: dict[int, Tensor] = {}

    def add(self, start: int, piece: Tensor, factor: float = 1.0) -> None:
        """Add factor · piece at `start`; the signal is zero where nothing was added."""
        if start < self.start:
            raise IndexError(f"samples before {self.start} are forgotten, found {start}")
        end = start + piece.shape[-1]
        for page, first, last in _spans(start, end):
            self._part(page, first, last).add_(piece[:, first - start : last - start], alpha=factor)
        self.end = max(self.end, end)

    def read(self, start: int, length: int) -> Tensor:
        """(channels, length) from `start`, which may lie outside the track: a `chunking.Reader`."""
        first, last = max(0, start), min(self._samples, start + length)
        if first < last and not self.start <= first < last <= self.end:
            raise IndexError(f"samples {first} to {last} asked for, {self.start} to {self.end} are held")
        signal = torch.zeros(self._channels, length)
        for page, begin, end in _spans(first, last):
            signal[:, begin - start : end - start] = self._part(page, begin, end)
        return signal

    def take(self, end: int) -> Tensor:
        """Return the samples from `start` to `end`, and forget them."""
        taken = self.read(self.start, end - self.start)
        self.forget(end)
        return taken

    def forget(self, end: int) -> None:
        """Drop the samples before `end`."""
        for page in range(self.start // _PAGE_SAMPLES, end // _PAGE_SAMPLES):
            self._pages.pop(page, None)
        self.start = max(self.start, end)
        self.end = max(self.end, end)

    def _part(self, page: int, start: int, end: int) -> Tensor:
        """A view of the samples from `start` to `end`, all in one page; a new page is silence."""
        if page not in self._pages:
            self._pages[page] = torch.zeros(self._channels, _PAGE_SAMPLES)
        offset = page * _PAGE_SAMPLES
        return self._pages[page][:, start - offset : end - offset]


def _spans(start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(page, first sample, one past the last) of the stretch from `start` to `end`."""
    while start < end:
        page = start // _PAGE_SAMPLES
        page_end = min(end, (page + 1) * _PAGE_SAMPLES)
        yield page, start, page_end
        start = page_end
