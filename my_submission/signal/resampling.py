"""Signals at another rate, whole or in blocks; and estimates at the mixture's own rate and channels."""

import math
from collections.abc import Iterable, Iterator

import numpy as np
import soxr
import torch
from torch import Tensor

from my_submission.signal.audio import MODEL_SAMPLE_RATE, Stems, to_channels
from my_submission.signal.chunking import Reader

_MIXTURE = "the mixture"
"""The mixture's key among the resamplers of stems; no stem's name has a space."""


def resample(signal: Tensor, from_rate: int, to_rate: int, samples: int | None = None) -> Tensor:
    """A whole (channels, samples) signal at another rate: one block through a `StreamResampler`.

    samples: the exact length wanted, by default samples · to_rate / from_rate rounded up.
    """
    channels, length = signal.shape
    if from_rate == to_rate and samples in (None, length):
        return signal
    return StreamResampler(channels, from_rate, to_rate, length, samples).push(signal)


class StreamResampler:
    """Resamples a signal block by block (soxr, very high quality), without delay or drift.

    The result does not depend on block sizes, to the last bit. After its end the signal is continued with as much
    silence as the resampler needs, so that the result has its full length.

    from_samples: the length of the whole signal. to_samples: the length of the result, by default from_samples ·
    to_rate / from_rate, rounded up.
    """

    def __init__(
        self, channels: int, from_rate: int, to_rate: int, from_samples: int, to_samples: int | None = None
    ) -> None:
        wanted = resampled_length(from_samples, from_rate, to_rate) if to_samples is None else to_samples
        self._left_to_feed = from_samples
        self._left_to_give = wanted
        self._silence = max(0, -(-wanted * from_rate // to_rate) - from_samples) + 2
        self._stream = soxr.ResampleStream(from_rate, to_rate, channels, dtype="float32", quality="VHQ")

    def push(self, block: Tensor) -> Tensor:
        """The next (channels, samples) of the signal -> what is ready, perhaps nothing; at the end, the rest."""
        self._left_to_feed -= block.shape[-1]
        last = self._left_to_feed <= 0
        if last:
            block = torch.nn.functional.pad(block, (0, self._silence))
        ready = self._stream.resample_chunk(np.ascontiguousarray(block.T.numpy()), last=last)
        ready = ready[: self._left_to_give]
        self._left_to_give -= len(ready)
        return torch.from_numpy(np.ascontiguousarray(ready.T))


def resampled_length(samples: int, from_rate: int, to_rate: int) -> int:
    """Samples at another rate, rounded up."""
    return -(-samples * to_rate // from_rate)


_CONTEXT_SAMPLES = 1024
"""Samples at the lower rate on both sides of a window; what is farther away changes a sample by less than −140 dB."""

RESAMPLING_SAMPLES = 16_384
"""More than the context of a window, and than a `StreamResampler` holds back, at any rate of 8 kHz or more."""


def reader_at_rate(read: Reader, from_rate: int, to_rate: int) -> Reader:
    """Reads windows of a signal at another rate, each resampled with its context: the same in every window."""
    if from_rate == to_rate:
        return read
    step = math.gcd(from_rate, to_rate)
    down, up = from_rate // step, to_rate // step  # sample up·k lies where sample down·k of the signal does
    context = -(-_CONTEXT_SAMPLES // min(down, up))

    def read_resampled(start: int, length: int) -> Tensor:
        first = start // up - context
        last = -(-(start + length) // up) + context
        window = read(first * down, (last - first) * down)
        return resample(window, from_rate, to_rate)[..., start - first * up :][..., :length]

    return read_resampled


def pieces_at_rate(
    pieces: Iterable[tuple[int, Tensor]], from_rate: int, to_rate: int, from_samples: int, to_samples: int
) -> Iterator[tuple[int, Tensor]]:
    """`(start, piece)` of a whole signal at another rate, as soon as they are ready.

    Pieces are (sources, channels, samples), without gap or overlap; from_samples in all become to_samples.
    """
    if from_rate == to_rate:
        yield from pieces
        return
    resampler: StreamResampler | None = None
    start = 0
    for _, piece in pieces:
        resampler = resampler or StreamResampler(
            math.prod(piece.shape[:-1]), from_rate, to_rate, from_samples, to_samples
        )
        ready = resampler.push(piece.flatten(0, -2).cpu())
        ready = ready.reshape(*piece.shape[:-1], ready.shape[-1])
        if ready.shape[-1]:
            yield start, ready
            start += ready.shape[-1]


def at_mixture_rate(
    blocks: Iterable[tuple[int, Stems]],
    read: Reader,
    read_at_model_rate: Reader,
    channels: int,
    samples: int,
    sample_rate: int,
    *,
    sharing: int,
) -> Iterator[tuple[int, Stems]]:
    """Stereo blocks of estimates at the models' rate, as blocks with the mixture's rate and channels.

    blocks: `(start, stems)` in order, for the whole track. read, channels, samples, sample_rate: of the mixture.
    read_at_model_rate: the mixture in stereo, as the models got it.
    sharing: how many stems add up to the mixture, whether or not all are among these; 0 if they do not. Frequencies
        above half the models' rate are in no estimate; these stems share them equally.
    """
    if sample_rate == MODEL_SAMPLE_RATE:
        for start, stems in blocks:
            yield start, {stem: to_channels(estimate, channels) for stem, estimate in stems.items()}
        return
    model_samples = resampled_length(samples, sample_rate, MODEL_SAMPLE_RATE)
    resamplers: dict[str, StreamResampler] = {}

    def resample_block(name: str, signal: Tensor) -> Tensor:
        if name not in resamplers:
            resamplers[name] = StreamResampler(2, MODEL_SAMPLE_RATE, sample_rate, model_samples, samples)
        return to_channels(resamplers[name].push(signal), channels)

    start = 0
    for model_start, stems in blocks:
        model_length = next(iter(stems.values())).shape[-1]
        ready = {stem: resample_block(stem, estimate) for stem, estimate in stems.items()}
        if sharing > len(stems):  # some are missing here, but the sum of all is known: the mixture
            total = resample_block(_MIXTURE, read_at_model_rate(model_start, model_length))
        else:
            total = torch.stack(list(ready.values())).sum(dim=0)
        length = total.shape[-1]
        if not length:
            continue
        if sharing:
            share = (read(start, length) - total) / sharing
            ready = {stem: estimate + share for stem, estimate in ready.items()}
        yield start, ready
        start += length
