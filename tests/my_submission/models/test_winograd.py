"""3×3 convolutions with fewer products give what the direct ones give."""

from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from my_submission.models import mdx_net, onnx_network, winograd
from my_submission.models.fused import GatedConvolution, Taps
from my_submission.models.onnx_network import OnnxNetwork
from my_submission.models.precision import computing
from my_submission.models.tfc_tdf import TfcTdfConfig, TfcTdfNet, export_onnx
from tests.lower_precision import agreement

pytestmark = pytest.mark.processor

CPU = torch.device("cpu")
CLOSE_DB = 100.0
"""One layer agrees to 128 dB; in bfloat16 it would be 50."""


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=[True, False], ids=["fewer", "direct"])
def fewer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the processor is said to be quicker so, which can only be true where NNPACK is."""
    said = bool(request.param) and winograd._available()
    monkeypatch.setattr(winograd, "quicker", lambda: said)
    return said


@pytest.mark.parametrize(
    ("batch", "before", "after", "rows", "columns"),
    [(1, 32, 48, 30, 36), (2, 40, 32, 23, 29), (1, 64, 32, 5, 131), (3, 32, 32, 520, 1), (1, 32, 32, 3, 3)],
)
@pytest.mark.parametrize("strip_bytes", [winograd.STRIP_BYTES, 1], ids=["whole", "in strips"])
def test_any_image_is_convolved_as_directly(
    batch: int,
    before: int,
    after: int,
    rows: int,
    columns: int,
    strip_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(winograd, "STRIP_BYTES", strip_bytes)
    if not winograd._available():
        assert not winograd.quicker()
        return
    images, weight, bias = randn(batch, before, rows, columns), randn(after, before, 3, 3), randn(after)
    for shift in (bias, None):
        exact = torch.conv2d(
            images.double(), weight.double(), None if shift is None else shift.double(), padding=1
        )
        found = winograd.convolve(images, weight, shift)
        assert found.shape == exact.shape
        assert found.is_contiguous()
        assert agreement(exact, found) > CLOSE_DB
    alone = [winograd.convolve(image[None], weight, bias) for image in images]
    together = winograd.convolve(images.contiguous(memory_format=torch.channels_last), weight, bias)
    assert torch.equal(torch.cat(alone), together)


@pytest.mark.parametrize(
    "settings",
    [
        {"padding": 0}, {"padding": "same"}, {"padding": (1, 0)}, {"stride": 2, "padding": 1},
        {"groups": 2, "padding": 1}, {"dilation": (1, 2), "padding": 1},
    ],
    ids=str,
)  # fmt: skip
def test_what_does_not_fit_is_left_to_torch(settings: dict[str, Any], fewer: bool) -> None:
    images, weight = randn(1, 64, 24, 30), randn(64, 64 // settings.get("groups", 1), 3, 3)
    with torch.inference_mode():
        expected = torch.conv2d(images, weight, **settings)
        with computing(CPU, torch.float32):
            assert torch.equal(nn.functional.conv2d(images, weight, **settings), expected)


def test_layers_within_the_context_take_fewer_products_unless_each_bit_counts(fewer: bool) -> None:
    layer, images = nn.Conv2d(32, 32, 3, padding=1), randn(1, 32, 24, 30)
    with torch.inference_mode():
        direct = layer(images)
        with computing(CPU, torch.float32, to_the_bit=True):
            assert torch.equal(layer(images), direct)
        with computing(CPU, torch.float32):
            found = layer(images)
        with computing(CPU, torch.float32):
            of_doubles = layer.double()(images.double())
    assert torch.equal(found, direct) == (not fewer)
    assert agreement(of_doubles, found) > CLOSE_DB


def test_a_gated_convolution_is_a_convolution_and_a_glu(fewer: bool) -> None:
    taps = Taps(randn(64, 32, 3, 3), randn(64), padding=(1, 1))
    for rows, columns in ((24, 30), (4, 5)):
        grid = randn(2, rows, columns, 32)
        gated = GatedConvolution(taps, torch.float32)(grid)
        assert gated.is_contiguous()
        wide = torch.conv2d(
            grid.permute(0, 3, 1, 2).double(), taps.weight.double(), taps.bias.double(), padding=1
        )
        assert agreement(nn.functional.glu(wide, dim=1).permute(0, 2, 3, 1), gated) > CLOSE_DB


@pytest.mark.parametrize(("rows", "columns"), [(8, 12), (9, 13)])
def test_convolutions_whose_stride_is_their_size_are_products(rows: int, columns: int) -> None:
    images, weight, bias = randn(2, 5, rows, columns), randn(7, 5, 2, 3), randn(7)
    expected = torch.conv2d(images, weight, bias, stride=(2, 3))
    assert agreement(expected, onnx_network._blocks_to_places(images, weight, bias)) > CLOSE_DB
    transposed, images = torch.conv_transpose2d, randn(2, 7, rows, columns)
    for shift in (randn(5), None):
        expected = transposed(images, weight, shift, stride=(2, 3))
        assert agreement(expected, onnx_network._places_to_blocks(images, weight, shift)) > CLOSE_DB


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Of a wide MDX-Net and a narrow one."""
    folder = tmp_path_factory.mktemp("graphs")
    torch.manual_seed(0)
    for growth in (32, 16):
        network = TfcTdfNet(TfcTdfConfig(64, blocks=3, convolutions=1, growth=growth))
        export_onnx(network.eval(), folder / f"{growth}.onnx", 64)
    return [folder / "32.onnx", folder / "16.onnx"]


