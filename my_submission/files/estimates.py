"""A recording's estimates in blocks, at its own rate and channels."""

import contextlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from my_submission.ensemble.engine import Progress
from my_submission.files.channels import share_progress, side_by_side
from my_submission.files.decode import AudioInfo
from my_submission.files.model import StreamingModel
from my_submission.signal.arrays import SpooledSignal
from my_submission.signal.audio import MODEL_SAMPLE_RATE, Stems, to_stereo
from my_submission.signal.chunking import Reader
from my_submission.signal.resampling import StreamResampler, at_mixture_rate, resampled_length

_READ_SAMPLES = 2**18
_BLOCK_SAMPLES = 2**22


def estimates(
    model: StreamingModel,
    mixture: SpooledSignal,
    info: AudioInfo,
    sounding: Tensor,
    folder: Path,
    progress: Progress | None,
) -> Iterator[tuple[int, Stems]]:
    """The estimates of a recording in blocks, at its own rate and channels.

    sounding: which channels are not silent; silent groups are not computed.
    """
    groups = [group for group in info.groups if sounding[list(group)].any()]
    if not groups:
        for start in range(0, mixture.samples, _BLOCK_SAMPLES):
            length = min(_BLOCK_SAMPLES, mixture.samples - start)
            yield start, {stem: torch.zeros(info.channels, length) for stem in model.instruments}
        return
    shares = share_progress(progress, len(groups))
    with contextlib.ExitStack() as stack:
        streams = []
        for group, share in zip(groups, shares, strict=True):
            stream = _group_estimates(model, mixture, info, group, folder, share)
            streams.append(stack.enter_context(contextlib.closing(stream)))
        for blocks in zip(*streams, strict=True):
            start, _ = blocks[0]
            yield start, side_by_side([stems for _, stems in blocks], groups, info.channels)


def _group_estimates(
    model: StreamingModel,
    mixture: SpooledSignal,
    info: AudioInfo,
    group: Sequence[int],
    folder: Path,
    progress: Progress | None,
) -> Generator[tuple[int, Stems]]:
    """The estimates of one or two of a recording's channels."""

    def read(start: int, length: int) -> Tensor:
        return mixture.read(start, length)[list(group)]

    with contextlib.ExitStack() as stack:
        model_read, model_samples = _at_model_rate(read, mixture.samples, info.sample_rate, folder, stack)
        yield from at_mixture_rate(
            model.stream(model_read, model_samples, progress),
            read,
            model_read,
            len(group),
            mixture.samples,
            info.sample_rate,
            sharing=model.sharing_stems,
        )


def _at_model_rate(
    read: Reader, samples: int, sample_rate: int, folder: Path, stack: contextlib.ExitStack
) -> tuple[Reader, int]:
    """One or two channels as the models take them, and their length; on disk if the rate differs."""
    if sample_rate == MODEL_SAMPLE_RATE:
        return lambda start, length: to_stereo(read(start, length)), samples
    spool = stack.enter_context(SpooledSignal(2, folder))
    resampler = StreamResampler(2, sample_rate, MODEL_SAMPLE_RATE, samples)
    for start in range(0, samples, _READ_SAMPLES):
        spool.append(resampler.push(to_stereo(read(start, min(_READ_SAMPLES, samples - start)))))
    assert spool.samples == resampled_length(samples, sample_rate, MODEL_SAMPLE_RATE)
    return spool.read, spool.samples
