"""BSRNN as magronp/bsrnn has it (2025; "oBSRNN"), for one target or for several.

It is a network of one channel: both channels of a mixture go through the same layers. What the optimised files have
besides, as their rows say: an exchange between the channels (transform-average-concatenate, Luo et al., arXiv
1910.14104), and attention over the frames with all bands as features (as in TF-GridNet, arXiv 2211.12433). Names and
shapes of the parameters are those of the published files.

Source: the repository's network. Long tracks: there, pieces of 12 s begin every 11 s and fade into each other for
one, but the first, into which nothing fades, has 11 s. There, too, a recording is divided by its largest sample, and
what is made of it not multiplied by it. Here the level stays; the network's norms make its mask indifferent to it.
"""

import itertools
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from my_submission.models.bsrnn.bands import BandSplitChunks, widths_of_steps
from my_submission.models.bsrnn.layers import forward_transform, inverse_transform, with_rnn
from my_submission.models.waveforms import WaveformModel, in_float32, noise_work
from my_submission.registry import Architecture, register
from my_submission.schema import Whole, at_most, expecting, problem
from my_submission.signal.chunking import Geometry
from my_submission.weights import Checkpoint
from my_submission.weights.load import PICKLES, build, open_network_state
from my_submission.weights.shapes import State, count, size, told

CHANNELS = 2
COMPLEX_PARTS = 2
EPSILON = 1e-7
"""Of all norms."""
_BYTES_PER_VALUE = 30
"""Of memory while a chunk is computed, for each value of a recurrent layer's input and output; measured."""
_WINDOWS = ("stft.transf.window", "istft.transf.window")
"""What files of the training framework hold besides the network, which we compute."""

WholeOrNone = Annotated[int, Field(ge=0, le=1 << 14), expecting("a whole number, or 0 for none")]


class ObsrnnParameters(BandSplitChunks):
    """A network's size, under the names of published configurations, and its chunks.

    feature_dim: features of a band. num_repeat: pairs of an LSTM over frames and one over bands. fac_sep: of the
    features, those of an LSTM in one direction. fac_mask: of the features, the hidden ones that make a mask.
    fac_tac: of the features, those that channels exchange; 0 for `stereo: null` there. n_att_head: heads of the
    attention, or 0; attn_enc_dim: what each compares of a band.
    """

    feature_dim: Annotated[Whole, at_most(1 << 12)]
    num_repeat: Whole
    fac_sep: Annotated[Whole, at_most(64)]
    fac_mask: Annotated[Whole, at_most(64)]
    fac_tac: WholeOrNone
    n_att_head: WholeOrNone
    attn_enc_dim: WholeOrNone

    @model_validator(mode="after")
    def _check_attention(self) -> "ObsrnnParameters":
        if self.n_att_head and self.feature_dim % self.n_att_head:
            raise problem(
                f"expected a divisor of feature_dim, {self.feature_dim}, found {self.n_att_head}",
                "n_att_head",
            )
        if bool(self.n_att_head) != bool(self.attn_enc_dim):
            raise problem(
                f"expected it above 0 with n_att_head, and 0 without, found {self.attn_enc_dim}",
                "attn_enc_dim",
            )
        return self

    def widths(self) -> tuple[int, ...]:
        return widths_of_steps(self.bandsplits, self.n_fft)


class Obsrnn(nn.Module):
    """Mixtures (batch, 2, samples) -> estimates (batch, sources, 2, samples) float32. More than n_fft/2 samples."""

    def __init__(self, layout: ObsrnnParameters, sources: int) -> None:
        super().__init__()
        self.layout = layout
        self.BN = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(1, COMPLEX_PARTS * width, EPSILON),
                nn.Conv1d(COMPLEX_PARTS * width, layout.feature_dim, 1),
            )
            for width in layout.widths()
        )
        self.separator = nn.Sequential(*(Block(layout) for _ in range(layout.num_repeat)))
        self.maskers = nn.ModuleList(Masker(layout) for _ in range(sources))

    def forward(self, mixtures: Tensor, kept: Sequence[int] | None = None) -> Tensor:
        """kept: the sources to give, in this order; by default all."""
        layout, samples = self.layout, mixtures.shape[-1]
        with in_float32(mixtures):
            spectra = forward_transform(mixtures.float(), layout.n_fft, layout.hop)
            features = self._split(spectra.flatten(0, 1))
        features = self.separator(features)
        with in_float32(mixtures):
            chosen = self.maskers if kept is None else [self.maskers[place] for place in kept]
            masks = torch.stack(
                [torch.unflatten(masker(features), 0, (-1, CHANNELS)) for masker in chosen], dim=1
            )
            return inverse_transform(masks * spectra[:, None], layout.n_fft, layout.hop, samples)

    def _split(self, spectra: Tensor) -> Tensor:
        """(rows, bins, frames) complex -> features (frames, bands, rows, feature_dim)."""
        parts = torch.view_as_real(spectra).permute(0, 3, 1, 2)
        bands = zip(torch.split(parts, list(self.layout.widths()), dim=2), self.BN, strict=True)
        return torch.stack([layers(band.flatten(1, 2)).permute(2, 0, 1) for band, layers in bands], dim=1)


