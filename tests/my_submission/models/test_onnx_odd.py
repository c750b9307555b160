# ruff: noqa: E501, one graph a line is a table
"""Odd ONNX files: a network is a list of layers of known sizes, and whatever else a graph is, is one sentence."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from my_submission.models import mdx_net, onnx_file
from my_submission.models.mdx_net import MdxNetParameters
from my_submission.models.onnx_file import check_model, read_model
from my_submission.models.onnx_network import OnnxNetwork
from my_submission.runtime.pool import load_model
from my_submission.schema import validate
from my_submission.weights import WeightsError, load_manifest
from tests.random_checkpoints import save_mdx_net

CPU = torch.device("cpu")
FRAMES, BINS = 32, 256
SHAPE = ["batch", 4, BINS, FRAMES]
SPECTROGRAM: dict[str, Any] = {"n_fft": 2048, "dim_f": BINS, "dim_t": FRAMES, "hop": 1024}
ROW = replace(
    load_manifest().checkpoints["Kim_Vocal_1"],
    sha256=None, bytes=None, parameters=MdxNetParameters(**SPECTROGRAM),
)  # fmt: skip

node = helper.make_node
RELU = node("Relu", ["input"], ["output"])


def value(name: str, shape: Sequence[Any] | None = SHAPE, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name: str, values: Any) -> Any:
    return numpy_helper.from_array(np.asarray(values), name)


def sizes(name: str, *values: int) -> Any:
    return constant(name, np.array(values, np.int64))


def model(*nodes: Any, constants: Sequence[Any] = (), **changes: Any) -> Any:
    """A graph from `input` to `output`."""
    inputs, outputs = changes.get("inputs", [value("input")]), changes.get("outputs", [value("output")])
    graph = helper.make_graph(list(nodes), "g", inputs, outputs, list(constants))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", changes.get("opset", 17))])
    made.ir_version = 8
    return made


def ending(*nodes: Any, constants: Sequence[Any] = ()) -> Any:
    """A graph that adds the mean of `k`, which the nodes make, to its input."""
    mean, add = node("ReduceMean", ["k"], ["m"], keepdims=0), node("Add", ["input", "m"], ["output"])
    return model(*nodes, mean, add, constants=constants)


def weights(**changes: Any) -> Any:
    """A tensor `w` with these fields."""
    tensor = TensorProto(name="w", data_type=changes.get("kind", TensorProto.FLOAT))
    tensor.dims.extend(changes.get("dims", [1]))
    tensor.raw_data = changes.get("data", b"\0" * 4)
    return tensor


def adding(tensor: Any) -> Any:
    return model(node("Add", ["input", "w"], ["output"]), constants=[tensor])


def elsewhere(location: str) -> Any:
    tensor = weights(data=b"")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    tensor.external_data.add(key="length", value=str(10**12))
    return adding(tensor)


def loop(times: int) -> Any:
    kinds = [value("i", [], TensorProto.INT64), value("going", [], TensorProto.BOOL), value("x")]
    body = helper.make_graph(
        [node("Identity", ["going"], ["go_on"]), node("Relu", ["x"], ["y"])],
        "body", kinds, [value("go_on", [], TensorProto.BOOL), value("y")],
    )  # fmt: skip
    return model(
        node("Loop", ["times", "true", "input"], ["output"], body=body),
        constants=[sizes("times", times), constant("true", np.array(True))],
    )


def branch() -> Any:
    one = helper.make_graph([node("Identity", ["input"], ["o"])], "one", [], [value("o")])
    return model(
        node("If", ["true"], ["output"], then_branch=one, else_branch=one),
        constants=[constant("true", np.array(True))],
    )


def with_function() -> Any:
    made, body = model(RELU), [node("Relu", ["a"], ["b"])]
    made.functions.append(helper.make_function("d", "F", ["a"], ["b"], body, [helper.make_opsetid("", 17)]))
    return made


def with_sparse() -> Any:
    made = model(RELU)
    sparse = made.graph.sparse_initializer.add()
    sparse.values.CopyFrom(constant("v", np.zeros(1, np.float32)))
    sparse.indices.CopyFrom(sizes("i", 0))
    sparse.dims.extend([10**12])
    return made


def doublings(count: int) -> Any:
    nodes = [node("Concat", [f"x{i}", f"x{i}"], [f"x{i + 1}"], axis=1) for i in range(count)]
    return ending(node("Identity", ["input"], ["x0"]), *nodes, node("Identity", [f"x{count}"], ["k"]))


UNIT = constant("w", np.zeros((4, 4, 1, 1), np.float32))
TOO_LARGE = r"has the shape \(.*\), expected at most 268,435,456 values"

ODD: dict[str, tuple[Callable[[], Any], str]] = {
    # what comes from where
    "cycle": (lambda: model(node("Add", ["input", "y"], ["x"]), node("Relu", ["x"], ["y"]), node("Identity", ["y"], ["output"])), "reads 'y', which nothing before it makes"),
    "self": (lambda: model(node("Add", ["input", "output"], ["output"])), "reads 'output', which nothing before it"),
    "own input": (lambda: model(node("Add", ["x", "x"], ["x"]), RELU), "reads 'x', which nothing before it makes"),
    "order": (lambda: model(node("Relu", ["x"], ["output"]), node("Relu", ["input"], ["x"])), "reads 'x', which nothing"),
    "twice": (lambda: model(RELU, RELU), "makes 'output' once more"),
    "over input": (lambda: model(node("Relu", ["input"], ["input"]), RELU), "makes 'input' once more"),
    "nothing": (lambda: model(), "nothing makes the output 'output'"),
    "no output": (lambda: model(node("Relu", ["input"], [])), "makes nothing"),
    "two inputs": (lambda: model(node("Add", ["input", "b"], ["output"]), inputs=[value("input"), value("b")]), "expected one input and one output, found 2 and 1"),
    "no outputs": (lambda: model(RELU, outputs=[]), "found 1 and 0"),
    "control characters": (lambda: model(node("Relu", ["\x1b[2J" * 300], ["output"])), "reads '.x1b"),
    "many": (lambda: model(*[node("Relu", [f"x{i}" if i else "input"], [f"x{i + 1}"]) for i in range(10_001)]), "has 10,001 nodes, expected at most 10,000"),
    # what runs
    "loop": (lambda: loop(2**62), r"\('Loop'\) runs another graph, as loops do"),
    "short loop": (lambda: loop(1), "runs another graph, as loops do"),
    "branch": (branch, r"\('If'\) runs another graph"),
    "function": (with_function, "found functions, sparse tensors or training"),
    "sparse": (with_sparse, "found functions, sparse tensors or training"),
    "unknown": (lambda: model(node("None", ["input"], ["output"])), "No Op registered|cannot open it"),
    "domain": (lambda: model(node("X", ["input"], ["output"], domain="d")), "shapes of its values do not fit|cannot open it"),
    "opset": (lambda: model(RELU, opset=10**9), "cannot open it"),
    "kind": (lambda: model(node("Identity", ["input"], ["output"]), inputs=[value("input", SHAPE, TensorProto.INT64)], outputs=[value("output", SHAPE, TensorProto.INT64)]), "'input': expected float32"),
    # tensors
    "file": (lambda: elsewhere("/etc/passwd"), "tensor 'w': its values are in another file"),
    "above": (lambda: elsewhere("../../x"), "tensor 'w': its values are in another file"),
    "beside": (lambda: elsewhere("x.onnx"), "tensor 'w': its values are in another file"),
    "large": (lambda: adding(weights(dims=[10**6, 10**6])), "tensor 'w': cannot reshape"),
    "larger": (lambda: adding(weights(dims=[2**62, 2**62])), "tensor 'w': "),
    "short": (lambda: adding(weights(dims=[4])), "tensor 'w': cannot reshape"),
    "long": (lambda: adding(weights(data=b"\0" * 8)), "tensor 'w': cannot reshape"),
    "no kind": (lambda: adding(weights(kind=99)), "tensor 'w': "),
    "text": (lambda: adding(constant("w", np.array(["a"], dtype=object))), "expected numbers, found TensorProto.STRING"),
    "complex": (lambda: adding(constant("w", np.array([1j], np.complex64))), "found TensorProto.COMPLEX64"),
    "nan": (lambda: adding(constant("w", np.array([np.nan], np.float32))), "expected finite numbers, found NaN or infinity"),
    "half": (lambda: adding(constant("w", np.array([np.inf], np.float16))), "expected finite numbers"),
    "nan among many": (lambda: adding(constant("w", np.where(np.arange(FRAMES) == 5, np.nan, 0).astype(np.float32))), "expected finite numbers"),
    "nan in a node": (lambda: model(node("Constant", [], ["w"], value=constant("v", np.array([np.nan], np.float32))), node("Add", ["input", "w"], ["output"])), "tensor 'v': expected finite numbers"),
    "nan as attribute": (lambda: model(node("Constant", [], ["w"], value_float=float("nan")), node("Add", ["input", "w"], ["output"])), "expected finite numbers"),
    # sizes
    "constant of shape": (lambda: ending(node("ConstantOfShape", ["s"], ["k"]), constants=[sizes("s", 10**6, 10**6)]), TOO_LARGE),
    "computed shape": (lambda: ending(node("Mul", ["s", "s"], ["t"]), node("ConstantOfShape", ["t"], ["k"]), constants=[sizes("s", 10**4, 10**4)]), TOO_LARGE),
    "hidden shape": (lambda: ending(node("Pow", ["s", "s"], ["t"]), node("ConstantOfShape", ["t"], ["k"]), constants=[sizes("s", 12)]), "makes a value whose size cannot be told from the graph"),
    "expand": (lambda: ending(node("Expand", ["input", "s"], ["k"]), constants=[sizes("s", 10**6, 1, 1, 1, 1)]), TOO_LARGE),
    "tile": (lambda: ending(node("Tile", ["input", "s"], ["k"]), constants=[sizes("s", 10**6, 1, 1, 1)]), TOO_LARGE),
    "range": (lambda: model(node("Range", ["a", "z", "o"], ["k"]), node("ReduceMean", ["k"], ["m"], keepdims=0), node("Cast", ["m"], ["f"], to=1), node("Add", ["input", "f"], ["output"]), constants=[constant("a", np.int64(0)), constant("z", np.int64(10**13)), constant("o", np.int64(1))]), TOO_LARGE),
    "pad": (lambda: ending(node("Pad", ["input", "s"], ["k"]), constants=[sizes("s", 0, 0, 10**7, 10**7, 0, 0, 0, 0)]), TOO_LARGE),
    "resize": (lambda: ending(node("Resize", ["input", "", "s"], ["k"]), constants=[constant("s", np.array([1, 1, 1e5, 1e5], np.float32))]), TOO_LARGE),
    "one hot": (lambda: ending(node("Flatten", ["input"], ["f"]), node("Cast", ["f"], ["i"], to=7), node("OneHot", ["i", "d", "v"], ["k"]), constants=[sizes("d", 10**9), constant("v", np.array([0, 1], np.float32))]), TOO_LARGE),
    "gather": (lambda: ending(node("Gather", ["input", "i"], ["k"], axis=1), constants=[constant("i", np.zeros(10**6, np.int64))]), TOO_LARGE),
    "random": (lambda: ending(node("RandomNormal", [], ["k"], shape=[10**6, 10**6])), TOO_LARGE),
    "doubling": (lambda: doublings(40), TOO_LARGE),
    "outer sum": (lambda: ending(node("Reshape", ["input", "s"], ["c"]), node("Reshape", ["input", "t"], ["r"]), node("Add", ["c", "r"], ["k"]), constants=[sizes("s", -1, 1), sizes("t", 1, -1)]), TOO_LARGE),
    "padding": (lambda: ending(node("Conv", ["input", "w"], ["k"], pads=[10**8] * 4), constants=[UNIT]), TOO_LARGE),
    "strides": (lambda: ending(node("ConvTranspose", ["input", "w"], ["k"], strides=[10**6] * 2), constants=[UNIT]), TOO_LARGE),
    "hidden size": (lambda: model(node("Reshape", ["input", "s"], ["x"]), node("LSTM", ["x", "W", "R"], ["y"], hidden_size=10**9), RELU, constants=[sizes("s", 0, -1, 32), constant("W", np.zeros((1, 4, 32), np.float32)), constant("R", np.zeros((1, 4, 1), np.float32))]), TOO_LARGE),
    "another shape": (lambda: model(node("Transpose", ["input"], ["output"], perm=[0, 1, 3, 2])), "expected an output of the input's shape"),
    "axes": (lambda: model(node("Transpose", ["input"], ["output"], perm=[9] * 4)), "cannot open it|do not fit"),
    "stride 0": (lambda: model(node("Conv", ["input", "w"], ["output"], strides=[0, 0]), constants=[UNIT]), "cannot open it|do not fit"),
}  # fmt: skip


def refused(path: Path, complaint: str, open_it: Callable[[Path], object]) -> None:
    with pytest.raises(WeightsError, match=complaint) as caught:
        open_it(path)
    message = str(caught.value)
    assert str(path) in message
    assert message.isprintable()
    assert len(message) < 1_000


def opened(path: Path) -> object:
    """As a loader does, without a trial before it."""
    return mdx_net.load(ROW, path, CPU, torch.float32)


@pytest.mark.parametrize("name", list(ODD))
def test_odd_graphs(tmp_path: Path, name: str) -> None:
    make, complaint = ODD[name]
    path = tmp_path / "odd.onnx"
    path.write_bytes(make().SerializeToString())
    refused(path, complaint, opened)


def varint(number: int) -> bytes:
    return bytes([number & 127 | 128]) + varint(number >> 7) if number > 127 else bytes([number])


def graphs_within_graphs(depth: int) -> bytes:
    content = b""
    for _ in range(depth):
        for field in (0x32, 0x2A, 0x0A):  # a graph in an attribute in a node
            content = bytes([field]) + varint(len(content)) + content
    return b"\x3a" + varint(len(content)) + content


@pytest.mark.parametrize(
    "content",
    [b"", bytes(10_000), b"<html>", model(RELU).SerializeToString()[:-7], graphs_within_graphs(3_000)],
    ids=["empty", "zeros", "page", "cut", "deep"],
)
def test_files_that_are_no_graph(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.onnx"
    path.write_bytes(content)
    refused(path, "no ONNX file|expected one input", opened)
    refused(path, "no ONNX file|expected one input", lambda path: OnnxNetwork(path, CPU, torch.float32))


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_not_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "odd.onnx"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    for open_it in (opened, read_model, lambda path: load_model(ROW, path, CPU, torch.float32)):
        refused(path, r"odd\.onnx is a .*, expected a file", open_it)


def test_a_file_larger_than_the_format_allows(tmp_path: Path) -> None:
    path = tmp_path / "odd.onnx"
    with path.open("wb") as file:
        file.truncate(onnx_file.LARGEST_GRAPH_BYTES + 1)
    refused(path, "has 2,147,483,649 bytes, expected at most 2,147,483,648", opened)


@pytest.mark.slow
def test_what_computes_without_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime computes what depends on constants alone when it opens a file: no size tells how long that takes."""
    monkeypatch.setattr("my_submission.weights.trial.CPU_SECONDS", 2)
    ones = node("ConstantOfShape", ["s"], ["x0"], value=constant("v", np.ones(1, np.float32)))
    products = [node("MatMul", [f"x{i}", "x0"], [f"x{i + 1}"]) for i in range(200)]
    graph = ending(ones, *products, node("Identity", ["x200"], ["k"]), constants=[sizes("s", 4000, 4000)])
    path = tmp_path / "odd.onnx"
    path.write_bytes(graph.SerializeToString())
    check_model(path)
    complaint = "takes more than 2 s of processor time|needs more than"
    refused(path, complaint, lambda path: load_model(ROW, path, CPU, torch.float32))


