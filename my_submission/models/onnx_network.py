"""The network of an ONNX file, run by torch: MDX-Net in lower precision, in float32 where that is faster than ONNX
Runtime (`winograd.py`), and on GPUs without ONNX Runtime.

It reads any graph made of the operators of a TFC-TDF U-Net, whatever exported it. Tensors keep the ONNX meaning of
their axes, (batch, channels, frames, bins), but lie channels-last in memory: so convolutions need no reordering, and
a linear layer along the bins is one plain matrix product per frame. For Winograd's algorithm they lie as they are
named, and a linear layer is one product for all.

In lower precision, whatever costs little stays exact, because a stem's error comes from there as much as from the
rest: the first layer and the operations that end in the last one are float32, normalisations have float32 parameters,
and each weight of the convolutions that halve the resolution is the sum of two numbers. benchmarks/README.md
(Precision) says how these were found, and what they are worth in dB.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from my_submission.models import winograd
from my_submission.models.fused import Convolution, Taps
from my_submission.models.onnx_file import read_model
from my_submission.weights import WeightsError
from my_submission.weights.errors import first_sentence

Function = Callable[..., Tensor]


class UnsupportedGraph(WeightsError):  # noqa: N818, the name says it
    """An ONNX graph holds an operator, or a use of one, that this module does not know."""


@dataclass(frozen=True)
class _Operation:
    """One step of the graph: values by name in, one value out; `last_use` names those that nothing needs later."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    function: Function
    last_use: tuple[str, ...] = ()


class OnnxNetwork(nn.Module):
    """A network from an ONNX file with one input and one output, in evaluation mode."""

    def __init__(self, path: Path, device: torch.device, dtype: torch.dtype) -> None:
        """Raises UnsupportedGraph, naming file and operator, WeightsError if the file is no ONNX graph."""
        super().__init__()
        graph = read_model(path).graph
        self._path, self._dtype, self._device = path, dtype, device
        try:
            self._build(graph)
        except (LookupError, TypeError, ValueError, AttributeError, AssertionError) as error:
            # A node that does not have what its kind demands.
            raise UnsupportedGraph(
                f"{path}: a node is not as its operator demands: {error!r:.200}"
            ) from error

    def _build(self, graph: onnx.GraphProto) -> None:
        path, device, dtype = self._path, self._device, self._dtype
        self._input, self._output = graph.input[0].name, graph.output[0].name
        self.input_shape = tuple(axis.dim_value for axis in graph.input[0].type.tensor_type.shape.dim)
        constants = _constants(graph)
        nodes = [node for node in graph.node if node.output[0] not in constants]
        convolutions = (constants[node.input[1]] for node in nodes if node.op_type == "Conv")
        kernels = [kernel for kernel in convolutions if kernel.shape[2:] == winograd.KERNEL]
        plain = device.type == "cpu" and dtype == torch.float32
        # All, since the convolutions with the fewest channels have the largest images.
        self.fewer_products = plain and bool(kernels) and all(map(winograd.fits, kernels))
        """Whether it computes in float32 on the CPU, with fewer products than ONNX Runtime."""
        self._memory_format = torch.contiguous_format if self.fewer_products else torch.channels_last
        rectified = _rectified(nodes) - {self._output}
        lower = _Builder(path, constants, device, dtype, rectified, self._memory_format)
        exact = _Builder(path, constants, device, torch.float32, rectified, self._memory_format)
        ending = _ending(nodes, self._output)
        operations = []
        # float32 at both ends: of all single operations, rounding the first layer, the last one and the sum before it
        # cost most agreement, and they are cheap (benchmarks/README.md).
        for node in nodes:
            if node.output[0] in ending:
                operations.append(_in_float32(exact.operation(node), torch.float32))
            elif self._input in node.input:
                operations.append(_in_float32(exact.operation(node), dtype))
            else:
                operations.append(lower.operation(node))
        self._operations = _with_last_uses(_fuse(_transpose_outside(operations)), self._output)

    def forward(self, values: Tensor) -> Tensor:
        """(batch, …) float32 -> float32 on the network's device."""
        try:
            return self._run(values.to(self._device, memory_format=self._memory_format))
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, LookupError) as error:
            raise WeightsError(
                f"{self._path}: the graph cannot run on {tuple(values.shape)}: {first_sentence(error)}"
            ) from error

    def _run(self, values: Tensor) -> Tensor:
        known = {self._input: values}
        for operation in self._operations:
            known[operation.output] = operation.function(*(known[name] for name in operation.inputs))
            for name in operation.last_use:  # or all intermediate values of a chunk would be held at once
                del known[name]
        return known[self._output].float()


