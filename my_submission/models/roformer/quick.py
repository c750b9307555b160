"""RoFormers for inference: the network of `network.py`, computed in pieces that stay in a processor's cache.

Between layers everything is a sum in float32, (bands, batch, frames, dim), to which each layer adds in place. The
sequences of either axis are views of it. A few at a time go through a whole transformer, so what is wide (queries and
keys, the feed-forward layers, the mask heads) exists only for those. Bands of one width are one batched product. The
factors of norms are in the weights that follow them.

Spectra, norms, sums, positions, the band split and the last product of the mask heads are float32. Other products and
the attention have the dtype that is asked for.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from my_submission.models.fused import Linear
from my_submission.models.roformer.bands import Bands
from my_submission.models.roformer.network import (
    LEAST_NORM,
    PolarPositions,
    RMSNorm,
    Roformer,
    RotaryPositions,
    angles_of,
    band_values,
    values_covering,
)

PLACES_AT_A_TIME = {"cpu": 1_024, "cuda": 1 << 17}
"""How many places of sequences go through a transformer together; a single sequence may be longer."""

Positions = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Queries and keys (sequences, places, 2, heads, dim_head) float32 -> each with positions, without the third axis;
their last axis may be longer."""


class QuickRoformer:
    """The weights of some stems of a Roformer on a device, and what they do to chunks."""

    def __init__(
        self, network: Roformer, stems: Sequence[int], device: torch.device, dtype: torch.dtype
    ) -> None:
        """Takes the network apart: the mask heads, most of its weights, are gone from it once they are taken over."""
        layers: Any = network.to(device).layers
        places = PLACES_AT_A_TIME[device.type]
        axes = [_positions(transformer.layers[0][0].positions) for transformer in layers[0]]
        with torch.no_grad():
            self._split = _BandSplit(network.band_split, network.config.bands)
            self._blocks = [
                [
                    _Transformer(transformer, positions, places, dtype)
                    for transformer, positions in zip(block, axes, strict=True)
                ]
                for block in layers
            ]
            self._estimators = []
            for stem in stems:
                self._estimators.append(_MaskEstimator(network, stem, places, dtype))
                network.mask_estimators[stem] = nn.Identity()
        self._config, self._dtype = network.config, dtype

    def __call__(self, chunks: Tensor) -> Tensor:
        """(batch, 2, samples) float32 on the device -> (batch, stems, 2, samples) float32."""
        spectrum = self._config.spectrum
        flat = spectrum.forward(chunks)
        features = self._features(flat)
        audio = chunks.new_empty(len(chunks), len(self._estimators), *chunks.shape[1:])
        for stem, estimator in enumerate(self._estimators):
            mask = estimator(features).view(flat.shape)
            audio[:, stem] = spectrum.masked(flat, mask, chunks.shape[-1])
        return audio

    def _features(self, flat: Tensor) -> Tensor:
        """(batch, frames, values) -> (bands, batch · frames, dim), what the mask heads take."""
        batch, frames, _ = flat.shape
        features = self._split(flat.flatten(0, 1)).view(len(self._config.bands), batch, frames, -1)
        earlier: Tensor | None = None
        for over_frames, over_bands in self._blocks:
            if earlier is not None:
                features += earlier
            over_frames(features.flatten(0, 1))
            over_bands(features.flatten(1, 2).transpose(0, 1))
            if self._config.skip_connection:
                earlier = features.clone() if earlier is None else earlier.add_(features)
        if self._config.final_norm:
            features *= _scale(features)
        return features.flatten(1, 2).to(self._dtype)


def _scale(features: Tensor) -> Tensor:
    """√dim / ‖x‖ over the last axis, which is kept: a norm without its gamma."""
    norms: Tensor = torch.linalg.vector_norm(features, dim=-1, keepdim=True)
    return math.sqrt(features.shape[-1]) / norms.clamp_min_(LEAST_NORM)


