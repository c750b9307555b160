"""Our path over a track equals the public packages': `demucs.apply` and the published MDX-Net scheme."""

import copy
import functools
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from demucs.apply import BagOfModels, apply_model
from torch import Tensor

from my_submission.ensemble.engine import Ensemble
from my_submission.ensemble.preset import checkpoint_rows
from my_submission.ensemble.preset_reader import load_preset
from my_submission.models import ChunkModel
from my_submission.models.demucs import DemucsModel
from my_submission.models.demucs_file import load_torch
from my_submission.models.mdx_net import MdxNetModel, MdxNetParameters, Spectrogram
from my_submission.models.onnx_network import OnnxNetwork, UnsupportedGraph
from my_submission.models.precision import computing
from my_submission.runtime.devices import Precision
from my_submission.runtime.inference import estimate_track
from my_submission.runtime.pool import ModelPool, load_model
from my_submission.runtime.schedule import SEQUENTIAL, Schedule
from my_submission.signal.augment import Augmentation
from my_submission.signal.chunking import reader
from my_submission.weights import WeightsError, load_manifest
from tests.lower_precision import CPU, MARGIN_DB, agreement, autocast
from tests.random_checkpoints import SMALL_FRAMES, demucs_arguments, save_demucs, save_mdx_net
from tests.thinned import one_in

pytestmark = pytest.mark.processor

PLAIN = (Augmentation(),)
SOURCES = ("drums", "bass", "other", "vocals")
MANIFEST = load_manifest()


def estimates(
    model: ChunkModel,
    signal: Tensor,
    augmentations: tuple[Augmentation, ...],
    overlap: float,
    schedule: Schedule = SEQUENTIAL,
) -> Tensor:
    """The mean over augmentations of a whole track's estimates, (sources, channels, samples)."""
    total = torch.zeros(len(model.sources), *signal.shape)
    for augmentation in augmentations:
        pieces = estimate_track(model, reader(signal), signal.shape[-1], augmentation, overlap, schedule)
        for start, piece in pieces:
            total[..., start : start + piece.shape[-1]] += piece / len(augmentations)
    return total


def assert_equal_to(estimate: Tensor, expected: Tensor) -> None:
    """Within 1e-5 of the largest sample."""
    assert estimate.shape == expected.shape
    assert (estimate - expected).abs().max() <= 1e-5 * expected.abs().max()


@dataclass(frozen=True)
class Opened:
    """One small random checkpoint: its file, our model of it and demucs' own."""

    path: Path
    ours: ChunkModel
    theirs: torch.nn.Module


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Opened]:
    """Small checkpoints by name, each made and opened once."""
    folder = tmp_path_factory.mktemp("opened")

    @functools.cache
    def open_checkpoint(name: str) -> Opened:
        checkpoint = MANIFEST.checkpoints[name]
        path = save_demucs(name, folder / checkpoint.file, small=True, seed=0)
        ours = load_model(checkpoint, path, CPU, torch.float32)
        return Opened(path, ours, load_torch(path, checkpoint))

    return open_checkpoint


def lengths(name: str) -> list[int]:
    if name == "hdemucs_mmi":
        return [5, 100, 30_000]  # apply_model itself fails on fewer than 5
    return [1, 13_230, 35_001]  # chunks of 0.3 s are 13,230 samples


@pytest.mark.parametrize(
    (
        "name",
        "overlap",
    ),  # every overlap of the kind that fills short chunks up; a network's sources change nothing
    one_in(
        4,
        [
            *(("htdemucs", overlap) for overlap in (0.6, 0.0, 0.25)),
            *(("hdemucs_mmi", overlap) for overlap in (0.6, 0.0)),
            ("htdemucs_6s", 0.5),
            ("htdemucs", 0.5),
        ],
    ),
)
def test_demucs_equals_apply_model(
    name: str, overlap: float, opened: Callable[[str], Opened], noise: Tensor
) -> None:
    ours, theirs = opened(name).ours, opened(name).theirs
    if name == "hdemucs_mmi":
        # 44 s chunks would make one chunk of any test signal: a shorter segment for both sides.
        theirs = copy.deepcopy(theirs)
        theirs.segment = 0.3  # type: ignore[assignment]
        ours = type(ours)(copy.deepcopy(theirs), ours.sources, CPU, torch.float32)  # type: ignore[call-arg]
    for length in lengths(name):
        signal = noise[:, :length]
        expected = apply_model(theirs, signal[None], shifts=0, overlap=overlap)[0]
        assert_equal_to(estimates(ours, signal, PLAIN, overlap), expected)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("htdemucs", {"vocals"}),
        ("htdemucs", set(SOURCES)),
        ("htdemucs_6s", set(SOURCES)),
        ("hdemucs_mmi", {"bass", "other"}),
    ],
)
def test_sources_that_are_not_needed_are_not_computed(
    name: str, needed: set[str], opened: Callable[[str], Opened], noise: Tensor
) -> None:
    whole = opened(name).ours
    part = load_model(MANIFEST.checkpoints[name], opened(name).path, CPU, torch.float32, needed)
    assert part.sources == tuple(source for source in whole.sources if source in needed)
    chunk = noise[None, :, :13_230]
    expected = whole(chunk)[:, [whole.sources.index(source) for source in part.sources]]
    assert_equal_to(part(chunk), expected)


def test_sources_that_depend_on_each_other_are_all_computed() -> None:
    """Without complex channels a mask is filtered across the sources; a norm after the last layer is over all."""
    for change in ({"cac": False}, {"norm_starts": 0}):
        network_class, arguments = demucs_arguments("hdemucs_mmi", small=True)
        network = network_class(**{**arguments, **change})
        model = DemucsModel(network, tuple(arguments["sources"]), CPU, torch.float32, {"vocals"})
        assert len(model.sources) == 4