def _ending(nodes: Sequence[onnx.NodeProto], output: str) -> set[str]:
    """The values from the output back through the last layer with weights, up to rectifiers and other such layers."""
    makers = {node.output[0]: node for node in nodes}
    ending: set[str] = set()
    beyond_last = False
    waiting = [output]
    while waiting:
        name = waiting.pop()
        if name in ending:
            continue  # reached before, on another way
        node = makers.get(name)
        has_weights = node is not None and node.op_type in ("Conv", "ConvTranspose", "MatMul")
        if node is None or node.op_type == "Relu" or (has_weights and beyond_last):
            continue
        ending.add(name)
        beyond_last = beyond_last or has_weights
        waiting += node.input
    return ending


def _in_float32(operation: _Operation, result: torch.dtype) -> _Operation:
    """An operation with float32 weights on values of any dtype."""
    plain = operation.function
    if operation.kind == "Add" and len(operation.inputs) == 2:
        return replace(operation, function=lambda *values: _sum_in_float32(*values).to(result))
    return replace(operation, function=lambda *values: plain(*(value.float() for value in values)).to(result))


def _sum_in_float32(one: Tensor, other: Tensor) -> Tensor:
    """Makes one float32 copy rather than three."""
    return one.to(torch.float32, copy=True).add_(other)


def _constants(graph: onnx.GraphProto) -> dict[str, Tensor]:
    """Initialisers and what Identity and Constant nodes make of them, float32."""
    constants = {item.name: _tensor(item) for item in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = _tensor(node.attribute[0].t)
        elif node.op_type == "Identity" and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]]
    return constants


def _tensor(proto: onnx.TensorProto) -> Tensor:
    return torch.from_numpy(numpy_helper.to_array(proto).copy())


