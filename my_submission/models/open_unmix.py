"""Open-Unmix: a recurrent network that masks a mixture's magnitudes, one network a target.

Source: Stöter, Uhlich, Liutkus, Mitsufuji: Open-Unmix, a reference implementation for music source separation (JOSS
4(41), 2019), and the package `openunmix` 1.3.0. An estimate is what its `Separator` gives with `niter=0`: the mask
times the mixture's complex spectrogram. In the package its Wiener filter takes these masks; `models/wiener.py` takes
the magnitudes of waveforms, which differ: what the two make of random networks agreed to 12 dB.

It ran whole songs. Here chunks of about a minute are read with what the track has up to twelve seconds around them,
which bounds memory; a track of less than a chunk and a margin is run whole, as there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated

import torch
from pydantic import model_validator
from torch import Tensor, nn

from my_submission.models.waveforms import WaveformModel
from my_submission.registry import Architecture, register
from my_submission.schema import Record, Whole, at_most, problem
from my_submission.signal.chunking import Geometry
from my_submission.weights import Checkpoint
from my_submission.weights.load import PICKLES, build, open_network_state
from my_submission.weights.shapes import State, size, told

CHANNELS = 2
LAYERS = 3
CHUNK_FRAMES, MARGIN_FRAMES = 2560, 512
_BYTES_PER_BIN = 80
"""Of memory for a bin of a frame of a stereo chunk."""
_UNUSED = ("sample_rate", "stft.window", "transform.0.window")
"""What released files hold besides the network: their transform."""


class OpenUnmixParameters(Record):
    """A network's size and its STFT. bins: how many of the lowest bins it sees; its mask is for all."""

    n_fft: Annotated[Whole, at_most(1 << 16)]
    hop: Whole
    bins: Whole
    hidden: Annotated[Whole, at_most(1 << 14)]

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
        batch, _, samples = mixtures.shape
        n_fft, hop = self.parameters_.n_fft, self.parameters_.hop
        window = torch.hann_window(n_fft, device=mixtures.device)
        spectrum = torch.stft(
            mixtures.flatten(0, 1), n_fft, hop, window=window, center=True, return_complex=True
        )
        by_channel = spectrum.reshape(batch, CHANNELS, *spectrum.shape[1:])
        masked = (by_channel * self.masks(by_channel.abs())).flatten(0, 1)
        waves = torch.istft(masked, n_fft, hop, window=window, center=True, length=samples)
        return waves.reshape(batch, 1, CHANNELS, samples)

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
    hop = parameters.hop
    geometry = Geometry(
        CHUNK_FRAMES * hop,
        margin_samples=MARGIN_FRAMES * hop,
        margins_inside=True,
        short_chunk="as_is",
        least_samples=parameters.n_fft // 2 + 1,  # which its transform mirrors
    )
    bytes_per_sample = _BYTES_PER_BIN * (parameters.n_fft // 2 + 1) // hop
    return WaveformModel(network, checkpoint.sources, geometry, bytes_per_sample, device, dtype, needed)


def told_by(state: State) -> dict[str, int]:
    """The parameters, as far as the shapes of a file's tensors tell."""
    bins, all_bins = size(state, "input_mean", 0), size(state, "output_mean", 0)
    return told(bins=bins, hidden=size(state, "fc1.weight", 0), n_fft=all_bins and 2 * (all_bins - 1))


register(Architecture("open_unmix", PICKLES, load, OpenUnmixParameters, sources=1, lower_precision=False))