def test_an_mdx_net_runs_where_it_takes_fewer_products(graphs: list[Path], fewer: bool) -> None:
    for path, in_torch in zip(graphs, (fewer, False), strict=True):
        spectrograms = randn(1, 4, 64, 64)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        (expected,) = session.run(None, {"input": spectrograms.numpy()})
        network, shape = mdx_net._open(path, CPU, torch.float32)
        assert isinstance(network, OnnxNetwork) == in_torch
        assert tuple(shape[1:]) == spectrograms.shape[1:]
        with torch.inference_mode(), computing(CPU, torch.float32):
            assert agreement(torch.from_numpy(expected), network(spectrograms)) > CLOSE_DB


@pytest.mark.parametrize(
    ("instructions", "in_two_steps", "quicker"),
    [("AVX2", False, True), ("AVX512", False, False), ("DEFAULT", True, False), ("AVX512", True, True)],
)
def test_it_is_the_kind_of_processor_that_decides(
    monkeypatch: pytest.MonkeyPatch, instructions: str, in_two_steps: bool, quicker: bool
) -> None:
    """A trial could end either way on one machine, and the last bits of all results with it."""
    monkeypatch.setattr(winograd, "_available", lambda: True)
    monkeypatch.setattr(winograd, "in_two_steps", lambda: in_two_steps)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: instructions)
    assert winograd.quicker.__wrapped__() == quicker


@pytest.mark.parametrize(
    ("vendor", "family", "expected"),
    [
        ("AuthenticAMD", 25, True),
        ("AuthenticAMD", 26, False),
        ("AuthenticAMD", 2, False),
        ("GenuineIntel", 25, False),
    ],
)
def test_what_the_system_says_of_the_processor(
    tmp_path: Path, vendor: str, family: int, expected: bool
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cores = (
        f"processor\t: {core}\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: 17\nflags\t: sse avx\n"
        for core in range(2)
    )
    cpuinfo.write_text("\n".join(cores))
    assert winograd.in_two_steps(cpuinfo) == expected


@pytest.mark.parametrize("text", [None, "", "\n\n", "Processor : ARMv8\nBogoMIPS : 50.0\n"])
def test_a_system_that_says_nothing_of_the_processor(tmp_path: Path, text: str | None) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    if text is not None:
        cpuinfo.write_text(text)
    assert not winograd.in_two_steps(cpuinfo)


def test_a_build_of_torch_without_nnpack_convolves_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch, "_nnpack_available")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: winograd.QUICKER_ON)
    assert not winograd.quicker.__wrapped__()
