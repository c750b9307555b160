"""How a track is cut into chunks and put back together: one pure definition for every model.

A chunk contributes to `[offset, offset + length)` of the track. A model may need to read more than that: a margin
that it does not predict well (MDX-Net), or its full input size when the last chunk of a track is shorter (HTDemucs).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from my_submission.signal.rates import hop_samples as hop_samples

Reader = Callable[[int, int], Tensor]
"""`read(start, length)` gives (channels, length) float32; samples outside the track are zero."""

Window = Callable[[int], Tensor]
"""The weights in the blend of a chunk of that many samples, (samples,) float32, none of them zero."""


@dataclass(frozen=True)
class Geometry:
    """What one call of a model covers, in samples at the model's rate.

    chunk_samples: what a full chunk contributes to the track.
    margin_samples: extra samples read at each side, whose estimates are discarded. margins_inside: only those of the
        track, so that what is read ends where the track ends, and not in zeros.
    short_chunk: how to read a chunk shorter than chunk_samples. "as_is": at its own length, or centred in
        `least_samples` if it is shorter than that; "start": at full size from its own start; "centre": at full size
        with the chunk in the middle, so that real context is read on both sides before the zeros beyond the track.
    valid_length: how many samples to read for a chunk of so many, centred in the same way, where a network takes only
        some lengths or loses samples at its ends; instead of a margin and of `short_chunk`.
    fade_samples: a chunk's weights in the blend rise and fall linearly over that many samples at its ends and are 1
        between; None: as `window` says.
    window: "triangle" rises to the middle (`triangular_window`); "hann" is a Hann window as long as the chunk, also
        of a short last one (`hann_window`); "middle" takes the middle half of each chunk where there is one
        (`middle_window`).
    lead_samples: the first chunk begins that many samples before the track, and chunks go on until as many after it,
        all with zeros there: so a window's ends, where networks do worst, lie outside. Below half of chunk_samples.
    sample_rate, channels: what the model takes. The kit resamples if the rate is not its own, and gives a model of
        one channel the channels of a stereo chunk one by one.
    signals: how many signals a chunk holds, the channels of one after those of another: 1, or what a network refines
        besides, an estimate of each of its sources after the mixture.
    """

    chunk_samples: int
    margin_samples: int = 0
    margins_inside: bool = False
    short_chunk: Literal["as_is", "start", "centre"] = "centre"
    least_samples: int = 1
    fade_samples: int | None = None
    window: Literal["triangle", "hann", "middle"] = "triangle"
    lead_samples: int = 0
    sample_rate: int = 44_100
    channels: Literal[1, 2] = 2
    signals: int = 1
    valid_length: Callable[[int], int] | None = None

    @property
    def read_samples(self) -> int:
        """What is read for a full chunk."""
        if self.valid_length is not None:
            return self.valid_length(self.chunk_samples)
        return self.chunk_samples + 2 * self.margin_samples

    @property
    def around_samples(self) -> int:
        """How much is read before or after a chunk, at most, as far as that is no short one."""
        return self.margin_samples if self.valid_length is None else self.read_samples - self.chunk_samples

    def hop_samples(self, overlap: float) -> int:
        """Samples between the starts of two full chunks."""
        return hop_samples(self.chunk_samples, overlap)


@dataclass(frozen=True)
class Chunk:
    """One call of a model. It reads `read_length` samples from `read_start`, which may lie outside the track. The
    `length` samples that belong at `offset` begin `trim` samples into its output.

    whole_length, cut: its length with what lies outside the track, and how much of that lies before the track.
    """

    offset: int
    length: int
    read_start: int
    read_length: int
    trim: int
    whole_length: int
    cut: int = 0
    segment: range | None = None
    """The part of the track that may be read, if not all of it; beyond it are zeros."""

    def read(self, read: Reader) -> Tensor:
        """The (channels, read_length) input of the call."""
        if self.segment is None:
            return read(self.read_start, self.read_length)
        end = self.read_start + self.read_length
        first, last = max(self.read_start, self.segment.start), min(end, self.segment.stop)
        return torch.nn.functional.pad(read(first, last - first), (first - self.read_start, end - last))


def plan_chunks(
    track_samples: int, geometry: Geometry, overlap: float, segment_samples: int | None = None
) -> list[Chunk]:
    """The chunks of a track in order of offset (the grid of `demucs.apply.apply_model`, tail included).

    segment_samples: first cut the track into segments of that many samples and run each as a track of its own: its
        chunks do not overlap, and nothing outside it is read. The overlap is then that of the segments (`demix_full`
        of the released code of arXiv 2305.07489).
    """
    if segment_samples is None:
        offsets = _offsets(track_samples, geometry, overlap)
        return [_chunk_at(offset, track_samples, geometry) for offset in offsets]
    chunks = [
        replace(
            chunk,
            offset=segment.start + chunk.offset,
            read_start=segment.start + chunk.read_start,
            segment=segment,
        )
        for segment in _segments(track_samples, segment_samples, overlap)
        for chunk in plan_chunks(len(segment), geometry, 0.0)
    ]
    return sorted(chunks, key=lambda chunk: chunk.offset)


def count_chunks(
    track_samples: int, geometry: Geometry, overlap: float, segment_samples: int | None = None
) -> int:
    """How many chunks `plan_chunks` gives."""
    if segment_samples is None:
        return len(_offsets(track_samples, geometry, overlap))
    segments = _segments(track_samples, segment_samples, overlap)
    return sum(count_chunks(len(segment), geometry, 0.0) for segment in segments)


def _offsets(track_samples: int, geometry: Geometry, overlap: float) -> range:
    """Where chunks begin, as far as they reach into the track."""
    first = -geometry.lead_samples if track_samples else 0
    return range(first, track_samples, geometry.hop_samples(overlap))


def _segments(track_samples: int, segment_samples: int, overlap: float) -> Iterator[range]:
    for start in range(0, track_samples, hop_samples(segment_samples, overlap)):
        yield range(start, min(start + segment_samples, track_samples))


def blend_window(geometry: Geometry, segment_samples: int | None = None) -> Window:
    """The weights of chunks in the blend; for segments, all are equal."""
    if segment_samples is not None:
        return torch.ones
    if geometry.fade_samples is not None:
        full = fading_window(geometry.chunk_samples, geometry.fade_samples)
    elif geometry.window == "hann":
        return hann_window
    elif geometry.window == "middle":
        full = middle_window(geometry.chunk_samples)
    else:
        full = triangular_window(geometry.chunk_samples)
    return lambda length: full[:length]  # a short last chunk fades in like the others, as in demucs


def longest_advance(geometry: Geometry, overlap: float, segment_samples: int | None = None) -> int:
    """The largest number of samples between the starts of two consecutive chunks."""
    return geometry.hop_samples(overlap) if segment_samples is None else geometry.chunk_samples


def _chunk_at(offset: int, track_samples: int, geometry: Geometry) -> Chunk:
    """offset: below zero where the chunk begins before the track."""
    whole = min(geometry.chunk_samples, track_samples + _trail_samples(track_samples, geometry) - offset)
    if geometry.valid_length is not None:
        full = geometry.valid_length(whole)
    else:
        full = geometry.least_samples if geometry.short_chunk == "as_is" else geometry.chunk_samples
    missing = max(0, full - whole)
    before = 0 if geometry.short_chunk == "start" else missing // 2
    if geometry.margins_inside:
        return _chunk_inside(offset, whole, track_samples, geometry)
    cut = max(0, -offset)
    return Chunk(
        offset=offset + cut,
        length=min(offset + whole, track_samples) - offset - cut,
        read_start=offset - before - geometry.margin_samples,
        read_length=whole + missing + 2 * geometry.margin_samples,
        trim=before + geometry.margin_samples + cut,
        whole_length=whole,
        cut=cut,
    )


def _chunk_inside(offset: int, length: int, track_samples: int, geometry: Geometry) -> Chunk:
    """A chunk that is read with no more than the track has around it, but at least at `least_samples`, centred."""
    first = max(0, offset - geometry.margin_samples)
    last = min(track_samples, offset + length + geometry.margin_samples)
    missing = max(0, geometry.least_samples - (last - first))
    read_start = first - missing // 2
    return Chunk(
        offset=offset,
        length=length,
        read_start=read_start,
        read_length=last - first + missing,
        trim=offset - read_start,
        whole_length=length,
    )


def _trail_samples(track_samples: int, geometry: Geometry) -> int:
    """How far chunks may reach beyond the track: as many samples as before it, and up to whole inner parts.

    Source: the padding of Ultimate Vocal Remover's MDX-Nets (`demix`), which decides where its last windows end.
    """
    if not geometry.lead_samples:
        return 0
    inner = geometry.chunk_samples - 2 * geometry.lead_samples
    return geometry.lead_samples + inner - track_samples % inner


def triangular_window(length: int) -> Tensor:
    """Weights of a chunk's samples, (length,) float32: rising to 1 in the middle, and never zero.

    Zeros would leave the first and last sample of a track, which only one chunk covers, without any weight.

    Source: the transition window of `demucs.apply.apply_model` with transition_power 1.
    """
    half = length // 2
    window = torch.cat([torch.arange(1, half + 1), torch.arange(length - half, 0, -1)])
    return window / window.max()


LEAST_WEIGHT = 1e-12
"""Of a window that would begin with zero: next to any other it does not count, and alone it is divided out again."""


def hann_window(length: int) -> Tensor:
    """Weights of a chunk's samples, (length,) float32: a symmetric Hann window, never zero.

    Source: Ultimate Vocal Remover's `demix`, where the first and the last weight are zero: a sample that only they
    cover is 0/0 there.
    """
    return torch.hann_window(length, periodic=False).clamp(min=LEAST_WEIGHT)


def middle_window(length: int) -> Tensor:
    """Weights of a chunk's samples, (length,) float32: 1 in the middle half, and next to nothing elsewhere.

    Source: ByteSep's `Separator`, whose chunks overlap by a half and keep that half, at a track's ends all.
    """
    window = torch.full((length,), LEAST_WEIGHT)
    window[length // 4 : length - length // 4] = 1
    return window


def fading_window(length: int, fade_samples: int) -> Tensor:
    """Weights of a chunk's samples, (length,) float32: 1, but rising and falling linearly at the ends, never to zero.

    Source: the window of ZFTurbo's Music-Source-Separation-Training, whose ramps begin with 0 (samples that only one
    chunk covers are lost there), and are left out in some chunks, which ones depending on the batch size.
    """
    fade_samples = min(fade_samples, length // 2)
    window = torch.ones(length)
    ramp = torch.arange(1, fade_samples + 1) / (fade_samples + 1)
    window[:fade_samples] = ramp
    window[length - fade_samples :] = ramp.flip(0)
    return window


def reader(signal: Tensor) -> Reader:
    """Reads windows of a (channels, samples) signal, which may begin before it or end after it."""
    samples = signal.shape[-1]

    def read(start: int, length: int) -> Tensor:
        inside_start, inside_end = max(0, start), min(samples, start + length)
        if inside_end <= inside_start:
            return signal.new_zeros((*signal.shape[:-1], length))
        before, after = inside_start - start, start + length - inside_end
        return torch.nn.functional.pad(signal[..., inside_start:inside_end], (before, after))

    return read


def stacked(reads: Sequence[Reader]) -> Reader:
    """Reads several signals as one that has the channels of all."""
    return lambda start, length: torch.cat([read(start, length) for read in reads])


def overlap_add(
    chunks: list[Chunk], outputs: Iterable[Tensor], window: Window
) -> Iterator[tuple[int, Tensor]]:
    """Blend the chunks' outputs as they come and yield `(start, finished samples)` from left to right.

    Every sample is the sum of the windowed outputs over the sum of their windows. Dividing by what was actually added
    makes the blend exact at any overlap and at both ends of the track, where fewer chunks meet.

    chunks: in order of offset, together covering the track.
    outputs: one (…, read_length) tensor per chunk.
    Holds at most one chunk at a time; the yielded pieces follow one another without gap or overlap.
    """
    # Windowed outputs from `start` on that a later chunk may still add to. One chunk's length is enough, because
    # chunks come in order: everything before the next one's offset is finished.
    sums: Tensor | None = None
    weights = torch.empty(0)
    start = 0
    longest = max((chunk.length for chunk in chunks), default=0)
    windows: dict[int, Tensor] = {}  # on the outputs' device; nearly all chunks have one length
    # One buffer for all chunks: for small networks, new memory costs as much as they do.
    windowed = torch.empty(0)
    for chunk, output in zip(chunks, outputs, strict=True):
        if sums is None:
            sums = output.new_zeros((*output.shape[:-1], longest))
            weights = output.new_zeros(longest)
            windowed = torch.empty_like(sums)
        finished = chunk.offset - start
        if finished:
            yield start, sums[..., :finished] / weights[:finished]
            for buffer in (sums, weights):
                _advance(buffer, finished)
            start = chunk.offset
        if chunk.whole_length not in windows:
            windows[chunk.whole_length] = window(chunk.whole_length).to(sums)
        used = windows[chunk.whole_length][chunk.cut : chunk.cut + chunk.length]
        output = output[..., chunk.trim : chunk.trim + chunk.length].to(sums.device)
        sums[..., : chunk.length] += torch.mul(used, output, out=windowed[..., : chunk.length])
        weights[: chunk.length] += used
    if sums is not None:
        rest = max(chunk.offset + chunk.length for chunk in chunks) - start
        yield start, sums[..., :rest] / weights[:rest]


def _advance(buffer: Tensor, samples: int) -> None:
    """Move the buffer's end to its beginning, and let silence follow."""
    left = buffer.shape[-1] - samples
    moved = buffer[..., samples:]
    buffer[..., :left] = moved if left <= samples else moved.clone()  # a copy onto itself is not defined
    buffer[..., left:] = 0
