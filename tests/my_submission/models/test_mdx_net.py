"""An MDX-Net over a track equals the published schemes; its graph runs in torch as in ONNX Runtime."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from my_submission.models import ChunkModel
from my_submission.models.mdx_net import MdxNetModel, MdxNetParameters, Spectrogram
from my_submission.models.onnx_network import OnnxNetwork, UnsupportedGraph
from my_submission.models.precision import computing
from my_submission.runtime.pool import load_model
from my_submission.runtime.schedule import Schedule
from my_submission.weights import WeightsError
from tests.lower_precision import CPU, MARGIN_DB, agreement, autocast
from tests.my_submission.models.whole_tracks import (
    MANIFEST,
    PLAIN,
    assert_equal_to,
    assert_no_schedule_changes_anything,
    estimates,
)
from tests.random_checkpoints import SMALL_FRAMES, save_mdx_net

pytestmark = pytest.mark.processor

SPECTROGRAM = MdxNetParameters(n_fft=7680, dim_f=3072, dim_t=SMALL_FRAMES, hop=1024)
SMALL_MDX_NET = replace(MANIFEST.checkpoints["Kim_Vocal_1"], parameters=SPECTROGRAM)
READ = 1024 * (SMALL_FRAMES - 1)  # samples of a chunk with its margins; released networks have 256 frames


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_mdx_net(tmp_path_factory.mktemp("mdx") / "x.onnx", small=True, seed=0, dim_t=SMALL_FRAMES)


@pytest.fixture(scope="module")
def mdx_net(onnx_file: Path) -> ChunkModel:
    return load_model(SMALL_MDX_NET, onnx_file, CPU, torch.float32)


def published_mdx_scheme(model: ChunkModel, signal: Tensor) -> Tensor:
    """As the released code: n_fft/2 of padding at both ends, chunks of whole frames, n_fft/2 trimmed off."""
    trim, chunk_samples = 3840, READ
    kept = chunk_samples - 2 * trim
    missing = -signal.shape[-1] % kept
    padded = torch.nn.functional.pad(signal, (trim, trim + missing))
    parts = [
        model(padded[None, :, start : start + chunk_samples])[0, ..., trim:-trim]
        for start in range(0, signal.shape[-1], kept)
    ]
    return torch.cat(parts, dim=-1)[..., : signal.shape[-1]]


@pytest.mark.parametrize("samples", [1, READ - 7_680, READ - 7_679, 60_000])
def test_mdx_net_at_overlap_0_equals_the_published_scheme(samples: int, mdx_net: ChunkModel) -> None:
    signal = 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(samples))
    assert_equal_to(estimates(mdx_net, signal, PLAIN, 0.0), published_mdx_scheme(mdx_net, signal))


def uvr_scheme(onnx: Path, signal: Tensor, overlap: float, compensate: float) -> Tensor:
    """Ultimate Vocal Remover's MDX-Net from samples to samples, written from the description of its `demix`."""
    n_fft, hop, bins = SPECTROGRAM.n_fft, SPECTROGRAM.hop, SPECTROGRAM.dim_f
    session = onnxruntime.InferenceSession(str(onnx))
    window = torch.hann_window(n_fft)
    trim, samples = n_fft // 2, signal.shape[-1]
    inner = READ - 2 * trim
    padded = torch.nn.functional.pad(signal, (trim, inner + trim - samples % inner))
    total, divider = torch.zeros_like(padded), torch.zeros_like(padded)
    for start in range(0, padded.shape[-1], int((1 - overlap) * READ)):
        part = padded[:, start : start + READ]
        used = part.shape[-1]
        spectrum = torch.stft(
            torch.nn.functional.pad(part, (0, READ - used)), n_fft, hop, window=window, return_complex=True
        )
        planes = torch.stack([spectrum[0].real, spectrum[0].imag, spectrum[1].real, spectrum[1].imag])
        planes = planes[:, :bins].clone()
        planes[:, :3] *= 0
        (made,) = session.run(None, {"input": planes[None].numpy()})
        full = torch.zeros(4, n_fft // 2 + 1, planes.shape[-1])
        full[:, :bins] = torch.from_numpy(made[0])
        estimate = torch.istft(torch.complex(full[::2], full[1::2]), n_fft, hop, window=window, length=READ)
        weights = torch.from_numpy(np.hanning(used)).float() if overlap else torch.ones(used)
        total[:, start : start + used] += estimate[:, :used] * weights
        divider[:, start : start + used] += weights
    return compensate * (total / divider)[:, trim : trim + samples]


@pytest.mark.thorough
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("samples", [1, READ - 7_680, 60_000])
def test_mdx_net_in_the_form_of_uvr(
    samples: int, overlap: float, onnx_file: Path, mdx_net: ChunkModel
) -> None:
    """With its three options together; 110 dB is what a float32 STFT and another order of sums leave."""
    parameters = SPECTROGRAM.model_copy(update={"compensate": 1.035, "zero_low_bins": 3, "window": "hann"})
    model = load_model(replace(SMALL_MDX_NET, parameters=parameters), onnx_file, CPU, torch.float32)
    signal = 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(samples))
    made = estimates(model, signal, PLAIN, overlap)[0]
    assert agreement(made, uvr_scheme(onnx_file, signal, overlap, 1.035)) > 110
    assert agreement(made, estimates(mdx_net, signal, PLAIN, overlap)[0]) < 40