@pytest.mark.thorough
def test_an_ordinary_network_passes(tmp_path: Path) -> None:
    path = save_mdx_net(tmp_path / "x.onnx", small=True, seed=0, dim_f=BINS, dim_t=FRAMES)
    check_model(path)
    assert load_model(ROW, path, CPU, torch.float32).sources == ROW.sources


def test_shapes_that_only_a_run_tells_are_an_error_then(tmp_path: Path) -> None:
    graph = model(node("Reshape", ["input", "s"], ["output"]), constants=[sizes("s", 10**9, 10**9, -1)])
    path = tmp_path / "odd.onnx"
    path.write_bytes(graph.SerializeToString())
    loaded = mdx_net.load(replace(ROW, sha256="0" * 64), path, CPU, torch.float32)
    noise = torch.zeros(1, 2, loaded.geometry.read_samples)
    with pytest.raises(WeightsError, match=r"odd\.onnx: ONNX Runtime cannot run it: ") as caught:
        loaded(noise)
    assert "\n" not in str(caught.value)


def test_torch_says_as_much(tmp_path: Path) -> None:
    wrong = constant("w", np.zeros((4, 7, 1, 1), np.float32))
    graph = model(node("Conv", ["input", "w"], ["output"]), constants=[wrong])
    path = tmp_path / "odd.onnx"
    path.write_bytes(graph.SerializeToString())
    network = OnnxNetwork(path, CPU, torch.float32)
    with pytest.raises(WeightsError, match=r"odd\.onnx: the graph cannot run on \(1, 4, 256, 32\): "):
        network(torch.zeros(1, 4, BINS, FRAMES))
    path.write_bytes(model(node("Conv", ["input"], ["output"])).SerializeToString())
    with pytest.raises(WeightsError, match="a node is not as its operator demands"):
        OnnxNetwork(path, CPU, torch.float32)


