"""Layers with what follows them in one pass over memory, on the CPU: oneDNN's post-operations.

An activation after a layer reads and writes the whole result again. A post-operation is applied before the result is
written; benchmarks/README.md has the times.

Tensors are grids, (batch, rows, frames, channels) contiguous. oneDNN computes with channels last, so a grid needs no
reordering: permuted to torch's order of axes it is a view. The operators in `torch.ops.mkldnn` are those that torch's
own compiler uses. If a build of torch lacks them (on a Mac, for example), or oneDNN has none of that dtype for the
processor, the same layers run as separate operations.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from my_submission.models import winograd

# "none" is GELU by the error function, as the networks were trained; the other choice is an approximation by tanh.
_ALGORITHMS = {"none": "", "relu": "", "sigmoid": "", "gelu": "none"}
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda grid: grid,
    "relu": torch.relu_,
    "sigmoid": torch.sigmoid_,
    "gelu": nn.functional.gelu,
}


@functools.cache
def available(dtype: torch.dtype) -> bool:
    """Whether oneDNN packs weights of a dtype on this processor and computes with them.

    Tried once, on one pixel: a list of processors and builds of torch would go stale.
    """
    ones = torch.ones(1, 1, 1, 1, dtype=dtype)
    try:
        weight = torch.ops.mkldnn._reorder_convolution_weight(ones, [0, 0], [1, 1], [1, 1], 1)
        torch.ops.mkldnn._convolution_pointwise(ones, weight, None, [0, 0], [1, 1], [1, 1], 1, "none", [], "")
    except (AttributeError, RuntimeError):  # not in this build of torch; not for this processor
        return False
    return True


@dataclass(frozen=True)
class Taps:
    """A convolution over rows and frames: weight (channels out, channels in, rows, frames), bias, and geometry."""

    weight: Tensor
    bias: Tensor
    stride: Sequence[int] = (1, 1)
    padding: Sequence[int] = (0, 0)
    dilation: Sequence[int] = (1, 1)


class Convolution:
    """A convolution and an activation: none, relu, sigmoid or gelu."""

    def __init__(self, taps: Taps, dtype: torch.dtype, activation: str = "none") -> None:
        self._weight = taps.weight.to(dtype).contiguous(memory_format=torch.channels_last)
        self._bias = taps.bias.to(dtype)
        self._geometry = list(taps.padding), list(taps.stride), list(taps.dilation)
        self._activation = activation
        self._packed = available(dtype)
        if self._packed:  # once here rather than at every call
            self._weight = torch.ops.mkldnn._reorder_convolution_weight(self._weight, *self._geometry, 1)

    def __call__(self, grid: Tensor) -> Tensor:
        """(batch, rows, frames, channels in) -> (batch, rows', frames', channels out), by stride and padding."""
        if not self._packed:
            return _ACTIVATIONS[self._activation](self._plain(grid))
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(
            grid.permute(0, 3, 1, 2),
            self._weight,
            self._bias,
            *self._geometry,
            1,
            self._activation,
            [],
            _ALGORITHMS[self._activation],
        )
        return result.permute(0, 2, 3, 1)

    def times(self, grid: Tensor, factor: Tensor) -> Tensor:
        """The convolution, without its activation, times a grid of its output's shape, in one pass."""
        if not self._packed:
            return self._plain(grid).mul_(factor)
        images = grid.permute(0, 3, 1, 2), factor.permute(0, 3, 1, 2)
        result: Tensor = torch.ops.mkldnn._convolution_pointwise.binary(
            *images, self._weight, self._bias, *self._geometry, 1, "mul", None, None, [], None
        )
        return result.permute(0, 2, 3, 1)

    def _plain(self, grid: Tensor) -> Tensor:
        padding, stride, dilation = self._geometry
        image = nn.functional.conv2d(
            grid.permute(0, 3, 1, 2), self._weight, self._bias, stride, padding, dilation
        )
        return image.permute(0, 2, 3, 1)


class GatedConvolution:
    """A convolution to twice the channels and a GLU over them.

    As two convolutions, since a post-operation acts on a whole output and the halves need different ones: a sigmoid
    for the gates, then the product with them for the values. The wide output is never written. Where Winograd's
    algorithm fits, it is one after all: that saves more.
    """

    def __init__(self, taps: Taps, dtype: torch.dtype) -> None:
        wide = replace(taps, weight=taps.weight.to(dtype).contiguous(), bias=taps.bias.to(dtype))
        fits = winograd.fits(wide.weight, wide.stride, wide.padding, wide.dilation)
        self._wide = wide if fits else None
        if fits:
            return
        halves = zip(taps.weight.chunk(2), taps.bias.chunk(2), strict=True)
        value, gate = (replace(taps, weight=weight, bias=bias) for weight, bias in halves)
        self._value, self._gate = Convolution(value, dtype), Convolution(gate, dtype, "sigmoid")

    def __call__(self, grid: Tensor) -> Tensor:
        """(batch, rows, frames, channels in) -> (batch, rows, frames, channels out / 2)."""
        if self._wide is not None:
            wide = winograd.convolve(grid.permute(0, 3, 1, 2), self._wide.weight, self._wide.bias)
            return nn.functional.glu(wide, dim=1).permute(0, 2, 3, 1).contiguous()
        return self._value.times(grid, self._gate(grid))


class Linear:
    """A linear layer and an activation: none, relu, sigmoid or gelu."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, activation: str = "none"
    ) -> None:
        """weight (width out, width in), bias (width out). On a GPU, too: nothing is packed there."""
        self._weight = weight.to(dtype).contiguous()
        self._bias = None if bias is None else bias.to(dtype)
        self._activation = activation
        on_cpu = weight.device.type == "cpu"
        self._packed = on_cpu and dtype != torch.float32 and available(dtype)  # float32 is as fast without
        if self._packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight)

    def __call__(self, features: Tensor) -> Tensor:
        """(…, width in) -> (…, width out), the layer's dtype."""
        if not self._packed:
            return _ACTIVATIONS[self._activation](nn.functional.linear(features, self._weight, self._bias))
        result: Tensor = torch.ops.mkldnn._linear_pointwise(
            features, self._weight, self._bias, self._activation, [], _ALGORITHMS[self._activation]
        )
        return result
