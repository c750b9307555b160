"""The first two versions of Demucs: a U-Net over the waveform with a recurrent layer in the middle.

Source: Défossez, Usunier, Bottou, Bach: Music Source Separation in the Waveform Domain (arXiv 1911.13254), and the
package `demucs` 2.0.3 (the second version) and its first release. The second runs at twice the sample rate. Files of
the first name its class, as files that its users trained do; those of the second are tensors alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import partial

from julius.resample import resample_frac
from torch import Tensor, nn

FIRST_SEGMENT_SECONDS = 10
"""What the first version was run on at a time, in segments that neither overlapped nor saw each other."""


def valid_length(samples: int, kernel: int, stride: int, depth: int, context: int, resample: bool) -> int:
    """How many samples a U-Net reads so that its strided layers fit and `samples` are left in the middle.

    context: of the decoders' convolutions without padding; 1 if they lose nothing, as in the third version.
    """
    length = 2 * samples if resample else samples
    for _ in range(depth):
        length = max(1, math.ceil((length - kernel) / stride) + 1) + context - 1
    for _ in range(depth):
        length = (length - 1) * stride + kernel
    return math.ceil(length / 2) if resample else length


class DemucsV2(nn.Module):
    """The network, with its arguments and names of tensors as its files have them."""

    def __init__(
        self,
        sources: Sequence[str],
        audio_channels: int = 2,
        channels: int = 64,
        depth: int = 6,
        rewrite: bool = True,
        glu: bool = True,
        rescale: float = 0.1,
        resample: bool = True,
        kernel_size: int = 8,
        stride: int = 4,
        growth: float = 2.0,
        lstm_layers: int = 2,
        context: int = 3,
        normalize: bool = False,
        samplerate: int = 44_100,
        segment_length: int = 40 * 44_100,
    ) -> None:
        """rescale: has no effect, since it is of weights at their birth."""
        super().__init__()
        self.sources, self.audio_channels, self.channels = list(sources), audio_channels, channels
        self.resample, self.normalize, self.epsilon = resample, normalize, 1e-5
        self.segment = segment_length / samplerate
        self.valid_length = partial(
            valid_length, kernel=kernel_size, stride=stride, depth=depth, context=context, resample=resample
        )
        widths = [audio_channels]
        for _ in range(depth):
            widths.append(channels)
            channels = int(growth * channels)

        def rewriting(width: int, taps: int) -> list[nn.Module]:
            if not rewrite:
                return []
            wide = nn.Conv1d(width, 2 * width if glu else width, taps)
            return [wide, nn.GLU(dim=1) if glu else nn.ReLU()]

        self.encoder = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for level, (outer, width) in enumerate(itertools.pairwise(widths)):
            strided = nn.Conv1d(outer, width, kernel_size, stride)
            self.encoder.append(nn.Sequential(strided, nn.ReLU(), *rewriting(width, 1)))
            made = outer if level else len(self.sources) * audio_channels
            layers = [
                *rewriting(width, context),
                nn.ConvTranspose1d(width, made, kernel_size, stride),
                *([nn.ReLU()] if level else []),
            ]
            self.decoder.insert(0, nn.Sequential(*layers))
        self.lstm = Recurrent(widths[-1], lstm_layers) if lstm_layers else None

    def forward(self, mixture: Tensor) -> Tensor:
        """(batch, channels, samples) -> (batch, sources, channels, samples), zero where it has lost samples.

        samples: of a valid length, or some at the end are lost, too.
        """
        mean: Tensor | float = 0.0
        std: Tensor | float = 1.0
        if self.normalize:
            mono = mixture.mean(dim=1, keepdim=True)
            mean, std = mono.mean(dim=-1, keepdim=True), mono.std(dim=-1, keepdim=True)
        features = (mixture - mean) / (self.epsilon + std)
        if self.resample:
            features = resample_frac(features, 1, 2)
        skips = []
        for encode in self.encoder:
            features = encode(features)
            skips.append(features)
        if self.lstm is not None:
            features = self.lstm(features)
        for decode in self.decoder:
            features = decode(features + centred(skips.pop(), features.shape[-1]))
        if self.resample:
            features = resample_frac(features, 2, 1)
        estimates = features * std + mean
        lost = mixture.shape[-1] - estimates.shape[-1]
        estimates = nn.functional.pad(estimates, (lost // 2, lost - lost // 2))
        return estimates.reshape(len(mixture), -1, self.audio_channels, mixture.shape[-1])


class Recurrent(nn.Module):
    """Layers in both directions, and a linear one back to their width."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, layers, bidirectional=True)
        self.linear = nn.Linear(2 * width, width)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, width, frames) -> the same shape."""
        recurrent, _ = self.lstm(features.permute(2, 0, 1))
        mapped: Tensor = self.linear(recurrent)
        return mapped.permute(1, 2, 0)


def centred(features: Tensor, length: int) -> Tensor:
    """The middle of (…, samples), of that length."""
    return features.narrow(-1, (features.shape[-1] - length) // 2, length)


class DemucsV1(DemucsV2):
    """The first version by its own arguments: at the track's rate, and its sources are only counted."""

    def __init__(
        self,
        sources: int = 4,
        audio_channels: int = 2,
        channels: int = 64,
        depth: int = 6,
        rewrite: bool = True,
        glu: bool = True,
        upsample: bool = False,
        rescale: float = 0.1,
        kernel_size: int = 8,
        stride: int = 4,
        growth: float = 2.0,
        lstm_layers: int = 2,
        context: int = 3,
        samplerate: int = 44_100,
    ) -> None:
        """ValueError for `upsample`, a form without transposed convolutions of which no file was published."""
        if upsample:
            raise ValueError("upsample: expected False, found True; this form of the network is not here")
        super().__init__(
            [str(place) for place in range(sources)],
            audio_channels,
            channels,
            depth,
            rewrite,
            glu,
            rescale,
            False,
            kernel_size,
            stride,
            growth,
            lstm_layers,
            context,
            samplerate=samplerate,
            segment_length=FIRST_SEGMENT_SECONDS * samplerate,
        )
        self.epsilon = 0.0
