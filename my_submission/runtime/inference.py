"""One model over one track: chunks in batches, augmentations, device, precision, the models' lifetime."""

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from my_submission.models import ChunkModel, chunk_bytes, demucs, mdx_net
from my_submission.runtime.devices import Precision, Work
from my_submission.runtime.schedule import SEQUENTIAL, Schedule
from my_submission.signal.augment import Augmentation
from my_submission.signal.chunking import (
    Chunk,
    Geometry,
    Reader,
    chunk_offsets,
    overlap_add,
    plan_chunks,
    triangular_window,
)
from my_submission.weights import Checkpoint

_Loader = Callable[[Checkpoint, Path, torch.device, torch.dtype, Collection[str] | None], ChunkModel]

_LOADERS: dict[str, _Loader] = {
    "htdemucs": demucs.load,
    "hdemucs": demucs.load,
    "mdx_net": mdx_net.load,
}
# Who is here agrees with float32 to 45 dB in lower precision: a piece of its work, to find out where that is quicker.
_TRIALS: dict[str, Callable[[Checkpoint, Path, torch.device, torch.dtype], Work | None]] = {
    "htdemucs": demucs.piece_of_work,
    "hdemucs": demucs.piece_of_work,
    "mdx_net": mdx_net.piece_of_work,
}


class ModelPool:
    """The loaded models of a preset, by checkpoint name; owns their memory.

    dtypes: what each computes in.
    needed: checkpoint name -> the sources that are to be computed; by default all that a checkpoint has.
    """

    def __init__(
        self,
        checkpoints: Iterable[Checkpoint],
        paths: Mapping[str, Path],
        precision: Precision,
        needed: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        checkpoints = list(checkpoints)
        needed = needed or {}
        self.dtypes = {row.name: dtype_of(row, paths[row.name], precision) for row in checkpoints}
        self._models = {
            row.name: load_model(
                row, paths[row.name], precision.device, self.dtypes[row.name], needed.get(row.name)
            )
            for row in checkpoints
        }
        self.kinds = {row.name: network_kind(row, self._models[row.name]) for row in checkpoints}

    def get(self, name: str) -> ChunkModel:
        return self._models[name]

    def largest_chunk_bytes(self) -> int:
        """What computing one chunk takes with the model that takes most."""
        return max(chunk_bytes(model) for model in self._models.values())


def network_kind(checkpoint: Checkpoint, model: ChunkModel) -> str:
    """Equal for checkpoints whose networks do the same work."""
    parameters = sorted(checkpoint.parameters.items())
    return f"{checkpoint.architecture} {len(model.sources)} {parameters}"


def dtype_of(checkpoint: Checkpoint, path: Path, precision: Precision) -> torch.dtype:
    """What a checkpoint's network computes in."""
    kind = f"{checkpoint.architecture} of {path.stat().st_size >> 20} MiB {sorted(checkpoint.parameters.items())}"
    work = _TRIALS.get(checkpoint.architecture)
    trial = None if work is None else partial(work, checkpoint, path, precision.device)
    return precision.of(checkpoint.name, kind, trial)


def load_model(
    checkpoint: Checkpoint,
    path: Path,
    device: torch.device,
    dtype: torch.dtype,
    needed: Collection[str] | None = None,
) -> ChunkModel:
    """Open a checkpoint's file as a callable on chunks. WeightsError where it is not what the row says.

    needed: the sources that are to be computed, by default all; a network may compute others, too.
    """
    return _LOADERS[checkpoint.architecture](checkpoint, path, device, dtype, needed)


def estimate_track(
    model: ChunkModel,
    read: Reader,
    track_samples: int,
    augmentation: Augmentation,
    overlap: float,
    schedule: Schedule = SEQUENTIAL,
    on_chunks: Callable[[int], None] = lambda chunks: None,
) -> Iterator[tuple[int, Tensor]]:
    """Run a model over a track under one augmentation, as far as the caller asks for pieces.

    Yields `(start, piece)` from left to right, piece (sources, channels, samples) float32 on the CPU, the
    augmentation undone. Holds no more chunks than are under way, and reads the track no further than
    `lookahead_samples` beyond the end of the piece.
    on_chunks: told how many chunks have just been computed.
    """
    chunks = plan_chunks(track_samples + augmentation.delay_samples, model.geometry, overlap)
    outputs = _run_batches(model, chunks, augmentation.forward(read), schedule, on_chunks)
    for start, estimates in overlap_add(chunks, outputs, triangular_window(model.geometry.chunk_samples)):
        start, piece = augmentation.inverse(start, estimates)
        if piece.shape[-1]:
            yield start, piece.cpu()


def lookahead_samples(geometry: Geometry, overlap: float, schedule: Schedule) -> int:
    """How far beyond a sample `estimate_track` may read the track before that sample's piece is out."""
    ahead = geometry.hop_samples(overlap) * schedule.batch_size * (schedule.workers + 1)
    return ahead + geometry.chunk_samples + geometry.margin_samples


def count_chunks(geometry: Geometry, track_samples: int, augmentation: Augmentation, overlap: float) -> int:
    """How many chunks `estimate_track` computes."""
    return len(chunk_offsets(track_samples + augmentation.delay_samples, geometry, overlap))


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
    inputs = ([read(chunk.read_start, chunk.read_length) for chunk in batch] for batch in batches)
    outputs = _in_order(partial(_run_batch, model), inputs, schedule.for_calls(len(batches)))
    with contextlib.closing(outputs):
        for batch in outputs:
            yield from batch
            on_chunks(len(batch))


def _batches(chunks: list[Chunk], batch_size: int) -> Iterator[list[Chunk]]:
    """Neighbouring chunks that are read at one length, at most batch_size together."""
    for _, group in itertools.groupby(chunks, key=lambda chunk: chunk.read_length):
        same_length = list(group)
        for first in range(0, len(same_length), batch_size):
            yield same_length[first : first + batch_size]


def _run_batch(model: ChunkModel, inputs: list[Tensor]) -> list[Tensor]:
    """An input of digital silence is not run: its estimates are silence."""
    sounding = [bool(chunk.any()) for chunk in inputs]
    computed: Iterator[Tensor] = iter(())
    if any(sounding):
        computed = iter(model(torch.stack(list(itertools.compress(inputs, sounding)))))
    return [
        next(computed) if sounds else chunk.new_zeros((len(model.sources), *chunk.shape))
        for chunk, sounds in zip(inputs, sounding, strict=True)
    ]


def _in_order(
    function: Callable[[list[Tensor]], list[Tensor]], inputs: Iterator[list[Tensor]], schedule: Schedule
) -> Generator[list[Tensor], None, None]:
    """`map` on worker threads: inputs are drawn as workers become free, results come in order."""
    if schedule.workers == 1:
        for one in inputs:
            yield function(one)
        return
    pool = ThreadPoolExecutor(
        schedule.workers, initializer=torch.set_num_threads, initargs=(schedule.threads,)
    )
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