class Block(nn.Module):
    """LSTMs over the frames of each band and over the bands of each frame; then what the optimised networks add."""

    def __init__(self, layout: ObsrnnParameters) -> None:
        super().__init__()
        width = layout.feature_dim
        self.time_net = ResidualRnn(width, layout.fac_sep * width)
        self.band_net = ResidualRnn(width, layout.fac_sep * width)
        if layout.fac_tac:
            self.tac_module = ChannelExchange(width, layout.fac_tac * width)
        if layout.n_att_head:
            self.attn_block = FrameAttention(layout)

    def forward(self, features: Tensor) -> Tensor:
        """(frames, bands, rows, feature_dim) -> the same."""
        features = self.time_net(features)
        features = self.band_net(features.transpose(0, 1)).transpose(0, 1)
        with in_float32(features):
            if hasattr(self, "tac_module"):
                features = self.tac_module(features)
            if hasattr(self, "attn_block"):
                features = self.attn_block(features)
        return features


class ResidualRnn(nn.Module):
    """A bidirectional LSTM over the first axis of (steps, …, …, width); its norm has all features together."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width, EPSILON)
        self.main_layer = nn.LSTM(width, hidden, bidirectional=True)
        self.proj = nn.Linear(2 * hidden, width)

    def forward(self, features: Tensor) -> Tensor:
        return with_rnn(features, self.norm, self.main_layer, self.proj)


class ChannelExchange(nn.Module):
    """What both channels of a mixture have in common, added to each of them. All its PReLUs are one."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        slope = nn.PReLU()
        self.transform = nn.Sequential(nn.Linear(width, hidden), slope)
        self.average = nn.Sequential(nn.Linear(hidden, hidden), slope)
        self.concat = nn.Sequential(nn.Linear(2 * hidden, width), slope)

    def forward(self, features: Tensor) -> Tensor:
        """(frames, bands, rows, width) -> the same; the channels of a mixture are rows that follow one another."""
        apart = torch.unflatten(self.transform(features), 2, (-1, CHANNELS))
        common = self.average(apart.mean(dim=3, keepdim=True)).expand_as(apart)
        exchanged: Tensor = self.concat(torch.cat([apart, common], dim=-1).flatten(2, 3))
        return features + exchanged


class FrameAttention(nn.Module):
    """Attention over frames, a head after another in the names of its layers: queries, keys and values of a frame are
    those of all its bands."""

    def __init__(self, layout: ObsrnnParameters) -> None:
        super().__init__()
        self.heads, width, bands = layout.n_att_head, layout.feature_dim, len(layout.widths())
        sizes = {"Q": layout.attn_enc_dim, "K": layout.attn_enc_dim, "V": width // self.heads}
        for head, (kind, wide) in itertools.product(range(self.heads), sizes.items()):
            self.add_module(f"attn_conv_{kind}_{head}", projection(width, wide, bands))
        self.attn_concat_proj = projection(width, width, bands)

    def forward(self, features: Tensor) -> Tensor:
        """(frames, bands, rows, width) -> the same."""
        image = features.permute(2, 3, 0, 1)  # (rows, width, frames, bands)
        queries, keys, values = (self._of_heads(kind, image) for kind in "QKV")
        seen = nn.functional.scaled_dot_product_attention(queries, keys, values)
        by_band = torch.unflatten(
            seen, -1, (-1, image.shape[-1])
        )  # (rows, heads, frames, width / heads, bands)
        attended: Tensor = self.attn_concat_proj(by_band.transpose(2, 3).flatten(1, 2))
        return features + attended.permute(2, 3, 0, 1)

    def _of_heads(self, kind: str, image: Tensor) -> Tensor:
        """(rows, heads, frames, features of all bands)."""
        layers = [self.get_submodule(f"attn_conv_{kind}_{head}") for head in range(self.heads)]
        return torch.stack([layer(image).transpose(1, 2).flatten(2) for layer in layers], dim=1)


def projection(before: int, after: int, bands: int) -> nn.Sequential:
    """Other features of each band of each frame."""
    return nn.Sequential(nn.Conv2d(before, after, 1), nn.PReLU(), FrameNorm(after, bands))


class FrameNorm(nn.Module):
    """Norms each frame of (rows, width, frames, bands), features and bands together."""

    def __init__(self, width: int, bands: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(1, width, 1, bands))
        self.beta = nn.Parameter(torch.zeros(1, width, 1, bands))

    def forward(self, image: Tensor) -> Tensor:
        mean = image.mean(dim=(1, 3), keepdim=True)
        variance = image.var(dim=(1, 3), correction=0, keepdim=True)
        normed = (image - mean) / torch.sqrt(variance + EPSILON)
        return torch.addcmul(self.beta, normed, self.gamma)


class Masker(nn.Module):
    """A source's complex mask, band by band."""

    def __init__(self, layout: ObsrnnParameters) -> None:
        super().__init__()
        width, hidden = layout.feature_dim, layout.fac_mask * layout.feature_dim
        self.mask = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(1, width, EPSILON),
                nn.Conv1d(width, hidden, 1),
                nn.Tanh(),
                nn.Conv1d(hidden, hidden, 1),
                nn.Tanh(),
                nn.Conv1d(hidden, 2 * COMPLEX_PARTS * bins, 1),
            )
            for bins in layout.widths()
        )

    def forward(self, features: Tensor) -> Tensor:
        """(frames, bands, rows, feature_dim) -> (rows, bins, frames) complex. The second half of what a band's layers
        make opens and closes the first."""
        of_bands = zip(features.float().permute(1, 2, 3, 0), self.mask, strict=True)
        halves = [torch.unflatten(layers(band), 1, (2, COMPLEX_PARTS, -1)) for band, layers in of_bands]
        parts = torch.cat([half[:, 0] * torch.sigmoid(half[:, 1]) for half in halves], dim=2)
        return torch.complex(parts[:, 0], parts[:, 1])


