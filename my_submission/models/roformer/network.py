"""RoFormers as they were published, to be trained and loaded: transformers over frames and over bands, in turn.

BS-RoFormer (Lu et al., arXiv 2309.02612), Mel-Band RoFormer (Wang et al., arXiv 2310.01809), and BS-RoFormer with
polar positions (PoPE, Gopalakrishnan et al., arXiv 2509.10534), in the form in which ZFTurbo's
Music-Source-Separation-Training, after lucidrains/BS-RoFormer, trained the published weights. All of them are this
network; they differ in data alone. Names and shapes of its tensors are those of the published files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from my_submission.models.roformer.bands import Bands
from my_submission.models.roformer.spectrum import VALUES_PER_BIN, Spectrum

LEAST_NORM = 1e-12
"""A vector of zeros is divided by this, and stays one."""
HIDDEN_FACTOR = 4
"""How much wider than the features a feed-forward layer is."""
THETA = 10_000.0
"""The slowest angle of positions turns by a little more than 1/THETA per place."""


@dataclass(frozen=True)
class RoformerConfig:
    """What tells one network from another.

    dim: of the features. depth: blocks, each of a transformer over frames and one over bands; time_depth, freq_depth:
        how many layers these have. heads, dim_head: of the attention, `dim_head` values per head.
    mask_hidden: widths of the hidden layers of the mask heads.
    final_norm: whether one norm comes after all blocks, instead of one after each transformer.
    pope: whether positions are polar (PoPE), instead of rotary.
    skip_connection: whether a block takes the sum of all earlier blocks' outputs besides its input.
    """

    spectrum: Spectrum
    bands: Bands
    stems: int
    dim: int
    depth: int
    time_depth: int
    freq_depth: int
    heads: int
    dim_head: int
    mask_hidden: tuple[int, ...]
    final_norm: bool
    pope: bool = False
    skip_connection: bool = False


class Roformer(nn.Module):
    """Transformers over frames and over bands, in turn, and a mask for each stem."""

    def __init__(self, config: RoformerConfig) -> None:
        super().__init__()
        self.config = config
        # One object for all layers of an axis, whose tensors a file has once a layer nevertheless.
        positions: type[Positions] = PolarPositions if config.pope else RotaryPositions
        time, frequency = (positions(config.heads, config.dim_head) for _ in range(2))
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    Transformer(config, config.time_depth, time),
                    Transformer(config, config.freq_depth, frequency),
                ]
            )
            for _ in range(config.depth)
        )
        self.final_norm = RMSNorm(config.dim) if config.final_norm else nn.Identity()
        self.band_split = BandSplit(config.bands, config.dim)
        self.mask_estimators = nn.ModuleList(
            MaskEstimator(config.bands, [config.dim, *config.mask_hidden]) for _ in range(config.stems)
        )

    def forward(self, mixtures: Tensor) -> Tensor:
        """(batch, 2, samples) -> (batch, stems, 2, samples) float32."""
        spectrum = self.config.spectrum
        flat = spectrum.forward(mixtures)
        features = self.band_split(flat)  # (batch, frames, bands, dim)
        earlier: list[Tensor] = []
        for block in self.layers:
            time, frequency = block.children()
            features = over_frames(time, features + sum(earlier))
            features = over_bands(frequency, features)
            if self.config.skip_connection:
                earlier.append(features)
        features = self.final_norm(features)
        masks = (estimator(features) for estimator in self.mask_estimators)
        return torch.stack([spectrum.masked(flat, mask, mixtures.shape[-1]) for mask in masks], dim=1)


def over_frames(transformer: nn.Module, features: Tensor) -> Tensor:
    """(batch, frames, bands, dim) -> the same, each band's frames as a sequence."""
    sequences = features.transpose(1, 2)
    transformed: Tensor = transformer(sequences.flatten(0, 1))
    return transformed.view(sequences.shape).transpose(1, 2)


