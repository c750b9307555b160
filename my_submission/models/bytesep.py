"""ByteSep: U-Nets that turn and scale the spectra of four sub-bands, one network a target.

Source: Kong, Cao, Liu, Choi, Wang: Decoupling magnitude and phase estimation with deep ResUNet for music source
separation (ISMIR 2021), in the sub-band form that was published with the package `bytesep` 0.1.1: `resunet143` and
`mobilenet`. Which of them a file holds, and how wide it is, its tensors tell. Layers are named as in the files.

A track is cut into segments of 30 s, with zeros after its end, of which the middle half is kept: with an overlap of a
half as in the package, which takes the first and the last one as far as no other one's middle reaches. Here a track
that ends in the last quarter of a segment has one more, whose beginning it reaches into.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv1d, leaky_relu, pad, relu

from my_submission.models.waveforms import WaveformModel
from my_submission.registry import Architecture, register
from my_submission.schema import Record
from my_submission.signal.chunking import Geometry
from my_submission.weights import Checkpoint, WeightsError
from my_submission.weights.load import PICKLES, build, open_network_state
from my_submission.weights.shapes import State, size

BANDS, MAPS = 4, 4
"""Sub-bands of a channel; and what the network makes for each: a factor of the magnitude, two parts of a turn, and
what is added to the magnitude."""
TAPS = 64
N_FFT, HOP = 512, 110
"""Of a sub-band, whose rate is a quarter of the mixture's."""
LEVELS = 6
_STEP = 32
"""Frames are halved five times, and bins six times."""
SEGMENT_SAMPLES = 30 * 44_100
_TINY = 1e-10
_BYTES_PER_WIDTH = 45
"""Of memory for a sample of a stereo chunk, times the channels after the first block. Measured."""


class ByteSepParameters(Record):
    """A file says everything about its network."""


@dataclass(frozen=True)
class Size:
    """residual: blocks of eight convolutions (resunet143), else of six separable ones (mobilenet). widths: channels
    of each of the encoders."""

    residual: bool
    widths: tuple[int, ...]


def told_by(state: State) -> Size | None:
    """The size of a file's network; None if it has no network of this kind."""
    for residual, last in ((True, "conv_block4.conv2"), (False, "conv_block.conv2c")):
        widths = tuple(
            size(state, f"encoder_block{level}.{last}.weight", 0) for level in range(1, LEVELS + 1)
        )
        if all(widths):
            return Size(residual, tuple(width or 0 for width in widths))
    return None


class ResidualPair(nn.Module):
    """Two convolutions, each after a norm and its activation, beside their input."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        made = self.conv1(leaky_relu(self.bn1(maps)))
        made = self.conv2(leaky_relu(self.bn2(made)))
        both: Tensor = self.shortcut(maps) + made
        return both


class SeparablePair(nn.Module):
    """Twice three convolutions: over channels, over the map, over channels; each after a norm and its activation,
    each three beside their input."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        for half, before in ((1, inputs), (2, outputs)):
            for place, entering in (("a", before), ("b", outputs), ("c", outputs)):
                setattr(self, f"bn{half}{place}", nn.BatchNorm2d(entering))
            setattr(self, f"conv{half}a", nn.Conv2d(before, outputs, 1, bias=False))
            along = nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs, bias=False)
            setattr(self, f"conv{half}b", along)
            setattr(self, f"conv{half}c", nn.Conv2d(outputs, outputs, 1, bias=False))
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        first = self.shortcut(maps) + self._three(1, maps)
        both: Tensor = first + self._three(2, first)
        return both

    def _three(self, half: int, maps: Tensor) -> Tensor:
        for place in "abc":
            norm, convolution = getattr(self, f"bn{half}{place}"), getattr(self, f"conv{half}{place}")
            maps = convolution(leaky_relu(norm(maps)))
        return maps


