"""Open-Unmix is its published formulas: written out here, and as the package `openunmix` computes them."""

import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from my_submission.ensemble.plan import needed_sources
from my_submission.ensemble.preset import checkpoint_rows
from my_submission.ensemble.preset_reader import load_preset
from my_submission.models import ChunkModel
from my_submission.models.open_unmix import OpenUnmix, OpenUnmixParameters
from my_submission.models.waveforms import WaveformModel
from my_submission.runtime.devices import Precision
from my_submission.runtime.inference import estimate_track
from my_submission.runtime.pool import ModelPool, load_model
from my_submission.signal.augment import Augmentation
from my_submission.signal.chunking import reader
from my_submission.weights import Checkpoint, WeightsError, load_manifest, require
from tests.lower_precision import CPU, agreement

pytestmark = pytest.mark.processor

STEMS = ("bass", "drums", "other", "vocals")
SMALL = OpenUnmixParameters(n_fft=512, hop=128, bins=100, hidden=32)
UNUSED = {"sample_rate": torch.tensor(44_100.0), "stft.window": torch.hann_window(512)}


def random_network(parameters: OpenUnmixParameters, seed: int) -> OpenUnmix:
    """Statistics and offsets of its layers included, and masks between zero and a few."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = OpenUnmix(parameters)
        for name, value in [*network.named_parameters(), *network.named_buffers()]:
            if name.endswith("num_batches_tracked"):
                continue
            if name.endswith(("var", "scale")):
                value.data.uniform_(0.5, 1.5)
            elif name.endswith("mean") or name.startswith("bn"):
                value.data.normal_(0.3, 0.3)
    return network.eval()


def row(path: Path, parameters: OpenUnmixParameters) -> Checkpoint:
    umxhq = load_manifest().checkpoints["umxhq_vocals"]
    return replace(umxhq, parameters=parameters, bytes=None, sha256=None, file=path.name)


def opened(folder: Path, network: OpenUnmix) -> WaveformModel:
    """From a file with what released ones hold besides the network."""
    path = folder / "vocals.pth"
    torch.save({**network.state_dict(), **UNUSED}, path)
    model = load_model(row(path, network.parameters_), path, CPU, torch.float32)
    assert isinstance(model, WaveformModel)
    return model


def estimate(model: WaveformModel, track: Tensor) -> Tensor:
    pieces = estimate_track(model, reader(track), track.shape[-1], Augmentation(), 0.0)
    return torch.cat([piece[0] for _, piece in pieces], dim=-1)


def noise(samples: int) -> Tensor:
    return 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(samples))


def lstm(state: dict[str, Tensor], layer: int, suffix: str, frames: Tensor) -> Tensor:
    """One direction of one layer, frame by frame: gates in torch's order, input, forget, cell, output."""
    weights = [
        state[f"lstm.{kind}_l{layer}{suffix}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
    outputs, hidden, cell = [], torch.zeros_like(weights[1][0]), torch.zeros_like(weights[1][0])
    for frame in frames.flip(0) if suffix else frames:
        gates = weights[0] @ frame + weights[2] + weights[1] @ hidden + weights[3]
        entry, forget, new, out = gates.chunk(4)
        cell = forget.sigmoid() * cell + entry.sigmoid() * new.tanh()
        hidden = out.sigmoid() * cell.tanh()
        outputs.append(hidden)
    return torch.stack(outputs[::-1] if suffix else outputs)


def written_out(network: OpenUnmix, track: Tensor) -> Tensor:
    """The whole network and its transform in double precision, from the package's description."""
    state = {name: value.double() for name, value in network.state_dict().items()}
    parameters = network.parameters_
    window = torch.hann_window(parameters.n_fft, dtype=torch.float64)
    spectrum = torch.stft(
        track.double(), parameters.n_fft, parameters.hop, window=window, center=True, pad_mode="reflect",
        return_complex=True,
    )  # fmt: skip
    magnitudes = spectrum.abs().permute(2, 0, 1)  # (frames, channels, bins)

    def normed(name: str, values: Tensor) -> Tensor:
        centred = (values - state[f"{name}.running_mean"]) / (state[f"{name}.running_var"] + 1e-5) ** 0.5
        return torch.addcmul(state[f"{name}.bias"], centred, state[f"{name}.weight"])

    seen = (magnitudes[..., : parameters.bins] + state["input_mean"]) * state["input_scale"]
    hidden = normed("bn1", seen.flatten(1) @ state["fc1.weight"].T).tanh()
    recurrent = hidden
    for layer in range(3):
        recurrent = torch.cat([lstm(state, layer, suffix, recurrent) for suffix in ("", "_reverse")], dim=-1)
    both = torch.cat([hidden, recurrent], dim=-1)
    dense = normed("bn2", both @ state["fc2.weight"].T).relu()
    made = normed("bn3", dense @ state["fc3.weight"].T).reshape(magnitudes.shape)
    made = (made * state["output_scale"] + state["output_mean"]).relu() * magnitudes
    turned = torch.polar(made.permute(1, 2, 0), spectrum.angle())
    waves: Tensor = torch.istft(
        turned, parameters.n_fft, parameters.hop, window=window, length=track.shape[-1]
    )
    return waves


@pytest.mark.thorough
@pytest.mark.parametrize("samples", [300, 600, 10_000, 44_100])
def test_an_estimate_is_the_published_formulas(samples: int, tmp_path: Path) -> None:
    """A track shorter than a chunk; above 100 dB of the double precision."""
    network = random_network(SMALL, seed=0)
    track = noise(samples)
    made = estimate(opened(tmp_path, network), track)
    assert agreement(written_out(network, track), made) > 100


@pytest.fixture(scope="module")
def package() -> Any:
    """`openunmix`, which imports torchaudio and needs none of it here."""
    pytest.importorskip("numpy")
    with pytest.MonkeyPatch.context() as patch:
        if "torchaudio" not in sys.modules:
            stub = types.ModuleType("torchaudio")
            patch.setitem(sys.modules, "torchaudio", stub)
        yield pytest.importorskip("openunmix.model", reason="the reference package openunmix is not here")


@pytest.mark.thorough
@pytest.mark.parametrize(
    "parameters", [SMALL, OpenUnmixParameters(n_fft=4096, hop=1024, bins=1487, hidden=512)]
)
def test_an_estimate_is_that_of_the_package(
    parameters: OpenUnmixParameters, package: Any, tmp_path: Path
) -> None:
    """Its `Separator` without the Wiener filter, at a small and at the true size, to 1e-5 of the largest sample."""
    network = random_network(parameters, seed=1)
    bins = parameters.n_fft // 2 + 1
    theirs = package.OpenUnmix(bins, 2, parameters.hidden, max_bin=parameters.bins)
    theirs.load_state_dict(network.state_dict())
    separator = package.Separator({"vocals": theirs}, niter=0, n_fft=parameters.n_fft, n_hop=parameters.hop)
    track = noise(100_000)
    with torch.inference_mode():
        expected = separator.eval()(track[None])[0, 0]
    made = estimate(opened(tmp_path, network), track)
    assert (made - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.thorough
def test_a_long_track_in_chunks_is_nearly_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sample is estimated with at least a margin of context; what lies beyond reaches it through the recurrent
    layers only, and hardly: random weights forget within it."""
    track = noise(128 * 700)
    network = random_network(SMALL, seed=2)
    whole = estimate(opened(tmp_path, network), track)
    monkeypatch.setattr("my_submission.models.open_unmix.BLOCK_FRAMES", 20)
    monkeypatch.setattr("my_submission.models.open_unmix.CHUNK_BLOCKS", 10)
    model = opened(tmp_path, network)
    assert model.geometry.chunk_samples == 200 * 128
    assert agreement(whole, estimate(model, track)) > 80


def joined(folder: Path, networks: list[OpenUnmix], iterations: int) -> ChunkModel:
    """From files and a manifest with a row of all, by the pool of a preset."""
    parameters = networks[0].parameters_.model_dump(exclude={"iterations"})
    rows: dict[str, Any] = {}
    for stem, network in zip(STEMS, networks, strict=True):
        torch.save({**network.state_dict(), **UNUSED}, folder / f"{stem}.pth")
        row = {"architecture": "open_unmix", "sources": [stem], "parameters": parameters}
        rows[f"my_{stem}"] = {**row, "path": f"{stem}.pth"}
    rows["my_all"] = {
        "architecture": "open_unmix",
        "sources": list(STEMS),
        "parameters": {**parameters, "iterations": iterations},
        "parts": list(rows),
    }
    (folder / "rows.yaml").write_text(yaml.safe_dump({"checkpoints": rows}))
    step = {"name": "all", "input": "mixture", "stems": list(STEMS), "members": [{"model": "my_all"}]}
    document = {"manifest": "rows.yaml", "stems": list(STEMS), "steps": [step]}
    (folder / "mine.yaml").write_text(yaml.safe_dump(document))
    preset = load_preset(folder / "mine.yaml")
    paths = require(checkpoint_rows(preset))
    assert sorted(paths) == sorted(f"my_{stem}" for stem in STEMS)
    pool = ModelPool(checkpoint_rows(preset), paths, Precision(CPU, torch.float32), needed_sources(preset))
    return pool.get("my_all")


def all_estimates(model: ChunkModel, track: Tensor) -> Tensor:
    pieces = estimate_track(model, reader(track), track.shape[-1], Augmentation(), 0.0)
    return torch.cat([piece for _, piece in pieces], dim=-1)


@pytest.mark.slow
def test_all_targets_with_the_filter_are_those_of_the_package(package: Any, tmp_path: Path) -> None:
    """Its `Separator` on 703 frames, so on blocks of 300, 300 and 103, to 1e-5 of the largest sample."""
    networks = [random_network(SMALL, seed) for seed in range(4)]
    theirs = {}
    for stem, network in zip(STEMS, networks, strict=True):
        theirs[stem] = package.OpenUnmix(257, 2, SMALL.hidden, max_bin=SMALL.bins)
        theirs[stem].load_state_dict(network.state_dict())
    separator = package.Separator(theirs, niter=2, n_fft=SMALL.n_fft, n_hop=SMALL.hop)
    track = noise(90_000)
    with torch.inference_mode():
        expected = separator.eval()(track[None])[0]
    made = all_estimates(joined(tmp_path, networks, 2), track)
    assert (made - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.slow
def test_all_targets_without_the_filter_are_each_by_itself(tmp_path: Path) -> None:
    networks = [random_network(SMALL, seed) for seed in range(4)]
    track = noise(30_000)
    made = all_estimates(joined(tmp_path, networks, 0), track)
    alone = torch.stack([estimate(opened(tmp_path, network), track) for network in networks])
    assert agreement(alone, made) > 100


@pytest.mark.slow
def test_all_targets_in_chunks_are_nearly_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks lie as in the whole track, whichever chunk they are in; the one beside a chunk begins where the
    transform mirrors, which two of its frames feel, here of 20."""
    networks = [random_network(SMALL, seed) for seed in range(4)]
    track = noise(128 * 700)
    monkeypatch.setattr("my_submission.models.open_unmix.BLOCK_FRAMES", 20)
    monkeypatch.setattr("my_submission.models.open_unmix.CHUNK_BLOCKS", 1_000)
    whole = all_estimates(joined(tmp_path, networks, 1), track)
    monkeypatch.setattr("my_submission.models.open_unmix.CHUNK_BLOCKS", 10)
    assert agreement(whole, all_estimates(joined(tmp_path, networks, 1), track)) > 60


@pytest.mark.thorough
@pytest.mark.parametrize("samples", [1, 100, 512, 513])
def test_tracks_shorter_than_a_window_have_estimates(samples: int, tmp_path: Path) -> None:
    made = estimate(opened(tmp_path, random_network(SMALL, seed=3)), noise(samples))
    assert made.shape == (2, samples)
    assert made.isfinite().all()


@pytest.mark.thorough
def test_a_file_of_another_size_says_in_what_it_differs(tmp_path: Path) -> None:
    path = tmp_path / "vocals.pth"
    torch.save(random_network(SMALL, seed=4).state_dict(), path)
    other = SMALL.model_copy(update={"hidden": 64, "bins": 90})
    with pytest.raises(WeightsError, match=r"its manifest row says bins 90, hidden 64; the file has 100, 32"):
        load_model(row(path, other), path, CPU, torch.float32)
