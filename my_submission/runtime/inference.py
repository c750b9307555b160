"""Chunks of one signal through one model: in batches, under an augmentation, as far as the caller asks."""

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Barrier

import torch
from torch import Tensor

from my_submission.models import ChunkModel
from my_submission.runtime.schedule import SEQUENTIAL, Schedule
from my_submission.signal import chunking
from my_submission.signal.audio import MODEL_SAMPLE_RATE
from my_submission.signal.augment import Augmentation
from my_submission.signal.chunking import (
    Chunk,
    Geometry,
    Reader,
    blend_window,
    longest_advance,
    overlap_add,
    plan_chunks,
)
from my_submission.signal.resampling import (
    RESAMPLING_SAMPLES,
    pieces_at_rate,
    reader_at_rate,
    resampled_length,
)


def estimate_track(
    model: ChunkModel,
    read: Reader,
    track_samples: int,
    augmentation: Augmentation,
    overlap: float,
    schedule: Schedule = SEQUENTIAL,
    on_chunks: Callable[[int], None] = lambda chunks: None,
    segment_samples: int | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Run a model over a track under one augmentation, as far as the caller asks for pieces.

    Yields `(start, piece)` from left to right, piece (sources, channels, samples) float32 on the CPU, the
    augmentation undone. Holds only the chunks under way, and reads the track at most `lookahead_samples` beyond the
    end of the piece.
    on_chunks: called with the number of chunks just computed.
    segment_samples: the length of segments that overlap instead of the chunks, see `plan_chunks`.
    """
    geometry = model.geometry
    samples, rate = track_samples + augmentation.delay_samples, geometry.sample_rate
    chunks = plan_chunks(_own_samples(geometry, samples), geometry, overlap, segment_samples)
    own_read = reader_at_rate(augmentation.forward(read, track_samples), MODEL_SAMPLE_RATE, rate)
    outputs = _run_batches(model, chunks, own_read, schedule, on_chunks)
    own_pieces = overlap_add(chunks, outputs, blend_window(geometry, segment_samples))
    pieces = pieces_at_rate(own_pieces, rate, MODEL_SAMPLE_RATE, _own_samples(geometry, samples), samples)
    for start, estimates in pieces:
        start, piece = augmentation.inverse(start, estimates)
        if piece.shape[-1]:
            yield start, piece.cpu()


def lookahead_samples(
    geometry: Geometry, overlap: float, schedule: Schedule, segment_samples: int | None = None
) -> int:
    """How far beyond a sample `estimate_track` may read the track before it yields that sample's piece."""
    ahead = longest_advance(geometry, overlap, segment_samples) * schedule.batch_size * (schedule.workers + 1)
    return _kit_samples(geometry, ahead + geometry.chunk_samples + geometry.around_samples)


def lookback_samples(geometry: Geometry) -> int:
    """How far before the end of a piece `estimate_track` may still read the track for the next one."""
    return _kit_samples(geometry, geometry.chunk_samples + geometry.around_samples)


def _own_samples(geometry: Geometry, samples: int) -> int:
    """That many samples at the kit's rate, in samples at the model's."""
    return resampled_length(samples, MODEL_SAMPLE_RATE, geometry.sample_rate)


def _kit_samples(geometry: Geometry, samples: int) -> int:
    """That many samples at the model's rate, in samples at the kit's; and what resampling reads besides."""
    more = RESAMPLING_SAMPLES if geometry.sample_rate != MODEL_SAMPLE_RATE else 0
    return resampled_length(samples, geometry.sample_rate, MODEL_SAMPLE_RATE) + more


def count_chunks(
    geometry: Geometry,
    track_samples: int,
    augmentation: Augmentation,
    overlap: float,
    segment_samples: int | None = None,
) -> int:
    """How many chunks `estimate_track` computes."""
    own_samples = _own_samples(geometry, track_samples + augmentation.delay_samples)
    return chunking.count_chunks(own_samples, geometry, overlap, segment_samples)


def _run_batches(
    model: ChunkModel,
    chunks: list[Chunk],
    read: Reader,
    schedule: Schedule,
    on_chunks: Callable[[int], None],
) -> Iterator[Tensor]:
    """The model's output for each chunk in order, (sources, channels, read_length) on its device."""
    schedule = schedule.for_model(model, max((chunk.read_length for chunk in chunks), default=0))
    batches = list(_batches(chunks, schedule.batch_size))
    inputs = ([chunk.read(read) for chunk in batch] for batch in batches)
    outputs = _in_order(partial(_run_batch, model), inputs, schedule.for_calls(len(batches)))
    with contextlib.closing(outputs):
        for batch in outputs:
            yield from batch
            on_chunks(len(batch))


def _batches(chunks: list[Chunk], batch_size: int) -> Iterator[list[Chunk]]:
    """Neighbouring chunks that are read at the same length, at most batch_size together."""
    for _, group in itertools.groupby(chunks, key=lambda chunk: chunk.read_length):
        same_length = list(group)
        for first in range(0, len(same_length), batch_size):
            yield same_length[first : first + batch_size]


def _run_batch(model: ChunkModel, inputs: list[Tensor]) -> list[Tensor]:
    """Run a batch, except for inputs of digital silence: their estimates are silence.

    A model of one channel gets each channel of a chunk as an item of its own.
    """
    channels = model.geometry.channels
    parts = inputs[0].shape[0] // (channels * model.geometry.signals)
    items = [item for chunk in inputs for item in torch.tensor_split(chunk, parts)]
    sounding = [bool(item.any()) for item in items]
    computed: Iterator[Tensor] = iter(())
    if any(sounding):
        computed = iter(_call(model, torch.stack(list(itertools.compress(items, sounding)))))
    estimates = [
        next(computed) if sounds else item.new_zeros((len(model.sources), channels, item.shape[-1]))
        for item, sounds in zip(items, sounding, strict=True)
    ]
    if parts == 1:
        return estimates
    device = next((one.device for one, sounds in zip(estimates, sounding, strict=True) if sounds), None)
    return [
        torch.cat([one.to(device) for one in estimates[first : first + parts]], dim=1)
        for first in range(0, len(items), parts)
    ]


def _call(model: ChunkModel, chunks: Tensor) -> Tensor:
    """The model's estimates; ValueError if they are not of the shape that `ChunkModel` promises.

    A loader may be anybody's, and a missing channel would spread over all without a word.
    """
    estimates = model(chunks)
    expected = len(chunks), len(model.sources), model.geometry.channels, chunks.shape[-1]
    if estimates.shape != expected:
        raise ValueError(
            f"{type(model).__name__}: gave estimates of shape {tuple(estimates.shape)}, expected {expected}:"
            " (batch, sources, channels, samples)"
        )
    return estimates


def _in_order(
    function: Callable[[list[Tensor]], list[Tensor]], inputs: Iterator[list[Tensor]], schedule: Schedule
) -> Generator[list[Tensor], None, None]:
    """`map` on worker threads: inputs are drawn as workers become free, results come in order."""
    if schedule.workers == 1:
        for one in inputs:
            yield function(one)
        return
    pool = _workers(schedule)
    under_way: deque[Future[list[Tensor]]] = deque()
    try:
        for one in inputs:
            under_way.append(pool.submit(function, one))
            if len(under_way) == schedule.workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _workers(schedule: Schedule) -> ThreadPoolExecutor:
    """Threads that compute on so many cores each. What other threads begin with stays as it is.

    Where a thread first asks for its number of cores, it takes the one that any thread set last: so all of ours ask
    before that is set back, and a model that is made in a thread of its own finds all cores.
    """
    cores, begun = torch.get_num_threads(), Barrier(schedule.workers + 1)

    def begin() -> None:
        torch.set_num_threads(schedule.threads)
        torch.get_num_threads()
        begun.wait()

    pool = ThreadPoolExecutor(schedule.workers, initializer=begin)
    try:
        for _ in range(schedule.workers):
            pool.submit(int)  # none is idle, so each begins one
        begun.wait()
    except BaseException:  # no room for another thread, or an interrupt
        begun.abort()
        raise
    finally:
        torch.set_num_threads(cores)
    return pool
