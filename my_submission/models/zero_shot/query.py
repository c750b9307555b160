"""Queries: what a separator is told to look for, as a file of numbers, and how they are made of recordings.

A query file is a `.safetensors` file with one tensor, `query`, of as many numbers as the separator takes.

Source of the average: the authors' published code (`AutoTaggingWarpper`). A recording is cut into segments of two
seconds from its start, and what is left at its end is dropped. Those that are loud enough are encoded; their mean is
the recording's, and the mean of all recordings', long or short, is the query.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from my_submission.locations import command
from my_submission.models.precision import exact_float32
from my_submission.models.zero_shot.encoder import SEGMENT_SAMPLES, QueryEncoder
from my_submission.plain_files import replace_file
from my_submission.schema import brief
from my_submission.weights import MissingWeights, UnsafeFile, WeightsError
from my_submission.weights.limits import file_bytes
from my_submission.weights.load import open_safetensors
from my_submission.weights.tensors import check_finite, check_state

SUFFIX = ".safetensors"
NAME = "query"
LARGEST_BYTES = 1 << 20
"""Of a query file: twice what the longest query has in float64."""
LEAST_ENERGY = 0.1
"""Sum of the squares of a segment's samples; one of less is silence to the authors."""
_BATCH = 8
"""Segments encoded at once."""


@dataclass(frozen=True)
class Embedding:
    """A recording as the encoder sees it: the mean of its loud segments, (query_size,) float64, and their number."""

    mean: Tensor
    segments: int


def embed(encoder: QueryEncoder, blocks: Iterable[Tensor], device: torch.device) -> Embedding | None:
    """What a recording adds to a query; None if it has no segment of two seconds that is loud enough.

    encoder: on the device. blocks: of the recording, (samples,) float32 at 32 kHz, mono, in order; no more than a few
    segments of it are held at a time.
    """
    total, count = torch.zeros(encoder.layout.query_size, dtype=torch.float64), 0
    for batch in _batches(_loud(_segments(blocks))):
        with torch.inference_mode(), exact_float32(device):
            embedded = encoder(batch.to(device)).cpu()
        total += embedded.double().sum(0)
        count += len(batch)
    return Embedding(total / count, count) if count else None


def _segments(blocks: Iterable[Tensor]) -> Iterator[Tensor]:
    """(segments, SEGMENT_SAMPLES) at a time, as soon as they are whole."""
    rest = torch.empty(0)
    for block in blocks:
        rest = torch.cat([rest, block])
        whole = len(rest) // SEGMENT_SAMPLES * SEGMENT_SAMPLES
        if whole:
            yield rest[:whole].reshape(-1, SEGMENT_SAMPLES)
            rest = rest[whole:]


def _loud(groups: Iterable[Tensor]) -> Iterator[Tensor]:
    for segments in groups:
        yield from segments[segments.square().sum(1) > LEAST_ENERGY]


def _batches(segments: Iterable[Tensor]) -> Iterator[Tensor]:
    waiting: list[Tensor] = []
    for segment in segments:
        waiting.append(segment)
        if len(waiting) == _BATCH:
            yield torch.stack(waiting)
            waiting = []
    if waiting:
        yield torch.stack(waiting)


def mean_query(embeddings: Sequence[Embedding]) -> Tensor:
    """The query of one or more recordings, (query_size,) float32: each of them counts the same."""
    return torch.stack([embedding.mean for embedding in embeddings]).mean(0).float()


def write_query(path: Path, query: Tensor, said: Mapping[str, str]) -> None:
    """Write a query file in one step. said: what it was made of, kept in the file. Raises OSError."""
    content = save({NAME: query.contiguous()}, dict(said))
    replace_file(path, lambda file: file.write(content))


def read_query(path: Path, query_size: int) -> Tensor:
    """A query file's (query_size,) float32.

    Raises MissingWeights if there is none, UnsafeFile if it holds anything else than that many finite numbers,
    WeightsError if it cannot be read.
    """
    try:
        if (found := file_bytes(path)) > LARGEST_BYTES:
            raise UnsafeFile(f"{path}: expected a query, at most {LARGEST_BYTES:,} bytes, found {found:,}")
        tensors, _ = open_safetensors(path)
    except FileNotFoundError as error:
        make = command("query --model ENCODER --out", str(path), "RECORDINGS")
        raise MissingWeights(f"{path}: no such query; make it with: {make}") from error
    except OSError as error:
        raise WeightsError(f"{path}: the query cannot be read: {error.strerror}") from error
    check_state(path, tensors)
    if list(tensors) != [NAME]:
        raise UnsafeFile(
            f"{path}: expected a query file, which has one tensor, {NAME!r}; found {brief(sorted(tensors))}"
        )
    query = tensors[NAME]
    if query.shape != (query_size,) or not query.is_floating_point():
        raise UnsafeFile(
            f"{path}: expected a query of {query_size:,} numbers, as its separator takes, found shape"
            f" {tuple(query.shape)} of {query.dtype}; make it with the encoder that belongs to the separator"
        )
    check_finite(path, tensors)
    return query.float()
