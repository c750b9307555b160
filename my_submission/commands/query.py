"""`python -m my_submission query`: parses and prints; `models/zero_shot` makes queries."""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from my_submission.files.decode import AudioInfo, decode, probe
from my_submission.files.errors import FileSeparationError
from my_submission.files.inputs import find_recordings
from my_submission.models.zero_shot.encoder import SAMPLE_RATE, QueryEncoder, open_encoder
from my_submission.models.zero_shot.query import SUFFIX, Embedding, embed, mean_query, write_query
from my_submission.runtime.devices import resolve_device
from my_submission.signal.resampling import StreamResampler
from my_submission.weights import WeightsError
from my_submission.weights.store import sha256_of
from my_submission.weights.trial import admit_opening


def run(options: argparse.Namespace) -> int:
    """0: written; 1: something failed, and nothing is written; 2: impossible options."""
    try:
        _check(options)
        device = resolve_device(options.device)
    except (ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        _make(options, device)
    except FileNotFoundError as error:
        print(f"error: {error.filename}: no such file", file=sys.stderr)
        return 1
    except (WeightsError, FileSeparationError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _check(options: argparse.Namespace) -> None:
    """ValueError for an output that cannot be."""
    if options.out.suffix != SUFFIX:
        raise ValueError(f"--out: expected a file that ends in {SUFFIX}, found {options.out}")
    if not options.out.parent.is_dir():
        raise ValueError(f"--out: {options.out.parent} is not a folder; make it first")
    if options.out.exists() and not options.overwrite:
        raise ValueError(f"--out: {options.out} already exists; --overwrite replaces it")


def _make(options: argparse.Namespace, device: torch.device) -> None:
    """Write the query, and print what it was made of. Raises WeightsError, FileSeparationError, OSError."""
    found = find_recordings(options.inputs, options.out)
    if found.missing:
        name, reason = found.missing[0]
        raise FileSeparationError(f"{name}: {reason}")
    files = [recording.source for recording in found.recordings]
    infos = [probe(file, "pairs") for file in files]  # all are looked at before any is encoded
    admit_opening(options.model, lambda: open_encoder(options.model))
    encoder = open_encoder(options.model).to(device)
    embeddings = _embeddings(encoder, files, infos, device)
    if not embeddings:
        raise FileSeparationError(
            f"none of the {len(files)} recordings has two seconds that are loud enough, so there is no query"
        )
    segments = sum(embedding.segments for embedding in embeddings)
    said = {
        "encoder_sha256": sha256_of(options.model),
        "recordings": str(len(embeddings)),
        "segments": str(segments),
    }
    query = mean_query(embeddings)
    write_query(options.out, query, said)
    print(
        f"{options.out}: a query of {len(query):,} numbers, from {len(embeddings)} of {len(files)} recordings,"
        f" {segments} segments of 2 s"
    )


def _embeddings(
    encoder: QueryEncoder, files: Sequence[Path], infos: Sequence[AudioInfo], device: torch.device
) -> list[Embedding]:
    """Of all recordings that have a loud segment; the others are named."""
    embeddings = []
    for file, info in tqdm(list(zip(files, infos, strict=True)), desc="encoding", disable=None, leave=False):
        embedding = embed(encoder, mono(info), device)
        if embedding is None:
            tqdm.write(f"left out, since it has no two seconds that are loud enough: {file}")
        else:
            embeddings.append(embedding)
    return embeddings


def mono(info: AudioInfo) -> Iterator[Tensor]:
    """A recording's mean over its channels at the encoder's rate, in (samples,) float32 blocks.

    It is decoded twice, since a file may state another length than it has.
    """
    samples = sum(block.shape[-1] for block in decode(info))
    if info.sample_rate == SAMPLE_RATE:
        yield from (block.mean(0) for block in decode(info))
    elif samples:
        resampler = StreamResampler(1, info.sample_rate, SAMPLE_RATE, samples)
        yield from (resampler.push(block.mean(0, keepdim=True))[0] for block in decode(info))
