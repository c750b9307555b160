"""The layers of the encoders and decoders, of either branch, on grids: (batch, rows, frames, channels)."""

from typing import Any

import torch
from demucs.demucs import DConv
from demucs.hdemucs import HDecLayer, HEncLayer
from torch import Tensor, nn

from my_submission.models.dconv import NormalisedProjection, branches, tail
from my_submission.models.fused import Convolution, GatedConvolution, Taps


def supported(layer: nn.Module) -> bool:
    """Whether a layer has no normalisation of its own, and its DConv branches have no LSTM and no attention."""
    if not isinstance(layer, HEncLayer | HDecLayer) or layer.empty or layer.norm or layer.rewrite is None:
        return False
    return layer.dconv is None or all(map(_is_plain, branches(layer.dconv)))


def _is_plain(branch: nn.Sequential) -> bool:
    kinds = [type(module) for module in list(branch)[:3]]
    plain = kinds == [nn.Conv1d, nn.GroupNorm, nn.GELU] and len(branch) == 7
    return plain and tail(branch) is not None


def _on_grid(layer: Any) -> Taps:
    """A convolution of either branch, over rows and frames: the waveform is one row."""
    weight, bias = layer.weight.detach(), layer.bias.detach()
    if weight.dim() == 4:
        return Taps(weight, bias, layer.stride, layer.padding, layer.dilation)
    return Taps(weight[:, :, None], bias, (1, *layer.stride), (0, *layer.padding), (1, *layer.dilation))


class Encoder:
    """An HEncLayer without normalisation: strided convolution, GELU, DConv branches, gated convolution."""

    def __init__(self, layer: HEncLayer, dtype: torch.dtype) -> None:
        self._convolution = Convolution(_on_grid(layer.conv), dtype, "gelu")
        self._dconv = _DConv(layer.dconv, dtype)
        self._rewrite = GatedConvolution(_on_grid(layer.rewrite), dtype)
        self._frames_stride = 1 if layer.freq else layer.stride

    def __call__(self, grid: Tensor) -> Tensor:
        """(batch, rows, frames, channels in) -> (batch, rows / stride, frames, channels), or (batch, 1, frames /
        stride, channels) with the frames filled up to whole strides."""
        # As in the original, only the waveform is filled up to whole strides.
        beyond = -grid.shape[2] % self._frames_stride
        grid = self._convolution(nn.functional.pad(grid, (0, 0, 0, beyond)) if beyond else grid)
        self._dconv.add_to(grid)
        return self._rewrite(grid)


class Decoder:
    """An HDecLayer without normalisation: gated convolution, DConv branches, transposed convolution, GELU."""

    def __init__(self, layer: HDecLayer, dtype: torch.dtype) -> None:
        self._rewrite = GatedConvolution(_on_grid(layer.rewrite), dtype)
        self._dconv = _DConv(layer.dconv, dtype)
        transposed = _on_grid(layer.conv_tr)
        self._weight = transposed.weight.to(dtype).contiguous(memory_format=torch.channels_last)
        self._bias, self._stride = transposed.bias.to(dtype), transposed.stride
        self._axis = 1 if layer.freq else 2
        self._margin, self._last = layer.pad, layer.last

    def __call__(self, grid: Tensor, skip: Tensor, length: int) -> Tensor:
        """grid and skip (batch, rows, frames, channels in) -> (batch, length, frames, channels out), or (batch, 1,
        length, channels out)."""
        # Where the transformer's grid comes in float32, it is rounded after the sum, not before.
        grid = self._rewrite((grid + skip).to(self._weight.dtype))
        self._dconv.add_to(grid)
        image = grid.permute(0, 3, 1, 2)  # a view: channels stay last in memory
        image = nn.functional.conv_transpose2d(image, self._weight, self._bias, self._stride)
        grid = image.permute(0, 2, 3, 1).narrow(self._axis, self._margin, length)
        return grid if self._last else nn.functional.gelu(grid)


class _DConv:
    """A DConv: branches with few channels, dilated along the frames, one after the other."""

    def __init__(self, original: DConv | None, dtype: torch.dtype) -> None:
        self._branches = [] if original is None else [_Branch(branch, dtype) for branch in branches(original)]

    def add_to(self, grid: Tensor) -> None:
        """Add to (batch, rows, frames, channels), in place. Each row is normalised by itself, as in the original."""
        for branch in self._branches:
            branch.add_to(grid.flatten(0, 1))


class _Branch:
    """Dilated convolution to few channels, normalisation, GELU, a NormalisedProjection and a GLU."""

    def __init__(self, branch: nn.Sequential, dtype: torch.dtype) -> None:
        self._hidden = Convolution(_on_grid(branch[0]), dtype)
        self._norm: Any = branch[1]
        ending = tail(branch)
        assert ending is not None, "see supported()"
        self._projection = NormalisedProjection(*ending)
        self._dtype = dtype

    def add_to(self, rows: Tensor) -> None:
        """Add the branch's output to (rows, frames, channels), in place."""
        norm = self._norm
        # Statistics and normalisation are float32; there are few channels here, so that costs little.
        hidden = self._hidden(rows[None])[0].float()  # (rows, frames, few channels)
        # As an image of one line, since group_norm would copy anything else to channels first.
        hidden = nn.functional.group_norm(
            hidden[:, :, None].permute(0, 3, 1, 2), norm.num_groups, norm.weight, norm.bias, norm.eps
        )
        values = nn.functional.gelu(hidden.permute(0, 2, 3, 1)[:, :, 0])
        weight, offset = self._projection.for_values(values)  # (rows, 2 · channels, few)
        weight = torch.cat([weight.transpose(1, 2), offset[:, None]], dim=1).to(self._dtype)
        value, gate = (half.contiguous() for half in weight.chunk(2, dim=2))
        few = nn.functional.pad(values.to(self._dtype), (0, 1), value=1.0)  # ones, for the offset
        # The GLU and the sum in one pass: rows + value · sigmoid(gate).
        rows.addcmul_(torch.bmm(few, value), torch.bmm(few, gate).sigmoid_())
