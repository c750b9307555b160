"""BSRNN as amanteur/BandSplitRNN-PyTorch has it, and crlandsc/Music-Demixing-with-Band-Split-RNN; a network a target.

Names and shapes of the parameters are those of the published files. The two differ in one step. What a band's layers
make of a frame is a column of its mask in the first, as one would expect. The second lays the same values out as if
they had been transposed, but they were not. Weights are good for the one that they were trained with.

Source: the repositories' networks. Long tracks: there, windows of 3.04 s begin every 0.54 s, from 2.5 s before the
track on, and their sum is divided by 5.6, though it is of 5 or 6 of them, which makes steps of 1.6 dB. Here the first
begins with the track, and the sum is divided by how many there are.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import model_validator
from torch import Tensor, nn

from my_submission.models.bsrnn.bands import BandSplitChunks, widths_between_edges
from my_submission.models.bsrnn.layers import forward_transform, inverse_transform, with_rnn
from my_submission.models.waveforms import WaveformModel, in_float32, noise_work
from my_submission.registry import Architecture, register
from my_submission.schema import Whole, at_most, problem
from my_submission.signal.chunking import Geometry
from my_submission.weights import Checkpoint
from my_submission.weights.load import PICKLES, build, open_network_state
from my_submission.weights.shapes import State, count, size, told

STEREO_PARTS = 4
"""Values of a bin: left real, left imaginary, right real, right imaginary."""
QUIETEST = 1e-5
"""Added to a spectrum's deviation where it is divided by it, as published."""
_BYTES_PER_VALUE = 26
"""Of memory while a chunk is computed, for each value of a recurrent layer's input and output; measured."""
_TRANSFORMS = ("featurizer.", "inverse_featurizer.")
"""What files of the training framework hold besides the network: windows, which we compute."""


class BsrnnParameters(BandSplitChunks):
    """A network's size, under the names of published configurations, and its chunks, whole hops: their frames + 1 are
    `t_timesteps` there.

    fc_dim: features of a band. rnn_dim: of an LSTM in one direction. num_layers: pairs of an LSTM over frames and one
    over bands. mlp_dim: of the hidden layer that makes a mask. transposed: true for amanteur's, false for crlandsc's.
    """

    fc_dim: Annotated[Whole, at_most(1 << 14)]
    rnn_dim: Annotated[Whole, at_most(1 << 14)]
    num_layers: Whole
    mlp_dim: Annotated[Whole, at_most(1 << 14)]
    transposed: bool

    @model_validator(mode="after")
    def _check_hops(self) -> "BsrnnParameters":
        if self.chunk_samples % self.hop:
            raise problem(
                f"expected a multiple of hop, {self.hop}, found {self.chunk_samples}", "chunk_samples"
            )
        return self

    @property
    def frames(self) -> int:
        """Of a chunk."""
        return self.chunk_samples // self.hop + 1

    def widths(self) -> tuple[int, ...]:
        return widths_between_edges(self.bandsplits, self.n_fft)


class Bsrnn(nn.Module):
    """Mixtures (batch, 2, chunk_samples) -> estimates (batch, 1, 2, chunk_samples) float32."""

    def __init__(self, layout: BsrnnParameters) -> None:
        super().__init__()
        self.layout = layout
        self.bandsplit = BandSplit(layout)
        self.bandsequence = BandSequence(layout)
        self.maskest = MaskEstimation(layout)

    def forward(self, mixtures: Tensor, kept: Sequence[int] | None = None) -> Tensor:
        """kept: has no effect, since there is one target."""
        layout = self.layout
        with in_float32(mixtures):
            spectra = forward_transform(mixtures.float(), layout.n_fft, layout.hop)
            mean = spectra.mean(dim=(1, 2, 3), keepdim=True)
            deviation = spectra.std(dim=(1, 2, 3), keepdim=True)
            normed = (spectra - mean) / (deviation + QUIETEST)
            features = self.bandsplit(normed)
        features = self.bandsequence(features)
        with in_float32(mixtures):
            masked = self.maskest(features.float()) * normed * deviation + mean
            return inverse_transform(masked[:, None], layout.n_fft, layout.hop, mixtures.shape[-1])


class BandSplit(nn.Module):
    """Each band of a spectrum, normalised and projected by layers of its own."""

    def __init__(self, layout: BsrnnParameters) -> None:
        super().__init__()
        self.widths = layout.widths()
        values = [STEREO_PARTS * width for width in self.widths]
        self.layernorms = nn.ModuleList(nn.LayerNorm([each, layout.frames]) for each in values)
        self.fcs = nn.ModuleList(nn.Linear(each, layout.fc_dim) for each in values)

    def forward(self, spectra: Tensor) -> Tensor:
        """(batch, 2, bins, frames) complex -> (frames, bands, batch, fc_dim)."""
        parts = torch.view_as_real(spectra).permute(0, 1, 4, 2, 3)
        bands = zip(torch.split(parts, list(self.widths), dim=3), self.layernorms, self.fcs, strict=True)
        return torch.stack([fc(norm(band.flatten(1, 3)).permute(2, 0, 1)) for band, norm, fc in bands], dim=1)