class _Builder:
    """Turns nodes into operations with their weights on the device and in the dtype."""

    def __init__(
        self,
        path: Path,
        constants: dict[str, Tensor],
        device: torch.device,
        dtype: torch.dtype,
        rectified: set[str],
        memory_format: torch.memory_format,
    ) -> None:
        """rectified: the values that nothing but rectifiers reads."""
        self._path = path
        self._constants = constants
        self._device, self._dtype = device, dtype
        self._rectified = rectified
        self._memory_format = memory_format

    def operation(self, node: onnx.NodeProto) -> _Operation:
        makers: dict[str, Callable[[onnx.NodeProto, dict[str, Any]], Function]] = {
            "Conv": self._convolution,
            "ConvTranspose": self._convolution,
            "BatchNormalization": self._batch_norm,
            "MatMul": self._matrix_product,
            "Relu": lambda node, attributes: torch.relu,
            "Add": lambda node, attributes: torch.add,
            "Mul": lambda node, attributes: torch.mul,
            "Transpose": self._transpose,
            "Identity": lambda node, attributes: _same,
        }
        if node.op_type not in makers:
            self._refuse(node, f"known: {', '.join(makers)}")
        attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        function = makers[node.op_type](node, attributes)
        inputs = tuple(name for name in node.input if name not in self._constants)
        if node.op_type in ("Add", "Mul") and len(inputs) == 1:
            constant = self._weight(next(name for name in node.input if name in self._constants))
            plain = function
            function = lambda values: plain(values, constant)  # noqa: E731
        rectified = isinstance(function, _OnImages) and function.rectified
        kind = "RectifiedConv" if rectified else self._kind(node, attributes)
        return _Operation(kind, inputs, node.output[0], function)

    def _kind(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> str:
        strides, pads = attributes.get("strides", [1, 1]), attributes.get("pads", [0, 0, 0, 0])
        kind: str = node.op_type
        if kind != "Conv" or strides != [1, 1] or any(pads):
            return kind
        return "PointwiseConv" if self._constants[node.input[1]].shape[2:] == (1, 1) else kind

    def _refuse(self, node: onnx.NodeProto, expected: str) -> None:
        raise UnsupportedGraph(
            f"{self._path}: operator {node.op_type} ({node.name or 'unnamed'}): {expected}"
        )

    def _weight(self, name: str) -> Tensor:
        return self._constants[name].to(self._device, self._dtype)

    def _convolution(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Function:
        pads = attributes.get("pads", [0, 0, 0, 0])
        if pads[:2] != pads[2:] or attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
            self._refuse(node, f"expected the same padding at both ends, found {pads}")
        if attributes.get("output_padding") or attributes.get("output_shape"):
            self._refuse(node, "output_padding and output_shape are not supported")
        weight = self._weight(node.input[1]).contiguous(memory_format=self._memory_format)
        strides = tuple(attributes.get("strides", [1, 1]))
        bias = self._weight(node.input[2]) if len(node.input) > 2 else None
        convolve = nn.functional.conv2d if node.op_type == "Conv" else nn.functional.conv_transpose2d
        settings = {
            "stride": strides,
            "padding": tuple(pads[:2]),
            "dilation": tuple(attributes.get("dilations", [1, 1])),
            "groups": attributes.get("group", 1),
        }
        # `fused.Convolution` packs its weights, and takes a rectifier along for nothing.
        plain = node.op_type == "Conv" and strides == (1, 1) and settings["groups"] == 1
        if plain and bias is not None and self._device.type == "cpu" and self._dtype != torch.float32:
            taps = Taps(weight, bias, strides, settings["padding"], settings["dilation"])
            rectified = node.output[0] in self._rectified
            return _OnImages(Convolution(taps, self._dtype, "relu" if rectified else "none"), rectified)
        unlike = any(pads) or settings["groups"] != 1 or settings["dilation"] != (1, 1)
        if self._memory_format == torch.contiguous_format and strides == weight.shape[2:] and not unlike:
            product = _blocks_to_places if node.op_type == "Conv" else _places_to_blocks
            return lambda values: product(values, weight, bias)
        if node.op_type == "ConvTranspose" or strides == (1, 1) or self._dtype == torch.float32:
            return lambda values: convolve(values, weight, bias, **settings)
        # The convolutions that halve the resolution are cheap, and rounding the first one's weights was among the
        # worst (benchmarks/README.md). So a second, small number per weight holds what the first rounded off.
        remainder = (self._constants[node.input[1]].to(self._device) - weight.float()).to(self._dtype)
        remainder = remainder.contiguous(memory_format=torch.channels_last)
        return lambda values: convolve(values, weight, bias, **settings).add_(
            convolve(values, remainder, None, **settings)
        )

    def _batch_norm(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Function:
        scale, shift, mean, variance = (self._constants[name].to(self._device) for name in node.input[1:5])
        epsilon = attributes.get("epsilon", 1e-5)
        # float32 parameters with values of any dtype: exact factors, and faster than a product and a sum in bfloat16.
        return lambda values: nn.functional.batch_norm(
            values, mean, variance, scale, shift, training=False, eps=epsilon
        )

    def _matrix_product(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Function:
        weight = self._constants.get(node.input[1])
        if weight is None or weight.dim() != 2:
            self._refuse(node, "expected a constant matrix as the second factor")
        if self._memory_format == torch.contiguous_format:
            factor = self._weight(node.input[1])
            return lambda values: values @ factor
        # values @ weight with the bins last, as weightᵀ @ values with the channels last: nothing is reordered.
        transposed = self._weight(node.input[1]).T.contiguous()
        return lambda values: _along_bins(transposed, values.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def _transpose(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> Function:
        if list(attributes.get("perm", [])) != [0, 1, 3, 2]:
            self._refuse(node, f"expected perm [0, 1, 3, 2], found {attributes.get('perm')}")
        return lambda values: values.transpose(-1, -2).contiguous(memory_format=self._memory_format)


def _along_bins(weight: Tensor, values: Tensor) -> Tensor:
    """(bins out, bins in) times (batch, frames, bins in, channels) -> (batch, frames, bins out, channels).

    Frame by frame on the CPU: the batched product there first copies the weight for every frame, which took two
    thirds of its time (benchmarks/README.md).
    """
    if values.device.type != "cpu":
        return weight @ values
    batch, frames, _, channels = values.shape
    products = values.new_empty(batch, frames, weight.shape[0], channels)
    weight = weight.to(values.dtype)  # autocast leaves products that are written in place as they are
    for factor, product in zip(values.flatten(0, 1), products.flatten(0, 1), strict=True):
        torch.mm(weight, factor, out=product)
    return products


def _blocks_to_places(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A convolution whose stride is its size, as one matrix product.

    images (batch, channels in, rows, columns), weight (channels out, channels in, block rows, block columns).
    """
    height, width = weight.shape[2:]
    rows, columns = images.shape[2] // height, images.shape[3] // width
    images = images[:, :, : rows * height, : columns * width].contiguous()
    blocks = images.view(*images.shape[:2], rows, height, columns, width).permute(0, 1, 3, 5, 2, 4)
    places = weight.flatten(1) @ blocks.reshape(len(images), -1, rows * columns)
    return _shifted(torch.unflatten(places, 2, (rows, columns)), bias)


def _places_to_blocks(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A transposed convolution whose stride is its size, as one matrix product.

    images (batch, channels in, rows, columns), weight (channels in, channels out, block rows, block columns).
    """
    blocks = (weight.flatten(1).T @ images.flatten(2)).view(len(images), *weight.shape[1:], *images.shape[2:])
    return _shifted(blocks.permute(0, 1, 4, 2, 5, 3).flatten(4).flatten(2, 3), bias)


def _shifted(images: Tensor, bias: Tensor | None) -> Tensor:
    return images if bias is None else images.add_(bias[:, None, None])


class _OnImages:
    """A convolution of (batch, channels, frames, bins), channels last. rectified: it ends in a rectifier."""

    def __init__(self, convolution: Convolution, rectified: bool) -> None:
        self._convolution, self.rectified = convolution, rectified

    def __call__(self, image: Tensor) -> Tensor:
        return self._convolution(image.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _same(values: Tensor) -> Tensor:
    return values


def _rectified(nodes: Sequence[onnx.NodeProto]) -> set[str]:
    """The values that nothing but rectifiers reads."""
    by_others = {name for node in nodes if node.op_type != "Relu" for name in node.input}
    return {node.input[0] for node in nodes if node.op_type == "Relu"} - by_others


def _fuse(operations: Sequence[_Operation]) -> list[_Operation]:
    """Let rectifiers work in place on what only they read, and do nothing after a convolution that rectifies."""
    readers = Counter(name for operation in operations for name in operation.inputs)
    done = {o.output for o in operations if o.kind == "RectifiedConv"}
    own = {o.output for o in operations if o.kind not in ("Identity", "Relu") and readers[o.output] == 1}
    result = []
    for operation in operations:
        if operation.kind == "Relu" and operation.inputs[0] in done:
            operation = replace(operation, function=_same)
        elif operation.kind == "Relu" and operation.inputs[0] in own:
            operation = replace(operation, function=torch.relu_)
        result.append(operation)
    return result


def _transpose_outside(operations: Sequence[_Operation]) -> list[_Operation]:
    """Move the transposes next to the first and last layer to where there are four channels instead of dozens.

    A pointwise convolution and a rectifier do not see the order of frames and bins, so they may change places with
    it.
    """
    result = list(operations)
    if [o.kind for o in result[:3]] == ["PointwiseConv", "Relu", "Transpose"]:
        result[1:3] = _swapped(*result[1:3])
        result[0:2] = _swapped(*result[0:2])
    if [o.kind for o in result[-2:]] == ["Transpose", "PointwiseConv"]:
        result[-2:] = _swapped(*result[-2:])
    return result


def _swapped(first: _Operation, second: _Operation) -> tuple[_Operation, _Operation]:
    """Two operations in the other order; only the second reads the first."""
    return replace(second, inputs=first.inputs, output=first.output), replace(
        first, inputs=second.inputs, output=second.output
    )


def _with_last_uses(operations: Sequence[_Operation], kept: str) -> list[_Operation]:
    """Note with each operation which values no later one reads, so that these can be freed."""
    seen = {kept}
    result = []
    for operation in reversed(operations):
        last = tuple(name for name in dict.fromkeys(operation.inputs) if name not in seen)
        seen.update(last)
        result.append(
            _Operation(operation.kind, operation.inputs, operation.output, operation.function, last)
        )
    return result[::-1]