def test_hdemucs_takes_the_shortest_tracks(opened: Callable[[str], Opened], noise: Tensor) -> None:
    ours = opened("hdemucs_mmi").ours
    for samples in range(1, 7):
        result = estimates(ours, noise[:, :samples], PLAIN, 0.25)
        assert result.shape == (4, 2, samples)
        assert result.isfinite().all()


@pytest.mark.parametrize("offsets", one_in(3, [[22_050, 1], [0], [12_345, 22_049]]))
def test_shift_trick_equals_apply_model(
    offsets: tuple[int, ...], opened: Callable[[str], Opened], noise: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its offset is what remains of half a second after our delay."""
    ours, theirs = opened("htdemucs").ours, opened("htdemucs").theirs
    noise = noise[:, :20_000]
    drawn = iter(offsets)
    monkeypatch.setattr(random, "randint", lambda low, high: next(drawn))
    expected = apply_model(theirs, noise[None], shifts=len(offsets), overlap=0.25)[0]
    augmentations = tuple(Augmentation(1.0, 22_050 - offset) for offset in offsets)
    assert_equal_to(estimates(ours, noise, augmentations, 0.25), expected)


def test_polarity_is_the_half_difference(opened: Callable[[str], Opened], noise: Tensor) -> None:
    ours, theirs = opened("htdemucs").ours, opened("htdemucs").theirs
    noise = noise[:, :20_000]
    plain = apply_model(theirs, noise[None], shifts=0)[0]
    negated = apply_model(theirs, -noise[None], shifts=0)[0]
    assert (plain + negated).abs().max() > 1e-4 * plain.abs().max(), "a network is no odd function"
    both = estimates(ours, noise, (Augmentation(1.0), Augmentation(-1.0)), 0.25)
    # most of an estimate cancels here; the rounding errors that stay are those of the whole
    assert (both - 0.5 * (plain - negated)).abs().max() <= 1e-5 * plain.abs().max()
    assert_equal_to(estimates(ours, noise, (Augmentation(-1.0),), 0.25), -negated)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["htdemucs", "hdemucs_mmi"])
@pytest.mark.parametrize("suffix", [".th", ".safetensors"])
def test_both_file_formats_hold_the_same_network(
    name: str, suffix: str, tmp_path: Path, noise: Tensor
) -> None:
    checkpoint = MANIFEST.checkpoints[name]
    path = save_demucs(name, tmp_path / f"x{suffix}", small=True, seed=3)
    klass, kwargs = demucs_arguments(name, small=True)
    torch.manual_seed(3)
    network = klass(**kwargs)
    network.load_state_dict({key: value.half().float() for key, value in network.state_dict().items()})
    model = load_model(checkpoint, path, CPU, torch.float32)
    chunk = noise[None, :, : model.geometry.chunk_samples]
    with torch.no_grad():
        torch.testing.assert_close(model(chunk), network.eval()(chunk))


def test_bag_of_models_is_the_weighted_mean(tmp_path: Path, noise: Tensor) -> None:
    """A bag in a preset, from the manifest to the stems, against demucs' BagOfModels with the same weights."""
    noise = noise[:, :20_000]
    weights = [[1.0, 0.0, 2.0, 0.0], [0.0, 3.0, 1.0, 1.0]]
    sources = list(SOURCES)
    files = [save_demucs("htdemucs", tmp_path / f"{seed}.th", small=True, seed=seed) for seed in (1, 2)]
    rows = {
        f"expert{place}": {"architecture": "htdemucs", "sources": sources, "path": file.name}
        for place, file in enumerate(files)
    }
    bag = [
        {"checkpoint": name, "weights": {source: w for source, w in zip(sources, row, strict=True) if w}}
        for name, row in zip(rows, weights, strict=True)
    ]
    (tmp_path / "rows.yaml").write_text(yaml.safe_dump({"checkpoints": rows, "bags": {"mixed": bag}}))
    step = {"name": "all", "input": "mixture", "stems": sources, "members": [{"model": "mixed"}]}
    (tmp_path / "p.yaml").write_text(
        yaml.safe_dump({"track": "music", "manifest": "rows.yaml", "steps": [step]})
    )
    preset = load_preset(tmp_path / "p.yaml")
    checkpoints = checkpoint_rows(preset)
    paths = {row.name: row.path for row in checkpoints if row.path is not None}
    stems = Ensemble(preset, ModelPool(checkpoints, paths, Precision(CPU, torch.float32))).separate(noise)
    networks = [load_torch(paths[row.name], row) for row in checkpoints]
    expected = apply_model(BagOfModels(networks, weights), noise[None], shifts=0)[0]
    assert_equal_to(torch.stack([stems[source] for source in sources]), expected)


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
@pytest.mark.parametrize("name", ["htdemucs", "hdemucs_mmi", "Kim_Vocal_1"])
def test_the_schedule_changes_nothing(
    name: str, mdx_net: ChunkModel, opened: Callable[[str], Opened]
) -> None:
    model = mdx_net if name == "Kim_Vocal_1" else opened(name).ours
    samples = 3 * model.geometry.chunk_samples // 2 if name != "hdemucs_mmi" else 20_000
    signal = 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(5))
    one = estimates(model, signal, PLAIN, 0.5)
    for schedule in (Schedule(batch_size=2), Schedule(batch_size=64), Schedule(workers=3), Schedule(2, 2)):
        assert_equal_to(estimates(model, signal, PLAIN, 0.5, schedule), one)


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
