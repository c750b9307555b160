"""Open-Unmix: a recurrent network that masks a mixture's magnitudes, one network a target.

Source: Stöter, Uhlich, Liutkus, Mitsufuji: Open-Unmix, a reference implementation for music source separation (JOSS
4(41), 2019), and the package `openunmix` 1.3.0. One network gives what its `Separator` gives with `niter=0`: the mask
times the mixture's complex spectrogram. A row of all four as its parts gives what it gives with `niter` iterations of
its Wiener filter, on the masks.

It ran whole songs. Here chunks of 42 s are read with what the track has up to 7 s around them, which bounds memory; a
track of up to 49 s is run whole, as there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from my_submission.models import ChunkModel
from my_submission.models.waveforms import WaveformModel
from my_submission.models.wiener import BLOCK_FRAMES, MOST_ITERATIONS, wiener
from my_submission.registry import Architecture, register
from my_submission.schema import Fft, Record, Whole, at_most, expecting, problem
from my_submission.signal.chunking import Geometry
from my_submission.weights import Checkpoint
from my_submission.weights.load import PICKLES, build, open_network_state
from my_submission.weights.shapes import State, size, told

CHANNELS = 2
LAYERS = 3
CHUNK_BLOCKS, MARGIN_BLOCKS = 6, 1
"""Of the frames that a Wiener filter takes together, so that these lie as in the whole song: 42 s and 7 s."""
_BYTES_PER_BIN = 60
"""Of memory for a bin of a frame of a stereo chunk, for the mixture and each source."""
_UNUSED = ("sample_rate", "stft.window", "transform.0.window")
"""What released files hold besides the network: their transform."""


class OpenUnmixParameters(Record):
    """A network's size and its STFT. bins: how many of the lowest bins it sees; its mask is for all. iterations: of
    the Wiener filter, only for a row of several networks."""

    n_fft: Fft
    hop: Whole
    bins: Whole
    hidden: Annotated[Whole, at_most(1 << 14)]
    iterations: Annotated[int, Field(ge=0, le=MOST_ITERATIONS), expecting("a whole number from 0 to 16")] = 0

    @model_validator(mode="after")
    def _check_sizes(self) -> OpenUnmixParameters:
        if self.bins > self.n_fft // 2 + 1:
            raise problem(f"expected at most n_fft/2 + 1, found {self.bins}", "bins")
        if self.hop > self.n_fft // 2:
            raise problem(f"expected at most n_fft/2, found {self.hop}", "hop")
        if self.hidden % 2:
            raise problem(f"expected an even number, half for each direction, found {self.hidden}", "hidden")
        return self


class OpenUnmix(nn.Module):
    """The network of one target, named as in its files."""

    def __init__(self, parameters: OpenUnmixParameters) -> None:
        super().__init__()
        self.parameters_ = parameters
        hidden, bins, all_bins = parameters.hidden, parameters.bins, parameters.n_fft // 2 + 1
        self.fc1 = nn.Linear(CHANNELS * bins, hidden, bias=False)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.lstm = nn.LSTM(hidden, hidden // 2, LAYERS, bidirectional=True)
        self.fc2 = nn.Linear(2 * hidden, hidden, bias=False)
        self.bn2 = nn.BatchNorm1d(hidden)
        self.fc3 = nn.Linear(hidden, CHANNELS * all_bins, bias=False)
        self.bn3 = nn.BatchNorm1d(CHANNELS * all_bins)
        self.input_mean = nn.Parameter(torch.zeros(bins))
        self.input_scale = nn.Parameter(torch.ones(bins))
        self.output_mean = nn.Parameter(torch.ones(all_bins))
        self.output_scale = nn.Parameter(torch.ones(all_bins))

    def forward(self, mixtures: Tensor, kept: Sequence[int] = ()) -> Tensor:
        """(batch, 2, samples) -> (batch, 1, 2, samples). kept: has no effect, since there is one target."""
        spectra = forward_transform(self.parameters_, mixtures)
        masked = spectra * self.masks(spectra.abs())
        return inverse_transform(self.parameters_, masked[:, None], mixtures.shape[-1])

    def masks(self, magnitudes: Tensor) -> Tensor:
        """(batch, 2, bins, frames) -> factors of the same shape, zero or more."""
        frames = magnitudes.permute(3, 0, 1, 2)  # (frames, batch, 2, bins)
        count, batch, channels, bins = frames.shape
        seen = (frames[..., : self.parameters_.bins] + self.input_mean) * self.input_scale
        hidden = torch.tanh(self.bn1(self.fc1(seen.flatten(0, 1).flatten(1))))
        recurrent, _ = self.lstm(hidden.reshape(count, batch, -1))
        both = torch.cat([hidden, recurrent.flatten(0, 1)], dim=-1)
        made = self.bn3(self.fc3(torch.relu(self.bn2(self.fc2(both)))))
        made = made.reshape(count, batch, channels, bins) * self.output_scale + self.output_mean
        return torch.relu(made).permute(1, 2, 3, 0)


def forward_transform(parameters: OpenUnmixParameters, mixtures: Tensor) -> Tensor:
    """(batch, 2, samples) -> (batch, 2, bins, frames) complex."""
    window = torch.hann_window(parameters.n_fft, device=mixtures.device)
    spectra = torch.stft(
        mixtures.flatten(0, 1),
        parameters.n_fft,
        parameters.hop,
        window=window,
        center=True,
        return_complex=True,
    )
    return spectra.reshape(*mixtures.shape[:2], *spectra.shape[1:])


def inverse_transform(parameters: OpenUnmixParameters, spectra: Tensor, samples: int) -> Tensor:
    """(batch, sources, 2, bins, frames) complex -> (batch, sources, 2, samples)."""
    window = torch.hann_window(parameters.n_fft, device=spectra.device)
    waves = torch.istft(
        spectra.flatten(0, 2), parameters.n_fft, parameters.hop, window=window, center=True, length=samples
    )
    return waves.reshape(*spectra.shape[:3], samples)


class Joint(nn.Module):
    """The networks of several targets, and the Wiener filter of what they give."""

    def __init__(self, networks: Sequence[OpenUnmix], parameters: OpenUnmixParameters) -> None:
        super().__init__()
        self._networks = list(networks)  # not as layers of this one: they are loaded and placed already
        self.parameters_ = parameters

    def forward(self, mixtures: Tensor, kept: Sequence[int]) -> Tensor:
        """(batch, 2, samples) -> (batch, kept sources, 2, samples)."""
        return torch.cat([self._separate(mixture[None], kept) for mixture in mixtures])

    def _separate(self, mixture: Tensor, kept: Sequence[int]) -> Tensor:
        spectra = forward_transform(self.parameters_, mixture)
        loudness = spectra.abs()
        magnitudes = torch.cat([network.masks(loudness) * loudness for network in self._networks])
        blocks = zip(
            *(torch.split(one, BLOCK_FRAMES, dim=-1) for one in (magnitudes, spectra[0])), strict=True
        )
        made = [wiener(block, of, self.parameters_.iterations, softmask=False)[kept] for block, of in blocks]
        return inverse_transform(self.parameters_, torch.cat(made, dim=-1)[None], mixture.shape[-1])


def join(checkpoint: Checkpoint, parts: Sequence[ChunkModel], device: torch.device) -> WaveformModel:
    """The model of a row whose parts are networks of single targets (`registry.Joiner`)."""
    parameters = checkpoint.parameters
    assert isinstance(parameters, OpenUnmixParameters)
    networks = []
    for part in parts:
        assert isinstance(part, WaveformModel)
        assert isinstance(part.network, OpenUnmix)
        networks.append(part.network)
    return _chunk_model(Joint(networks, parameters), checkpoint.sources, parameters, device, torch.float32)


def load(
    checkpoint: Checkpoint,
    path: Path,
    device: torch.device,
    dtype: torch.dtype,
    needed: Collection[str] | None = None,
) -> WaveformModel:
    """Open a checkpoint (`registry.Loader`)."""
    parameters = checkpoint.parameters
    assert isinstance(parameters, OpenUnmixParameters)
    state = open_network_state(path, lambda name: name in _UNUSED)
    network = build(path, lambda: OpenUnmix(parameters), state, parameters.model_dump(), told_by)
    return _chunk_model(network, checkpoint.sources, parameters, device, dtype, needed)


def _chunk_model(
    network: nn.Module,
    sources: tuple[str, ...],
    parameters: OpenUnmixParameters,
    device: torch.device,
    dtype: torch.dtype,
    needed: Collection[str] | None = None,
) -> WaveformModel:
    block = BLOCK_FRAMES * parameters.hop
    geometry = Geometry(
        CHUNK_BLOCKS * block,
        margin_samples=MARGIN_BLOCKS * block,
        margins_inside=True,
        short_chunk="as_is",
        least_samples=parameters.n_fft // 2 + 1,  # which its transform mirrors
    )
    bytes_per_sample = _BYTES_PER_BIN * (1 + len(sources)) * (parameters.n_fft // 2 + 1) // parameters.hop
    return WaveformModel(network, sources, geometry, bytes_per_sample, device, dtype, needed)


def told_by(state: State) -> dict[str, int]:
    """The parameters, as far as the shapes of a file's tensors tell."""
    bins, all_bins = size(state, "input_mean", 0), size(state, "output_mean", 0)
    return told(bins=bins, hidden=size(state, "fc1.weight", 0), n_fft=all_bins and 2 * (all_bins - 1))


register(
    Architecture(
        "open_unmix", PICKLES, load, OpenUnmixParameters, sources=1, join=join, lower_precision=False
    )
)