class BandSequence(nn.Module):
    """LSTMs over the frames of each band and over the bands of each frame, in turn."""

    def __init__(self, layout: BsrnnParameters) -> None:
        super().__init__()
        self.bsrnn = nn.ModuleList(
            nn.Sequential(*(ResidualRnn(layout.fc_dim, layout.rnn_dim) for _ in range(2)))
            for _ in range(layout.num_layers)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(frames, bands, batch, fc_dim) -> the same."""
        for pair in self.bsrnn:
            for layer in pair.children():
                features = layer(features).transpose(0, 1)
        return features


class ResidualRnn(nn.Module):
    """A bidirectional LSTM over the first axis of (steps, …, …, width); its norm has each feature by itself."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.groupnorm = nn.GroupNorm(width, width)
        self.rnn = nn.LSTM(width, hidden, bidirectional=True)
        self.fc = nn.Linear(2 * hidden, width)

    def forward(self, features: Tensor) -> Tensor:
        return with_rnn(features, self.groupnorm, self.rnn, self.fc)


class MaskEstimation(nn.Module):
    """A complex mask, band by band."""

    def __init__(self, layout: BsrnnParameters) -> None:
        super().__init__()
        self.widths = layout.widths()
        self.transposed = layout.transposed
        self.layernorms = nn.ModuleList(nn.LayerNorm([layout.frames, layout.fc_dim]) for _ in self.widths)
        self.mlp = nn.ModuleList(
            BandMask(layout.fc_dim, layout.mlp_dim, STEREO_PARTS * width) for width in self.widths
        )

    def forward(self, features: Tensor) -> Tensor:
        """(frames, bands, batch, fc_dim) -> (batch, 2, bins, frames) complex."""
        parts = torch.cat(list(self._parts(features)), dim=3)  # (batch, 2, real and imaginary, bins, frames)
        return torch.complex(parts[:, :, 0], parts[:, :, 1])

    def _parts(self, features: Tensor) -> Iterator[Tensor]:
        frames, _, batch, _ = features.shape
        for band, width in enumerate(self.widths):
            rows = features[:, band].transpose(0, 1)
            values = self.mlp[band](self.layernorms[band](rows))  # (batch, frames, 4 · width)
            if self.transposed:
                values = values.transpose(1, 2)
            yield values.reshape(batch, 2, 2, width, frames)


class BandMask(nn.Module):
    """The mask of one band: (…, width) features -> (…, values)."""

    def __init__(self, width: int, hidden: int, values: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, values), GatedLinear(values)
        )

    def forward(self, features: Tensor) -> Tensor:
        mask: Tensor = self.mlp(features)
        return mask


class GatedLinear(nn.Module):
    """A linear layer to twice the values, of which the second half opens and closes the first."""

    def __init__(self, values: int) -> None:
        super().__init__()
        self.linear = nn.Linear(values, 2 * values)

    def forward(self, values: Tensor) -> Tensor:
        return nn.functional.glu(self.linear(values), dim=-1)


def load(
    checkpoint: Checkpoint,
    path: Path,
    device: torch.device,
    dtype: torch.dtype,
    needed: Collection[str] | None = None,
) -> WaveformModel:
    """Open a checkpoint (`registry.Loader`)."""
    parameters = checkpoint.parameters
    assert isinstance(parameters, BsrnnParameters)
    state = open_network_state(path, dropped=lambda name: name.startswith(_TRANSFORMS))
    said = {**parameters.model_dump(), "frames": parameters.frames, "band widths": parameters.widths()}
    network = build(path, lambda: Bsrnn(parameters), state, said, told_by)
    geometry = Geometry(parameters.chunk_samples, fade_samples=parameters.fade_samples)
    values = len(parameters.widths()) * (parameters.fc_dim + 2 * parameters.rnn_dim)  # a frame
    bytes_per_sample = _BYTES_PER_VALUE * values // parameters.hop
    return WaveformModel(network, checkpoint.sources, geometry, bytes_per_sample, device, dtype, needed)


def piece_of_work(
    checkpoint: Checkpoint, path: Path, device: torch.device, dtype: torch.dtype
) -> Callable[[float], Tensor]:
    """A call that runs a checkpoint's network on noise, always over its whole chunk: it takes no other."""
    assert isinstance(checkpoint.parameters, BsrnnParameters)
    return noise_work(load(checkpoint, path, device, dtype), checkpoint.parameters.chunk_samples)


def told_by(state: State) -> dict[str, Any]:
    """The parameters, as far as the shapes of a file's tensors tell."""
    bands = count(state, "bandsplit.fcs.") or 0
    values = [size(state, f"bandsplit.fcs.{band}.weight", 1) for band in range(bands)] or [None]
    return told(
        **{"band widths": tuple(each and each // STEREO_PARTS for each in values)},
        frames=size(state, "bandsplit.layernorms.0.weight", 1),
        fc_dim=size(state, "bandsplit.fcs.0.weight", 0),
        rnn_dim=size(state, "bandsequence.bsrnn.0.0.rnn.weight_hh_l0", 1),
        num_layers=count(state, "bandsequence.bsrnn."),
        mlp_dim=size(state, "maskest.mlp.0.mlp.0.weight", 0),
    )


register(
    Architecture(
        "bsrnn",
        (*PICKLES, ".safetensors"),
        load,
        BsrnnParameters,
        sources=1,
        piece_of_work=piece_of_work,
    )
)