def load(
    checkpoint: Checkpoint,
    path: Path,
    device: torch.device,
    dtype: torch.dtype,
    needed: Collection[str] | None = None,
) -> WaveformModel:
    """Open a checkpoint (`registry.Loader`)."""
    parameters, sources = checkpoint.parameters, len(checkpoint.sources)
    assert isinstance(parameters, ObsrnnParameters)
    state = open_network_state(path, dropped=lambda name: name in _WINDOWS)
    said = {**parameters.model_dump(), "sources": sources, "band widths": parameters.widths()}
    network = build(path, lambda: Obsrnn(parameters, sources), state, said, told_by)
    geometry = Geometry(
        parameters.chunk_samples,
        fade_samples=parameters.fade_samples,
        short_chunk="as_is",
        least_samples=parameters.n_fft // 2 + 1,  # which its transform mirrors
    )
    values = (
        CHANNELS * len(parameters.widths()) * parameters.feature_dim * (1 + 2 * parameters.fac_sep)
    )  # a frame
    bytes_per_sample = _BYTES_PER_VALUE * values // parameters.hop
    return WaveformModel(network, checkpoint.sources, geometry, bytes_per_sample, device, dtype, needed)


def piece_of_work(
    checkpoint: Checkpoint, path: Path, device: torch.device, dtype: torch.dtype
) -> Callable[[float], Tensor]:
    """A call that runs a checkpoint's network on noise, over a share of its chunk."""
    assert isinstance(checkpoint.parameters, ObsrnnParameters)
    return noise_work(load(checkpoint, path, device, dtype), least_samples=checkpoint.parameters.n_fft)


def told_by(state: State) -> dict[str, Any]:
    """The parameters, and the number of sources, as far as the shapes of a file's tensors tell."""
    bands = count(state, "BN.") or 0
    values = [size(state, f"BN.{band}.1.weight", 1) for band in range(bands)] or [None]
    width = size(state, "BN.0.1.weight", 0)
    first = "separator.0."
    heads = sum(
        name.startswith(f"{first}attn_block.attn_conv_Q_") and name.endswith("0.weight") for name in state
    )
    hidden = {
        "fac_sep": size(state, f"{first}time_net.main_layer.weight_hh_l0", 1),
        "fac_tac": size(state, f"{first}tac_module.transform.0.weight", 0) or (0 if width else None),
        "fac_mask": size(state, "maskers.0.mask.0.1.weight", 0),
    }
    return told(
        **{"band widths": tuple(each and each // COMPLEX_PARTS for each in values)},
        **{key: each // width for key, each in hidden.items() if width and each is not None},
        sources=count(state, "maskers."),
        feature_dim=width,
        num_repeat=count(state, "separator."),
        n_att_head=heads if width else None,
        attn_enc_dim=size(state, f"{first}attn_block.attn_conv_Q_0.0.weight", 0) or (0 if width else None),
    )


register(
    Architecture("obsrnn", (*PICKLES, ".safetensors"), load, ObsrnnParameters, piece_of_work=piece_of_work)
)