class Stack(nn.Module):
    """Four residual pairs in a row, named from a number on."""

    def __init__(self, inputs: int, outputs: int, first: int = 1) -> None:
        super().__init__()
        self._names = [f"conv_block{number}" for number in range(first, first + 4)]
        for place, name in enumerate(self._names):
            setattr(self, name, ResidualPair(outputs if place else inputs, outputs))

    def forward(self, maps: Tensor) -> Tensor:
        for name in self._names:
            maps = getattr(self, name)(maps)
        return maps


class SeparableEncoder(nn.Module):
    """(batch, inputs, frames, bins) -> (batch, outputs, frames, bins)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_block = SeparablePair(inputs, outputs)

    def forward(self, maps: Tensor) -> Tensor:
        made: Tensor = self.conv_block(maps)
        return made


class ResidualDecoder(Stack):
    """Maps made larger by a transposed convolution, and those of the encoder, through four residual pairs."""

    def __init__(self, inputs: int, outputs: int, factors: tuple[int, int]) -> None:
        super().__init__(2 * outputs, outputs, first=2)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.ConvTranspose2d(inputs, outputs, factors, factors, bias=False)

    def decode(self, maps: Tensor, skip: Tensor) -> Tensor:
        up = self.conv1(relu(self.bn1(maps)))
        made: Tensor = self(torch.cat([up, skip], dim=1))
        return made


class SeparableDecoder(nn.Module):
    """The same with repeated values, and with separable convolutions."""

    def __init__(self, inputs: int, outputs: int, factors: tuple[int, int]) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.conv_block2 = SeparablePair(2 * outputs, outputs)
        self._larger = nn.Upsample(scale_factor=factors)

    def decode(self, maps: Tensor, skip: Tensor) -> Tensor:
        up = self.conv1(leaky_relu(self.bn1(self._larger(maps))))
        made: Tensor = self.conv_block2(torch.cat([up, skip], dim=1))
        return made


class FilterBank(nn.Module):
    """Four sub-bands of a signal (PQMF), by the filters in the file."""

    def __init__(self) -> None:
        super().__init__()
        self.ana_conv_filter = nn.Conv1d(1, BANDS, TAPS, stride=BANDS, bias=False)
        self.syn_conv_filter = nn.Conv1d(BANDS, BANDS, TAPS // BANDS, bias=False)

    def analysis(self, mixtures: Tensor) -> Tensor:
        """(batch, channels, samples), samples a multiple of 4 -> (batch, channels, 4, samples/4 + 16)."""
        batch, channels, _ = mixtures.shape
        padded = pad(mixtures, (TAPS - BANDS, TAPS)).flatten(0, 1)[:, None]
        bands = conv1d(padded, self.ana_conv_filter.weight, stride=BANDS)
        return bands.reshape(batch, channels, BANDS, -1)

    def synthesis(self, bands: Tensor) -> Tensor:
        """The inverse of `analysis`, nearly."""
        batch, channels = bands.shape[:2]
        padded = pad(bands.flatten(0, 1), (0, TAPS // BANDS - 1))
        turns = conv1d(padded, self.syn_conv_filter.weight)  # each of the four makes every fourth sample
        return turns.mT.reshape(batch, channels, -1)[..., :-TAPS]


class ByteSep(nn.Module):
    """The network of one target."""

    def __init__(self, of: Size) -> None:
        super().__init__()
        encoder = Stack if of.residual else SeparableEncoder
        decoder = ResidualDecoder if of.residual else SeparableDecoder
        inside = Stack if of.residual else SeparablePair
        widths = (2 * BANDS, *of.widths)
        self.pqmf = FilterBank()
        self.bn0 = nn.BatchNorm2d(N_FFT // 2 + 1)
        for level in range(1, LEVELS + 1):
            setattr(self, f"encoder_block{level}", encoder(widths[level - 1], widths[level]))
        self._centres = [f"conv_block7{letter}" for letter in "abcd"] if of.residual else ["conv_block7"]
        for name in self._centres:
            setattr(self, name, inside(widths[-1], widths[-1]))
        for number in range(1, LEVELS + 1):
            inputs, outputs = widths[min(LEVELS, LEVELS + 2 - number)], widths[LEVELS + 1 - number]
            factors = (1, 2) if number == 1 else (2, 2)
            setattr(self, f"decoder_block{number}", decoder(inputs, outputs, factors))
        self.after_conv_block1 = inside(widths[1], widths[1])
        self.after_conv2 = nn.Conv2d(widths[1], 2 * MAPS * BANDS, 1)

    def forward(self, mixtures: Tensor, kept: Sequence[int] = ()) -> Tensor:
        """(batch, 2, samples) -> (batch, 1, 2, samples). kept: has no effect, since there is one target."""
        samples = mixtures.shape[-1]
        bands = self.pqmf.analysis(pad(mixtures, (0, -samples % BANDS)))
        window = torch.hann_window(N_FFT, dtype=bands.dtype, device=bands.device)
        spectra = torch.stft(bands.flatten(0, 2), N_FFT, HOP, window=window, center=True, return_complex=True)
        spectra = spectra.mT.reshape(*bands.shape[:3], -1, N_FFT // 2 + 1)  # (batch, 2, 4, frames, bins)
        magnitudes = spectra.abs().square().clamp(min=_TINY).sqrt()
        maps = self.maps(magnitudes.flatten(1, 2)).reshape(-1, 2, MAPS, *spectra.shape[2:])
        share, real, imaginary, more = maps.unbind(2)  # each like the spectra
        turn = torch.complex(real.tanh(), imaginary.tanh())
        turn = turn / turn.abs().clamp(min=_TINY)
        louder = relu(magnitudes * share.sigmoid() + more.tanh())
        made = (louder * (spectra / magnitudes) * turn).flatten(0, 2).mT
        waves = torch.istft(made, N_FFT, HOP, window=window, center=True, length=bands.shape[-1])
        return self.pqmf.synthesis(waves.reshape(bands.shape))[:, None, :, :samples]

    def maps(self, magnitudes: Tensor) -> Tensor:
        """(batch, 8, frames, 257) -> (batch, 2 · maps · bands, frames, 257): channel, map, band."""
        frames = magnitudes.shape[2]
        maps = self.bn0(magnitudes.transpose(1, 3)).transpose(1, 3)
        maps = pad(maps, (0, -1, 0, -frames % _STEP))
        skips = []
        for level in range(1, LEVELS + 1):
            skips.append(getattr(self, f"encoder_block{level}")(maps))
            maps = avg_pool2d(skips[-1], (1, 2) if level == LEVELS else (2, 2))
        for name in self._centres:
            maps = getattr(self, name)(maps)
        for number in range(1, LEVELS + 1):
            maps = getattr(self, f"decoder_block{number}").decode(maps, skips.pop())
        made = self.after_conv2(self.after_conv_block1(maps))
        return pad(made, (0, 1))[:, :, :frames]


def load(
    checkpoint: Checkpoint,
    path: Path,
    device: torch.device,
    dtype: torch.dtype,
    needed: Collection[str] | None = None,
) -> WaveformModel:
    """Open a checkpoint (`registry.Loader`)."""
    state = open_network_state(path, lambda name: bool(_TRANSFORM.match(name)))
    of = told_by(state)
    if of is None:
        raise WeightsError(
            f"{path}: expected a network of bytesep (resunet143 or mobilenet, sub-band), found tensors of something"
            " else"
        )
    network = build(path, lambda: ByteSep(of), state)
    geometry = Geometry(SEGMENT_SAMPLES, short_chunk="start", window="middle")
    bytes_per_sample = _BYTES_PER_WIDTH * of.widths[0]
    return WaveformModel(network, checkpoint.sources, geometry, bytes_per_sample, device, dtype, needed)


_TRANSFORM = re.compile(r"i?stft\.")
"""Files hold the sub-bands' transform besides the network: it is computed."""

register(Architecture("bytesep", PICKLES, load, ByteSepParameters, sources=1, lower_precision=False))