def test_mdx_net_with_overlap_has_no_clicks() -> None:
    """Where chunks that disagree meet, the blend moves over the whole overlap instead of jumping."""

    class Alternating:
        """Answers 0 and 1 in turn: any hard seam is a step of 1."""

        sources = ("vocals",)

        def __init__(self) -> None:
            released = MANIFEST.checkpoints["Kim_Vocal_1"].parameters
            assert isinstance(released, MdxNetParameters)
            self.geometry = MdxNetModel(torch.neg, (), released.spectrogram, CPU).geometry
            self.bytes_per_sample = 1
            self.calls = 0

        def __call__(self, chunks: Tensor) -> Tensor:
            self.calls += 1
            return torch.full((len(chunks), 1, *chunks.shape[1:]), float(self.calls % 2))

    signal = torch.ones(2, 700_000)
    jump = estimates(Alternating(), signal, PLAIN, 0.6).diff(dim=-1).abs().max()
    assert jump < 1e-4


def test_spectrogram_convention() -> None:
    """Channels are left real, left imaginary, right real, right imaginary; bins from dim_f on are dropped."""
    spectrogram = Spectrogram(n_fft=64, dim_f=16, dim_t=9, hop=16)
    time = torch.arange(spectrogram.samples)
    low = torch.cos(2 * torch.pi * 8 * time / 64)  # bin 8: kept
    high = torch.cos(2 * torch.pi * 20 * time / 64)  # bin 20: dropped
    parts = spectrogram.forward(torch.stack([low + high, torch.zeros_like(low)])[None])[0]
    assert parts.shape == (4, 16, 9)
    assert parts[0, :, 4].argmax() == 8
    assert parts[0, 8, 4] == pytest.approx(16, abs=1e-3)  # half the periodic Hann window's sum of 32
    assert parts[2:].abs().max() == 0
    back = spectrogram.inverse(parts[None])[0]
    torch.testing.assert_close(back[0, 48:-48], low[48:-48], rtol=0, atol=1e-4)


