"""The cross-domain transformer between the encoders and the decoders."""

from typing import Any

import torch
from demucs.htdemucs import HTDemucs
from demucs.transformer import (
    CrossTransformerEncoder,
    CrossTransformerEncoderLayer,
    LayerScale,
    MyTransformerEncoderLayer,
    create_2d_sin_embedding,
    create_sin_embedding,
)
from torch import Tensor, nn

from my_submission.models.fused import Linear
from my_submission.models.htdemucs.attention import Attention


def supported(transformer: nn.Module | None) -> bool:
    """Whether it has sinusoidal positions, and layers with plain attention, normalised first."""
    return (
        isinstance(transformer, CrossTransformerEncoder)
        and transformer.emb == "sin"
        and transformer.sin_random_shift == 0
        and all(map(_is_plain, [*transformer.layers, *transformer.layers_t]))
    )


def _is_plain(block: nn.Module) -> bool:
    if not isinstance(block, MyTransformerEncoderLayer | CrossTransformerEncoderLayer):
        return False
    return (
        type(_attention(block)) is nn.MultiheadAttention
        and bool(block.norm_first)
        and block.activation is nn.functional.gelu
        and type(block.norm1) is nn.LayerNorm
        and (block.norm_out is None or block.norm_out.num_groups == 1)
    )


def _attention(block: Any) -> Any:
    return block.cross_attn if isinstance(block, CrossTransformerEncoderLayer) else block.self_attn


class Transformer:
    """The cross-domain transformer between encoder and decoder, with the changes of width around it."""

    def __init__(self, network: HTDemucs, dtype: torch.dtype) -> None:
        transformer = network.crosstransformer
        self._dtype = dtype
        self._max_period, self._position_weight = transformer.max_period, transformer.weight_pos_embed
        self._cross_parity = 1 - transformer.classic_parity
        self._norms = transformer.norm_in, transformer.norm_in_t
        self._blocks = [
            (_Block(block, dtype), _Block(block_t, dtype))
            for block, block_t in zip(transformer.layers, transformer.layers_t, strict=True)
        ]
        self._up = self._down = None
        if network.bottom_channels:
            self._up = (
                _pointwise(network.channel_upsampler, dtype),
                _pointwise(network.channel_upsampler_t, dtype),
            )
            self._down = (
                _pointwise(network.channel_downsampler, dtype),
                _pointwise(network.channel_downsampler_t, dtype),
            )
        self._known_positions: dict[tuple[int, int, int], Tensor] = {}

    def __call__(self, grid: Tensor, grid_t: Tensor) -> tuple[Tensor, Tensor]:
        """Two grids with equally many channels -> two of the same shapes, in float32 if no layer narrows them.

        Tokens are in order of rows here, of frames in the original. That changes nothing: each carries its position.
        """
        grids = grid, grid_t
        tokens, tokens_t = (self._tokens(place, one) for place, one in enumerate(grids))
        for number, (block, block_t) in enumerate(self._blocks):
            if number % 2 == self._cross_parity:
                tokens, tokens_t = block(tokens, tokens_t), block_t(tokens_t, tokens)
            else:
                tokens, tokens_t = block(tokens), block_t(tokens_t)
        if self._down:
            narrow, narrow_t = self._down
            tokens, tokens_t = narrow(tokens.to(self._dtype)), narrow_t(tokens_t.to(self._dtype))
        return tokens.view(grid.shape), tokens_t.view(grid_t.shape)

    def _tokens(self, branch: int, grid: Tensor) -> Tensor:
        """(batch, rows, frames, channels) -> (batch, tokens, width) float32."""
        features = grid.flatten(1, 2)
        if self._up:
            features = self._up[branch](features)
        rows, frames = grid.shape[1:3]
        positions = self._positions(rows if branch == 0 else 0, frames, features.shape[-1])
        normalised: Tensor = self._norms[branch](features.float())
        return normalised + positions

    def _positions(self, rows: int, frames: int, width: int) -> Tensor:
        """Sinusoids (tokens, width), for the waveform's frames if rows is 0; kept, since chunks have few lengths."""
        key = rows, frames, width
        if key not in self._known_positions:
            if rows:
                embedding = create_2d_sin_embedding(width, rows, frames, max_period=self._max_period)
                positions = embedding[0].permute(1, 2, 0).flatten(0, 1)
            else:
                positions = create_sin_embedding(frames, width, max_period=self._max_period)[:, 0]
            self._known_positions[key] = self._position_weight * positions.contiguous()
        return self._known_positions[key]


class _Block:
    """A layer of the transformer, normalised first, of self-attention or of attention to the other branch."""

    def __init__(self, block: Any, dtype: torch.dtype) -> None:
        self._dtype = dtype
        crossed = isinstance(block, CrossTransformerEncoderLayer)
        self._norm = block.norm1
        self._norm_other = block.norm2 if crossed else None
        self._norm_hidden = block.norm3 if crossed else block.norm2
        attention = _attention(block)
        self._attention = Attention(attention, _scale(block.gamma_1, attention.embed_dim), dtype)
        scale = _scale(block.gamma_2, attention.embed_dim)
        widen, narrow = block.linear1, block.linear2
        self._widen = Linear(widen.weight.detach(), widen.bias.detach(), dtype, "gelu")
        self._narrow = Linear(scale[:, None] * narrow.weight.detach(), scale * narrow.bias.detach(), dtype)
        self._norm_out = block.norm_out

    def __call__(self, tokens: Tensor, other: Tensor | None = None) -> Tensor:
        """(batch, tokens, width) float32 -> a new tensor of that shape.

        other: the other branch's tokens, for a layer of cross-attention.
        """
        queries = self._norm(tokens).to(self._dtype)
        pairs = (
            queries if other is None or self._norm_other is None else self._norm_other(other).to(self._dtype)
        )
        # Not in place: the other branch's block has yet to read the tokens as they were. The sums stay float32.
        tokens = tokens + self._attention(queries, pairs)
        tokens += self._narrow(self._widen(self._norm_hidden(tokens).to(self._dtype)))
        norm = self._norm_out
        if norm is None:
            return tokens
        # A GroupNorm of one group, as a LayerNorm over both axes. The original transposes for its GroupNorm and
        # leaves the tensor so; adding tensors of different layouts took ten times as long (benchmarks/README.md).
        centred = nn.functional.layer_norm(tokens, tokens.shape[1:], eps=norm.eps)
        return torch.addcmul(norm.bias, centred, norm.weight)


def _scale(layer: nn.Module, width: int) -> Tensor:
    """The factors of a LayerScale; ones where a network has none."""
    return layer.scale.detach().float() if isinstance(layer, LayerScale) else torch.ones(width)


def _pointwise(layer: Any, dtype: torch.dtype) -> Linear:
    """A convolution of one tap as a linear layer over channels that come last."""
    return Linear(layer.weight.detach()[..., 0], layer.bias.detach(), dtype)