def over_bands(transformer: nn.Module, features: Tensor) -> Tensor:
    """(batch, frames, bands, dim) -> the same, each frame's bands as a sequence."""
    transformed: Tensor = transformer(features.flatten(0, 1))
    return transformed.view(features.shape)


class RMSNorm(nn.Module):
    """x / ‖x‖ · √dim · gamma over the last axis."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, features: Tensor) -> Tensor:
        unit = nn.functional.normalize(features.float(), dim=-1, eps=LEAST_NORM)
        return unit * math.sqrt(features.shape[-1]) * self.gamma


class BandSplit(nn.Module):
    """A flat spectrum's bands, each normalised and projected to features by a layer of its own."""

    def __init__(self, bands: Bands, dim: int) -> None:
        super().__init__()
        self._bands = bands
        widths = [width * VALUES_PER_BIN for width in bands.widths]
        self.to_features = nn.ModuleList(
            nn.Sequential(RMSNorm(width), nn.Linear(width, dim)) for width in widths
        )

    def forward(self, flat: Tensor) -> Tensor:
        """(batch, frames, width of all) -> (batch, frames, bands, dim)."""
        parts = (flat[..., band_values(start, width)] for start, width in self._bands)
        return torch.stack([layer(part) for layer, part in zip(self.to_features, parts, strict=True)], dim=2)


class MaskEstimator(nn.Module):
    """A stem's mask: for each band a network of its own, with tanh between its layers and a GLU at its end."""

    def __init__(self, bands: Bands, dims: Sequence[int]) -> None:
        """dims: width of the features, and of each hidden layer."""
        super().__init__()
        self._bands = bands
        self.to_freqs = nn.ModuleList(
            nn.Sequential(_perceptron([*dims, 2 * width * VALUES_PER_BIN]), nn.GLU(dim=-1))
            for width in bands.widths
        )

    def forward(self, features: Tensor) -> Tensor:
        """(batch, frames, bands, dim) -> (batch, frames, width of all) float32: where bands overlap, their mean."""
        mask = features.new_zeros(*features.shape[:2], self._bands.bins * VALUES_PER_BIN)
        for band, (start, width) in enumerate(self._bands):
            mask[..., band_values(start, width)] += self.to_freqs[band](features[:, :, band])
        return mask / values_covering(self._bands).to(mask.device)


def _perceptron(dims: Sequence[int]) -> nn.Sequential:
    *hidden, last = (nn.Linear(before, after) for before, after in pairwise(dims))
    return nn.Sequential(*(layer for linear in hidden for layer in (linear, nn.Tanh())), last)


def band_values(start: int, width: int) -> slice:
    """Where a flat spectrum has a band's values."""
    return slice(start * VALUES_PER_BIN, (start + width) * VALUES_PER_BIN)


def values_covering(bands: Bands) -> Tensor:
    """How many bands cover each value of a flat spectrum."""
    return torch.tensor(bands.covering(), dtype=torch.float32).repeat_interleave(VALUES_PER_BIN)


class Transformer(nn.Module):
    """Layers of attention and feed-forward over (sequences, places, dim)."""

    def __init__(self, config: RoformerConfig, depth: int, positions: Positions) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList([Attention(config, positions), FeedForward(config.dim)]) for _ in range(depth)
        )
        self.norm = nn.Identity() if config.final_norm else RMSNorm(config.dim)

    def forward(self, features: Tensor) -> Tensor:
        for layer in self.layers:
            attention, feed_forward = layer.children()
            features = features + attention(features)
            features = features + feed_forward(features)
        normalised: Tensor = self.norm(features)
        return normalised