@pytest.mark.thorough
def test_the_schedule_changes_nothing(mdx_net: ChunkModel) -> None:
    assert_no_schedule_changes_anything(mdx_net, 3 * mdx_net.geometry.chunk_samples // 2)


def test_silent_chunks_are_not_run(mdx_net: ChunkModel) -> None:
    """MDX-Net answers silence with noise from its biases; digital silence must stay silence."""
    assert mdx_net(torch.zeros(1, 2, READ)).abs().max() > 0
    signal = torch.zeros(2, 80_000)
    assert estimates(mdx_net, signal, PLAIN, 0.25).abs().max() == 0
    signal[:, 70_000:] = 0.1
    result = estimates(mdx_net, signal, PLAIN, 0.25, Schedule(batch_size=2))
    assert result[..., :40_000].abs().max() == 0
    assert result[..., 70_000:].abs().max() > 0


@pytest.mark.thorough
def test_an_onnx_file_that_is_another_network(tmp_path: Path) -> None:
    path = save_mdx_net(tmp_path / "x.onnx", small=True, seed=0, dim_f=1024, dim_t=SMALL_FRAMES)
    with pytest.raises(WeightsError, match=r"x.onnx: expected an input of shape .*3072.*found .*1024"):
        load_model(SMALL_MDX_NET, path, CPU, torch.float32)


def test_a_file_that_is_no_onnx(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(WeightsError, match=r"x.onnx: ONNX Runtime cannot open it"):
        load_model(SMALL_MDX_NET, path, CPU, torch.float32)


@pytest.mark.thorough
@pytest.mark.lower_precision
def test_torch_runs_an_onnx_network_as_onnx_runtime_does(onnx_file: Path) -> None:
    network = OnnxNetwork(onnx_file, CPU, torch.float32)
    spectrograms = torch.randn(2, 4, 3072, SMALL_FRAMES, generator=torch.Generator().manual_seed(1))
    session = onnxruntime.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])
    expected = torch.from_numpy(session.run(None, {"input": spectrograms.numpy()})[0])
    with torch.inference_mode():
        assert_equal_to(network(spectrograms), expected)
        with computing(CPU, torch.bfloat16):
            lower = OnnxNetwork(onnx_file, CPU, torch.bfloat16)(spectrograms)
    assert not lower.equal(expected)
    assert agreement(expected, lower) > agreement(expected, autocast(network, spectrograms)) - MARGIN_DB
    assert network.input_shape[1:] == (4, 3072, SMALL_FRAMES)
    assert load_model(SMALL_MDX_NET, onnx_file, CPU, torch.bfloat16).geometry.margin_samples == 3840


class Forked(torch.nn.Module):
    """Convolutions of which one is read by a rectifier alone, one by two rectifiers, one by a sum as well."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.ModuleList(torch.nn.Conv2d(4, 4, 3, padding=1) for _ in range(5))

    def forward(self, values: Tensor) -> Tensor:
        first, alone, twice, shared, last = self.layers
        values = torch.relu(alone(first(values)))
        values = twice(values)
        values = torch.relu(values) + torch.relu(values)
        values = shared(values)
        output: Tensor = last(torch.relu(values) + values)
        return output


@pytest.mark.lower_precision
def test_a_convolution_rectifies_what_nothing_else_reads(tmp_path: Path) -> None:
    network, path = Forked().eval(), tmp_path / "forked.onnx"
    example = torch.randn(1, 4, 9, 8, generator=torch.Generator().manual_seed(1))
    torch.onnx.export(
        network, (example,), str(path), input_names=["input"], output_names=["output"], dynamo=False
    )
    lower = OnnxNetwork(path, CPU, torch.bfloat16)
    with torch.inference_mode():
        expected, found = network(example), lower(example)
    assert not found.equal(expected)
    assert agreement(expected, found) > agreement(expected, autocast(network, example)) - MARGIN_DB


class Strange(torch.nn.Module):
    """A network with an operator that no TFC-TDF U-Net has."""

    def forward(self, values: Tensor) -> Tensor:
        return torch.sin(values)


@pytest.mark.thorough
def test_an_onnx_graph_that_torch_cannot_run_runs_in_onnx_runtime(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x.onnx"
    example = torch.zeros(1, 4, 3072, SMALL_FRAMES)
    torch.onnx.export(
        Strange(), (example,), str(path), input_names=["input"], output_names=["output"], dynamo=False
    )
    with pytest.raises(UnsupportedGraph, match=r"x.onnx: operator Sin \(.*\): known: Conv, "):
        OnnxNetwork(path, CPU, torch.bfloat16)
    model = load_model(SMALL_MDX_NET, path, CPU, torch.bfloat16)
    assert "operator Sin" in caplog.text
    assert model(torch.ones(1, 2, READ)).isfinite().all()