def test_a_value_that_many_ways_lead_to_is_looked_at_once(tmp_path: Path) -> None:
    """Sixty sums of a value and itself are 2⁶⁰ ways."""
    sums = [node("Add", [f"x{i}", f"x{i}"], [f"x{i + 1}"]) for i in range(60)]
    graph = model(node("Identity", ["input"], ["x0"]), *sums, node("Identity", ["x60"], ["output"]))
    path = tmp_path / "odd.onnx"
    path.write_bytes(graph.SerializeToString())
    assert OnnxNetwork(path, CPU, torch.bfloat16)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"n_fft": 10**12}, "n_fft: expected at most 65,536, found 1000000000000"),
        ({"n_fft": 0}, "n_fft: expected a whole number above 0"),
        ({"dim_f": 1026}, r"dim_f: expected at most n_fft/2 \+ 1, found 1026"),
        ({"hop": 4096}, "hop: expected at most n_fft, found 4096"),
        ({"dim_t": 1}, "dim_t: expected a chunk, hop · .dim_t − 1., longer than n_fft .* found 0"),
        ({"dim_t": 3}, "dim_t: expected a chunk, .* found 2048"),
        ({"dim_t": 10**9}, "dim_t: expected a chunk, .* of at most 26,460,000 samples"),
    ],
)
def test_spectrograms_that_no_network_reads(changes: dict[str, int], complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^x.yaml: {complaint}"):
        validate(MdxNetParameters, {**SPECTROGRAM, **changes}, "x.yaml", ValueError)