class FeedForward(nn.Module):
    """Two linear layers with a norm before them: (…, dim) -> (…, dim)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        wide = HIDDEN_FACTOR * dim
        nothing = nn.Identity()  # in place of dropout: published names count it
        self.net = nn.Sequential(
            RMSNorm(dim), nn.Linear(dim, wide), nn.GELU(), nothing, nn.Linear(wide, dim), nothing
        )

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.net(features)
        return result


class Attention(nn.Module):
    """Attention with positions in queries and keys, and with a gate for each head and place."""

    def __init__(self, config: RoformerConfig, positions: Positions) -> None:
        super().__init__()
        inner = config.heads * config.dim_head
        self._heads = config.heads
        self._scale = config.dim_head**-0.5
        self.norm = RMSNorm(config.dim)
        self.to_qkv = nn.Linear(config.dim, 3 * inner, bias=False)
        self.to_gates = nn.Linear(config.dim, config.heads)
        self.to_out = nn.Sequential(nn.Linear(inner, config.dim, bias=False))
        self.add_module(positions.NAME, positions)

    @property
    def positions(self) -> nn.Module:
        return next(module for module in self.children() if isinstance(module, Positions))

    def forward(self, features: Tensor) -> Tensor:
        """(sequences, places, dim) -> the same."""
        features = self.norm(features)
        # (3, sequences, heads, places, dim_head)
        queries, keys, values = (
            self.to_qkv(features).unflatten(-1, (3, self._heads, -1)).permute(2, 0, 3, 1, 4)
        )
        queries, keys = self.positions(queries, keys)
        mixed = nn.functional.scaled_dot_product_attention(queries, keys, values, scale=self._scale)
        gates = self.to_gates(features).sigmoid().transpose(1, 2)[..., None]
        result: Tensor = self.to_out((mixed * gates).transpose(1, 2).flatten(2))
        return result


class RotaryPositions(nn.Module):
    """Each pair of values of queries and keys is turned by its own multiple of the place (RoPE, arXiv 2104.09864)."""

    NAME, TENSORS = "rotary_embed", ("freqs",)

    def __init__(self, heads: int, dim_head: int) -> None:
        super().__init__()
        self.freqs = nn.Parameter(THETA ** -(torch.arange(0, dim_head, 2) / dim_head), requires_grad=False)

    def forward(self, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """(sequences, heads, places, dim_head) each -> the same."""
        angles = angles_of(self.freqs, keys.shape[-2])
        turns = torch.polar(torch.ones_like(angles), angles)
        return _turned(queries, turns), _turned(keys, turns)


def _turned(values: Tensor, turns: Tensor) -> Tensor:
    pairs = torch.view_as_complex(values.float().reshape(*values.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns).flatten(-2).to(values.dtype)


class PolarPositions(nn.Module):
    """Values of queries and keys as magnitudes, at angles that follow from the place alone, the keys' with a learned
    offset (PoPE): twice as many values, so that a score is Σ |q|·|k|·cos(difference of the angles)."""

    NAME, TENSORS = "pope_embed", ("inv_freqs", "bias")

    def __init__(self, heads: int, dim_head: int) -> None:
        super().__init__()
        self.inv_freqs: Tensor
        self.register_buffer("inv_freqs", THETA ** -(torch.arange(dim_head) / dim_head))
        self.bias = nn.Parameter(torch.zeros(heads, dim_head))

    def forward(self, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """(sequences, heads, places, dim_head) each -> (…, 2 · dim_head) each."""
        angles = angles_of(self.inv_freqs, keys.shape[-2])
        return _at_angles(queries, angles), _at_angles(keys, angles + self.offsets()[:, None])

    def offsets(self) -> Tensor:
        """Of the keys' angles, (heads, dim_head)."""
        return self.bias.clamp(-2 * math.pi, 0)


Positions = RotaryPositions | PolarPositions


def _at_angles(values: Tensor, angles: Tensor) -> Tensor:
    magnitudes = nn.functional.softplus(values.float())
    return torch.cat([magnitudes * angles.cos(), magnitudes * angles.sin()], dim=-1).to(values.dtype)


def angles_of(frequencies: Tensor, places: int) -> Tensor:
    """Place times frequency, (places, frequencies) float32."""
    return torch.arange(places, device=frequencies.device)[:, None] * frequencies.float()
