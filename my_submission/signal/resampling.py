"""Signals at another rate, whole or as they come in blocks, and estimates at the mixture's own rate and channels."""

from collections.abc import Iterable, Iterator

import numpy as np
import soxr
import torch
from torch import Tensor

from my_submission.signal.audio import MODEL_SAMPLE_RATE, Stems, to_channels
from my_submission.signal.chunking import Reader

_MIXTURE = "the mixture"
"""Among resamplers by stem, the one of the mixture; no stem has spaces."""


def resample(signal: Tensor, from_rate: int, to_rate: int, samples: int | None = None) -> Tensor:
    """A whole (channels, samples) signal at another rate: one block through a `StreamResampler`.

    samples: the exact length wanted, by default samples · to_rate / from_rate rounded up.
    """
    channels, length = signal.shape
    if from_rate == to_rate and samples in (None, length):
        return signal
    return StreamResampler(channels, from_rate, to_rate, length, samples).push(signal)


class StreamResampler:
    """A signal at another rate (soxr, very high quality), without delay or drift, as it comes in blocks.

    The size of the blocks changes not a bit. The resampler is fed the silence after the signal's end that it needs,
    so nothing but silence is ever added.

    from_samples: the length of the whole signal. to_samples: that of the result, by default
    from_samples · to_rate / from_rate rounded up.
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
        """The next (channels, samples) of the signal -> what is ready, perhaps nothing; all with the last block."""
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
    """Stereo blocks of estimates at the models' rate as blocks with the mixture's rate and channels.

    blocks: `(start, stems)` in order, of the whole track. read, channels, samples, sample_rate: of the mixture.
    read_at_model_rate: the mixture in stereo as the models were given it.
    sharing: how many stems add up to the mixture, be they all among these or not; 0 if they do not. What lies above
        the models' half rate is in no estimate, and these share it equally.
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
        if sharing > len(stems):  # the others are not there to be added up, but what they add up to is known
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
