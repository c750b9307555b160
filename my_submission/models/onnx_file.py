"""ONNX files as the untrusted input that they are: what a graph may hold before anything computes with it.

A network that separates is a list of layers: each reads what was made before it, none decides what runs, and the
graph tells how large every value is. A graph with loops, or one that asks for values of any stated size, is none.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from my_submission.plain_files import read_regular
from my_submission.schema import brief
from my_submission.weights import UnsafeFile
from my_submission.weights.errors import first_sentence
from my_submission.weights.limits import MOST_TENSORS, file_bytes

LARGEST_GRAPH_BYTES = 2 << 30
"""What its format can hold."""
MOST_NODES = 10_000
MOST_VALUES = 1 << 28
"""In any tensor of the graph, for a batch of one: 1 GiB in float32, seven times the largest of the published ones."""
_SMALL_BYTES = 1024
"""Constants up to this size may say how large another value is."""

# Operators whose output is as large as some value says.
_SIZING = frozenset(
    [
        "AffineGrid",
        "BlackmanWindow",
        "CenterCropPad",
        "Col2Im",
        "ConstantOfShape",
        "DFT",
        "Expand",
        "HammingWindow",
        "HannWindow",
        "MaxUnpool",
        "MelWeightMatrix",
        "OneHot",
        "Pad",
        "RandomNormal",
        "RandomUniform",
        "Range",
        "Resize",
        "STFT",
        "Tile",
        "Upsample",
    ]
)
_HOLDING_GRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
_SPARSE = (onnx.AttributeProto.SPARSE_TENSOR, onnx.AttributeProto.SPARSE_TENSORS)


def read_model(path: Path) -> Any:
    """The `onnx.ModelProto` of a file whose nodes come in order; files that it names are not opened.

    Raises UnsafeFile (a WeightsError) for anything else, FileNotFoundError.
    """
    size = file_bytes(path)
    if size > LARGEST_GRAPH_BYTES:
        raise UnsafeFile(f"{path} has {size:,} bytes, expected at most {LARGEST_GRAPH_BYTES:,}")
    try:
        model = onnx.load_model_from_string(read_regular(path, LARGEST_GRAPH_BYTES))
    except Exception as error:  # protobuf's DecodeError derives from Exception alone
        raise UnsafeFile(
            f"{path}: ONNX Runtime cannot open it, since it is no ONNX file: {first_sentence(error)}"
        ) from error
    _check_order(path, model.graph)
    return model


def check_model(path: Path) -> None:
    """Refuse a graph that no network needs, in a file that no hash vouches for. Raises as `read_model` does."""
    model = read_model(path)
    if model.functions or model.training_info or model.graph.sparse_initializer:
        raise UnsafeFile(
            f"{path}: expected a graph of layers alone, found functions, sparse tensors or training"
        )
    if len(model.graph.initializer) > MOST_TENSORS:
        raise UnsafeFile(
            f"{path}: has {len(model.graph.initializer):,} tensors, expected at most {MOST_TENSORS:,}"
        )
    for node in model.graph.node:
        _check_node(path, node)
    for tensor in _tensors(model.graph):
        _check_tensor(path, tensor)
    _check_sizes(path, model)


def _check_order(path: Path, graph: Any) -> None:
    """Every node reads only what was there before it, and makes what was not: so there is no cycle.

    The format demands that order; a network has one input and one output.
    """
    if len(graph.node) > MOST_NODES:
        raise UnsafeFile(f"{path}: has {len(graph.node):,} nodes, expected at most {MOST_NODES:,}")
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise UnsafeFile(
            f"{path}: expected one input and one output, found {len(inputs)} and {len(graph.output)}"
        )
    for value in (*graph.input, *graph.output):
        kind = value.type.tensor_type.elem_type
        if value.name not in constants and kind != onnx.TensorProto.FLOAT:
            raise UnsafeFile(f"{path}: {brief(value.name)}: expected float32, found ONNX's kind {kind}")
    known = {"", *constants, *inputs}  # the empty name stands for an input that is left out
    for node in graph.node:
        for name in node.input:
            if name not in known:
                raise UnsafeFile(
                    f"{path}: {_name(node)} reads {brief(name)}, which nothing before it makes (a cycle?)"
                )
        for name in node.output:
            if name in known and name:
                raise UnsafeFile(f"{path}: {_name(node)} makes {brief(name)} once more")
            known.add(name)
        if not node.output or not node.output[0]:
            raise UnsafeFile(f"{path}: {_name(node)} makes nothing")
    if graph.output[0].name not in known:
        raise UnsafeFile(f"{path}: nothing makes the output {brief(graph.output[0].name)}")


def _check_node(path: Path, node: Any) -> None:
    for attribute in node.attribute:
        if attribute.type in _HOLDING_GRAPHS or attribute.HasField("g") or attribute.graphs:
            raise UnsafeFile(f"{path}: {_name(node)} runs another graph, as loops do; expected layers alone")
        if attribute.type in _SPARSE:
            raise UnsafeFile(f"{path}: {_name(node)} has a sparse tensor")
        if not all(map(math.isfinite, (attribute.f, *attribute.floats))):
            raise UnsafeFile(f"{path}: {_name(node)}: expected finite numbers, found NaN or infinity")


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _check_tensor(path: Path, tensor: Any) -> None:
    where = f"{path}: tensor {brief(tensor.name)}"
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise UnsafeFile(f"{where}: its values are in another file, expected them in this one")
    try:
        values = numpy_helper.to_array(tensor)
    except Exception as error:  # whatever numpy raises for values that do not fit the stated shape
        raise UnsafeFile(f"{where}: {first_sentence(error)}") from error
    kind = helper.tensor_dtype_to_string(tensor.data_type)
    if values.dtype.kind in "OSUc":
        raise UnsafeFile(f"{where}: expected numbers, found {kind}")
    if values.dtype.kind not in "biu" and not _finite(values.astype(np.float32, copy=False)):
        raise UnsafeFile(f"{where}: expected finite numbers, found NaN or infinity")


def _finite(values: np.ndarray[Any, Any]) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum())) or bool(np.isfinite(values).all())


def _check_sizes(path: Path, model: Any) -> None:
    """Refuse a graph that states values of any size: its shapes are followed, and nothing is computed."""
    try:
        inferred = onnx.shape_inference.infer_shapes(_without_weights(model), data_prop=True).graph
    except Exception as error:  # the library's own errors, which have no common class
        raise UnsafeFile(f"{path}: the shapes of its values do not fit: {first_sentence(error)}") from error
    shapes = {
        value.name: _shape(value) for value in (*inferred.value_info, *inferred.input, *inferred.output)
    }
    for name, shape in shapes.items():
        axes = [axis for axis in shape or () if axis is not None]
        if any(axis < 0 for axis in axes) or math.prod(axes) > MOST_VALUES:
            raise UnsafeFile(
                f"{path}: {brief(name)} has the shape {brief(tuple(axes))},"
                f" expected at most {MOST_VALUES:,} values"
            )
    for node in model.graph.node:
        if node.op_type in _SIZING and any(None in (shapes.get(name) or (None,)) for name in node.output):
            raise UnsafeFile(
                f"{path}: {_name(node)} makes a value whose size cannot be told from the graph; expected layers alone"
            )
    given, made = (shapes[value.name] for value in (inferred.input[0], inferred.output[0]))
    if given is None or (made is not None and None not in made and None not in given and made != given):
        raise UnsafeFile(f"{path}: expected an output of the input's shape {given}, found {made}")


def _shape(value: Any) -> tuple[int | None, ...] | None:
    """The axes of a value, None for one that is not known; None for a value of which nothing is known."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(axis.dim_value if axis.HasField("dim_value") else None for axis in tensor.shape.dim)


def _without_weights(model: Any) -> Any:
    """The same graph for a batch of one, with large constants as inputs, of which only the shape counts."""
    light = onnx.ModelProto(ir_version=model.ir_version)
    light.opset_import.extend(model.opset_import)
    graph = light.graph
    graph.name = "shapes"
    graph.node.extend(model.graph.node)
    constants = {tensor.name for tensor in model.graph.initializer}
    graph.input.extend(value for value in model.graph.input if value.name not in constants)
    axes = graph.input[0].type.tensor_type.shape.dim
    if axes:
        axes[0].dim_value = 1
    output = graph.output.add(
        name=model.graph.output[0].name
    )  # its shape as it is made, and not as it is stated
    output.type.tensor_type.elem_type = model.graph.output[0].type.tensor_type.elem_type
    for tensor in model.graph.initializer:
        if tensor.ByteSize() <= _SMALL_BYTES:
            graph.initializer.append(tensor)
        else:
            graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
    return light


def _name(node: Any) -> str:
    return f"the node {brief(node.name or 'unnamed')} ({brief(node.op_type)})"