class _BandSplit:
    """A BandSplit, in float32."""

    def __init__(self, original: Any, bands: Bands) -> None:
        self._bands = bands
        self._groups: list[tuple[range, Tensor, Tensor]] = []
        for group in bands.groups():
            layers = [original.to_features[band] for band in group]
            gammas = [norm.gamma for norm, _ in layers]
            weight, bias = _stacked([linear for _, linear in layers], torch.float32, gammas)
            self._groups.append((group, weight, bias))

    def __call__(self, flat: Tensor) -> Tensor:
        """(places, values) -> (bands, places, dim)."""
        values = [flat[:, band_values(start, width)] for start, width in self._bands]
        features = flat.new_empty(len(values), len(flat), self._groups[0][1].shape[-1])
        for group, weight, bias in self._groups:
            some = torch.stack(values[group.start : group.stop])
            torch.baddbmm(bias, some * _scale(some), weight, out=features[group.start : group.stop])
        return features


class _MaskEstimator:
    """The mask heads of a stem, with the gamma of the norm before them."""

    def __init__(self, network: Roformer, stem: int, places: int, dtype: torch.dtype) -> None:
        self._bands, self._places = network.config.bands, places
        norm, original = network.final_norm, cast("Any", network.mask_estimators[stem])
        self._groups = []
        for group in self._bands.groups():
            perceptrons = [
                [layer for layer in original.to_freqs[band][0] if isinstance(layer, nn.Linear)]
                for band in group
            ]
            gammas = [norm.gamma] * len(group) if isinstance(norm, RMSNorm) else None
            levels = []
            for level, linears in enumerate(zip(*perceptrons, strict=True), start=1):
                last = level == len(perceptrons[0])
                levels.append(_stacked(linears, torch.float32 if last else dtype, gammas))
                gammas = None
            self._groups.append((group, levels))
        self._covering = values_covering(self._bands).to(original.to_freqs[0][0][0].weight.device)
        self._overlapping = bool((self._covering > 1).any())

    def __call__(self, features: Tensor) -> Tensor:
        """(bands, places, dim) -> (places, values of all) float32."""
        mask = torch.zeros(features.shape[1], len(self._covering), device=features.device)
        for group, (*hidden, (last, offset)) in self._groups:
            at_a_time = max(1, self._places // len(group))
            pieces = torch.split(features[group.start : group.stop], at_a_time, dim=1)
            for values, into in zip(pieces, torch.split(mask, at_a_time), strict=True):
                for weight, bias in hidden:
                    values = torch.baddbmm(bias, values, weight).tanh_()
                gated = nn.functional.glu(torch.baddbmm(offset, values.float(), last), dim=-1)
                for band, part in zip(group, gated, strict=True):
                    into[:, band_values(self._bands.starts[band], self._bands.widths[band])] += part
        return mask.div_(self._covering) if self._overlapping else mask


class _Transformer:
    """A Transformer, on sequences in float32 that it changes in place."""

    def __init__(self, original: Any, positions: Positions, places: int, dtype: torch.dtype) -> None:
        self._layers = [
            (_Attention(attention, positions, dtype), _FeedForward(feed_forward, dtype))
            for attention, feed_forward in original.layers
        ]
        self._gamma = original.norm.gamma if isinstance(original.norm, RMSNorm) else None
        self._places, self._dtype = places, dtype

    def __call__(self, sequences: Tensor) -> None:
        """(sequences, places, dim)."""
        for some in torch.split(sequences, max(1, self._places // sequences.shape[1])):
            for attention, feed_forward in self._layers:
                some += attention((some * _scale(some)).to(self._dtype))
                some += feed_forward((some * _scale(some)).to(self._dtype))
            if self._gamma is not None:
                some *= _scale(some) * self._gamma


class _FeedForward:
    def __init__(self, original: Any, dtype: torch.dtype) -> None:
        norm, widen, narrow = original.net[0], original.net[1], original.net[4]
        self._widen = Linear(widen.weight * norm.gamma, widen.bias, dtype, "gelu")
        self._narrow = Linear(narrow.weight, narrow.bias, dtype)

    def __call__(self, features: Tensor) -> Tensor:
        return self._narrow(self._widen(features))


class _Attention:
    def __init__(self, original: Any, positions: Positions, dtype: torch.dtype) -> None:
        """Queries, keys, values and gates are one product."""
        gates, last = original.to_gates, original.to_out[0]
        weight = torch.cat([original.to_qkv.weight, gates.weight]) * original.norm.gamma
        bias = torch.cat([gates.bias.new_zeros(len(original.to_qkv.weight)), gates.bias])
        self._project = Linear(weight, bias, dtype)
        self._last = Linear(last.weight, None, dtype)
        self._heads, self._size = len(gates.weight), last.in_features // len(gates.weight)
        self._positions, self._dtype = positions, dtype

    def __call__(self, features: Tensor) -> Tensor:
        """(sequences, places, dim) -> the same."""
        inner = self._heads * self._size
        pairs, values, gates = torch.split(self._project(features), [2 * inner, inner, self._heads], dim=-1)
        shape = *features.shape[:2], -1, self._heads, self._size
        queries, keys = self._positions(pairs.float().view(shape))
        values = values.view(shape)[:, :, 0]
        longer = queries.shape[-1] - self._size
        if longer:  # torch's quick kernels want values as long as queries and keys
            values = nn.functional.pad(values, (0, longer))
        queries, keys, values = (one.to(self._dtype).transpose(1, 2) for one in (queries, keys, values))
        mixed = nn.functional.scaled_dot_product_attention(queries, keys, values, scale=self._size**-0.5)
        gated = mixed.transpose(1, 2)[..., : self._size] * gates.sigmoid()[..., None]
        return self._last(gated.flatten(2))


def _positions(original: nn.Module) -> Positions:
    if isinstance(original, PolarPositions):
        return _Polar(original)
    assert isinstance(original, RotaryPositions)
    return _Rotary(original)


class _Rotary:
    """Rotary positions, as products of complex numbers."""

    def __init__(self, original: RotaryPositions) -> None:
        self._frequencies = original.freqs.detach()
        self._known: dict[int, Tensor] = {}

    def __call__(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        values = torch.view_as_complex(pairs.reshape(*pairs.shape[:-1], -1, 2))
        queries, keys = torch.view_as_real(values * self._turns(pairs.shape[1])).flatten(-2).unbind(2)
        return queries, keys

    def _turns(self, places: int) -> Tensor:
        """(places, 1, 1, dim_head / 2) complex; kept, since chunks have few lengths."""
        if places not in self._known:
            angles = angles_of(self._frequencies, places)[:, None, None]
            self._known[places] = torch.polar(torch.ones_like(angles), angles)
        return self._known[places]


class _Polar:
    """Polar positions."""

    def __init__(self, original: PolarPositions) -> None:
        self._frequencies, self._offsets = original.inv_freqs, original.offsets().detach()
        self._known: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        magnitudes = nn.functional.softplus(pairs)[..., None, :].unbind(2)
        queries, keys = (
            (one * directions).flatten(-2)
            for one, directions in zip(magnitudes, self._directions(pairs.shape[1]), strict=True)
        )
        return queries, keys

    def _directions(self, places: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines of queries, (places, 1, 2, dim_head), and of keys, (places, heads, 2, dim_head)."""
        if places not in self._known:
            angles = angles_of(self._frequencies, places)[:, None]
            queries, keys = (
                torch.stack([some.cos(), some.sin()], dim=-2) for some in (angles, angles + self._offsets)
            )
            self._known[places] = queries, keys
        return self._known[places]


def _stacked(
    linears: Sequence[nn.Linear], dtype: torch.dtype, gammas: Sequence[Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Weights (layers, width in, width out) and biases (layers, 1, width out) of layers, for batched products.

    gammas: of the norm before each layer.
    """
    weights = [linear.weight for linear in linears]
    if gammas is not None:
        weights = [weight * gamma for weight, gamma in zip(weights, gammas, strict=True)]
    weight = torch.stack([weight.T.to(dtype) for weight in weights]).contiguous()
    return weight, torch.stack([linear.bias[None].to(dtype) for linear in linears])
