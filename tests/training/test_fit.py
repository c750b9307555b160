"""Training: a few steps of each kind in the true layouts, resumed, exported, loaded, and used to separate."""

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml

from my_submission.runtime.inference import estimate_track
from my_submission.runtime.pool import load_model
from my_submission.signal.augment import Augmentation
from my_submission.signal.chunking import reader
from my_submission.weights.manifest import read_manifests
from training import curves
from training.__main__ import main
from training.config import ConfigError, OptimisationSettings, parse_config
from training.data import find_tracks
from training.export import export_run, load_run
from training.fit import fit, initial_network, learning_rate
from training.losses import spectral_error, waveform_loss
from training.state import Average, load_state
from training.validation import HeldOutTrack, separate, trivial_scores

KINDS = ["htdemucs", "mdx_net", "scnet", "bs_roformer", "mel_band_roformer"]


def with_steps(document: dict[str, Any], steps: int, **further: Any) -> dict[str, Any]:
    return {**document, "optimisation": {**document["optimisation"], "steps": steps, **further}}


@pytest.mark.parametrize(
    "kind",
    [
        "mdx_net",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("htdemucs", "scnet", "bs_roformer")),
    ],
)
def test_a_resumed_run_ends_where_an_unbroken_one_does(
    kind: str, documents: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Path] = []
    monkeypatch.setattr(curves, "draw", drawn.append)
    config = parse_config(documents[kind])
    fit(config, tmp_path / "unbroken")
    fit(config, tmp_path / "broken", minutes=0)  # one step
    first = load_state(tmp_path / "broken")
    assert first is not None
    assert first.step == 1
    fit(config, tmp_path / "broken")
    one, two = load_state(tmp_path / "unbroken"), load_state(tmp_path / "broken")
    assert one is not None
    assert two is not None
    assert one.step == two.step == 6
    for key, value in one.weights.items():
        assert torch.equal(value, two.weights[key]), key
    for key, value in one.average.items():
        assert torch.equal(value, two.average[key]), key
    rows = [curves.read_rows(tmp_path / name / curves.VALIDATION_FILE) for name in ("unbroken", "broken")]
    assert [row["step"] for row in rows[0]] == [3, 6]
    for row, other in zip(*rows, strict=True):
        assert {**row, "seconds": 0} == {**other, "seconds": 0}
    assert drawn == [tmp_path / "unbroken"] * 2 + [tmp_path / "broken"] * 2


@pytest.mark.thorough
def test_a_run_leaves_a_picture_of_its_curves(documents: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    fit(parse_config(with_steps(documents["mdx_net"], 3)), tmp_path)
    assert (tmp_path / curves.PICTURE_FILE).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_run_separates_as_the_network_itself(
    kind: str, documents: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    config = parse_config(with_steps(documents[kind], 2))
    fit(config, tmp_path / "run")
    row = export_run(tmp_path / "run", tmp_path / "weights")
    manifest = tmp_path / "weights" / "manifest.yaml"
    manifest.write_text(yaml.safe_dump({"checkpoints": yaml.safe_load(row)}))
    checkpoint = read_manifests(manifest).checkpoints[config.name]
    assert checkpoint.sources == config.model.sources
    device = torch.device("cpu")
    exported = tmp_path / "weights" / checkpoint.file
    assert exported.stat().st_mode == manifest.stat().st_mode  # a container's user reads it, too
    loaded = load_model(checkpoint, exported, device, torch.float32)
    _, network, step = load_run(tmp_path / "run")
    assert step == 2
    track = find_tracks(config.data[0], config.data[0].valid)[0]
    mixture = track.read("vocals", 0, 15_000)
    expected = separate(config.model.chunk_model(network, device), mixture, overlap=0.25)
    pieces = estimate_track(loaded, reader(torch.from_numpy(mixture)), 15_000, Augmentation(), overlap=0.25)
    estimates = torch.cat([piece for _, piece in pieces], dim=-1).numpy()
    assert estimates.shape == (len(checkpoint.sources), 2, 15_000)
    for source, estimate in zip(checkpoint.sources, estimates, strict=True):
        np.testing.assert_allclose(estimate, expected[source], atol=2e-3 * np.abs(mixture).max())


@pytest.mark.slow
def test_training_lowers_the_loss(documents: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """A lone tone is to come out as it went in, which the network can learn in a few steps."""
    folder = tmp_path / "music" / "train" / "001"
    folder.mkdir(parents=True)
    tone = 0.2 * np.sin(2 * np.pi * 300 * np.arange(22_050) / 44_100)
    soundfile.write(folder / "vocals.wav", tone, 44_100)
    document = with_steps(documents["htdemucs"], 60)
    document["model"] = {**document["model"], "sources": ["vocals"]}
    only = {
        "root": str(tmp_path / "music"),
        "train": "train",
        "valid": "train",
        "stems": {"vocals": "vocals"},
    }
    document |= {"data": [only], "augmentation": {"drop_share": 0.0}}
    document |= {"validation": {"every": 60}, "checkpoint_every": 60}
    fit(parse_config(document), tmp_path / "run")
    losses = [row["loss"] for row in curves.read_rows(tmp_path / "run" / curves.TRAINING_FILE)]
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.slow
@pytest.mark.processor
def test_bfloat16_and_another_loss_train_as_well(
    documents: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    for kind in KINDS:
        further = {"precision": "bf16", "loss": "mse", "channels_last": kind == "mdx_net"}
        fit(parse_config(with_steps(documents[kind], 2, **further)), tmp_path / kind)
        state = load_state(tmp_path / kind)
        assert state is not None
        assert all(value.dtype != torch.bfloat16 for value in state.weights.values())


@pytest.mark.thorough
def test_a_terminated_run_saves_its_state(documents: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    config = parse_config(with_steps(documents["mdx_net"], 100_000))
    timer = threading.Timer(1.5, signal.raise_signal, [signal.SIGTERM])
    timer.start()
    fit(config, tmp_path)
    timer.join()
    state = load_state(tmp_path)
    assert state is not None
    assert 0 < state.step < 100_000


@pytest.mark.thorough
def test_a_run_of_another_model_is_not_continued(
    documents: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    fit(parse_config(with_steps(documents["mdx_net"], 1)), tmp_path)
    with pytest.raises(ConfigError, match="has a run of another model"):
        fit(parse_config(documents["htdemucs"]), tmp_path)


@pytest.mark.thorough
def test_a_run_starts_from_another_ones_weights(documents: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """With other sources, the output layers alone are fresh."""
    document = with_steps(documents["htdemucs"], 1)
    fit(parse_config(document), tmp_path / "run")
    _, trained, _ = load_run(tmp_path / "run")
    document["start_run"] = str(tmp_path / "run")
    torch.testing.assert_close(initial_network(parse_config(document)).state_dict(), trained.state_dict())
    fewer = initial_network(
        parse_config({**document, "model": {**document["model"], "sources": ["bass", "drums"]}})
    )
    same = [
        key
        for key, value in fewer.state_dict().items()
        if torch.equal(value, trained.state_dict()[key][: len(value)])
    ]
    assert len(fewer.state_dict()) - 4 <= len(same) < len(fewer.state_dict())
    arguments = {**document["model"]["arguments"], "rewrite": False}
    with pytest.raises(ConfigError, match="another architecture"):
        initial_network(parse_config({**document, "model": {**document["model"], "arguments": arguments}}))


@pytest.mark.thorough
def test_a_run_starts_from_a_checkpoint_of_the_manifest(
    documents: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = with_steps(documents["htdemucs"], 1)
    fit(parse_config(document), tmp_path / "run")
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(
        yaml.safe_dump({"checkpoints": yaml.safe_load(export_run(tmp_path / "run", tmp_path))})
    )
    monkeypatch.setattr("training.fit.load_manifest", lambda: read_manifests(manifest))
    network = initial_network(parse_config({**document, "start_checkpoint": document["name"]}))
    _, trained, _ = load_run(tmp_path / "run")
    torch.testing.assert_close(network.state_dict(), trained.state_dict(), atol=1e-3, rtol=1e-3)
    with pytest.raises(ConfigError, match="start_checkpoint: found 'other'; allowed: tiny-htdemucs"):
        initial_network(parse_config({**document, "start_checkpoint": "other"}))


def test_learning_rate_rises_then_follows_a_cosine() -> None:
    settings = OptimisationSettings(steps=110, batch=1, learning_rate=1.0, warmup_steps=10, final_share=0.1)
    assert learning_rate(settings, 0) == pytest.approx(0.1)
    assert learning_rate(settings, 10) == pytest.approx(1.0)
    assert learning_rate(settings, 60) == pytest.approx(0.55)
    assert learning_rate(settings, 110) == pytest.approx(0.1)
    assert learning_rate(settings, 200) == pytest.approx(0.1)


def test_relative_loss_does_not_depend_on_loudness() -> None:
    """Half the error of silence, at any level; the plain losses follow it."""
    mixtures = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 2, 1000)))
    references = mixtures[:, None]
    for level in (1.0, 0.1):
        signals = level * mixtures, level * references, 0.5 * level * references
        assert waveform_loss("relative_l1", *signals).item() == pytest.approx(0.5, rel=0.02)
        assert waveform_loss("l1", *signals).item() == pytest.approx(
            0.5 * level * mixtures.abs().mean().item()
        )
        assert waveform_loss("mse", *signals).item() == pytest.approx(
            0.25 * level**2 * mixtures.square().mean().item()
        )


def test_the_root_is_of_each_examples_and_sources_error() -> None:
    """As in SCNet's training, whose error of spectra is that of waveforms but for a factor (Parseval)."""
    references = torch.zeros(2, 2, 2, 100)
    estimates = torch.tensor([[0.1, 0.2], [0.3, 0.0]])[:, :, None, None] * torch.ones(2, 2, 2, 100)
    estimates.requires_grad_()
    loss = waveform_loss("rmse", torch.zeros(2, 2, 100), references, estimates)
    assert loss.item() == pytest.approx((0.1 + 0.2 + 0.3) / 4, rel=1e-4)
    (gradient,) = torch.autograd.grad(loss, estimates)
    assert gradient.isfinite().all()


@pytest.mark.thorough
def test_the_spectral_error_of_a_constant_is_that_of_its_windows() -> None:
    """The spectrum of an offset is that of the window. The error is proportional, and counts each source alone."""
    samples = 40 * 4096
    difference = torch.ones(1, 2, 2, samples) * torch.tensor([1.0, 0.25])[None, :, None, None]
    errors = spectral_error(difference)
    torch.testing.assert_close(errors[0, 1], errors[0, 0] / 4)
    expected = 0.0
    for window in (4096, 2048, 1024, 512, 256):
        padded = torch.zeros(max(window, 2048))
        padded[:window] = torch.hann_window(window)
        expected += torch.fft.rfft(padded).abs().mean().item()
    assert errors[0, 0].item() == pytest.approx(expected, rel=0.02)


@pytest.mark.thorough
def test_weights_decay_only_when_asked(documents: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """AdamW's step is Adam's, and lr·decay of each weight besides."""
    networks = []
    for decay in (0.0, 0.5):
        document = with_steps(
            documents["bs_roformer"], 1, weight_decay=decay, learning_rate=0.1, warmup_steps=0
        )
        fit(parse_config(document), tmp_path / str(decay))
        state = load_state(tmp_path / str(decay))
        assert state is not None
        networks.append(state.weights)
    before = dict(initial_network(parse_config(document)).named_parameters())
    for key, value in before.items():
        torch.testing.assert_close(networks[0][key] - networks[1][key], 0.1 * 0.5 * value.detach())


@pytest.mark.parametrize("kind", ["l1", "mse", "rmse", "relative_l1", "spectral_l1"])
def test_the_loss_is_the_weighted_mean_of_the_sources_losses(kind: str) -> None:
    random = torch.Generator().manual_seed(0)
    references = torch.randn(3, 2, 2, 4000, generator=random)
    estimates = torch.randn(3, 2, 2, 4000, generator=random)
    mixtures = references.sum(dim=1)
    first, second = (
        waveform_loss(kind, mixtures, references[:, [source]], estimates[:, [source]]) for source in (0, 1)
    )
    weighted = waveform_loss(kind, mixtures, references, estimates, torch.tensor([3.0, 1.0]))
    torch.testing.assert_close(weighted, (3 * first + second) / 4)
    equal = waveform_loss(kind, mixtures, references, estimates, torch.tensor([2.0, 2.0]))
    torch.testing.assert_close(equal, waveform_loss(kind, mixtures, references, estimates))


def test_the_average_follows_the_weights(documents: dict[str, dict[str, Any]]) -> None:
    network = parse_config(documents["mdx_net"]).model.build()
    average = Average(network, decay=0.9)
    before = {key: value.clone() for key, value in average.weights.items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    average.update(network, step=1000)
    for key, _ in network.named_parameters():
        torch.testing.assert_close(average.weights[key], before[key] + 0.1)


def test_trivial_scores_of_equal_independent_stems() -> None:
    """n independent stems of equal power: mixture as estimate −10 log₁₀(n − 1) dB, mixture/n 10 log₁₀(n/(n − 1))."""
    random = np.random.default_rng(0)
    stems = {name: random.standard_normal((2, 200_000)).astype(np.float32) for name in ("a", "b", "c", "d")}
    scores = trivial_scores([HeldOutTrack("x", np.sum(list(stems.values()), axis=0), stems)], ["a", "c"])
    assert scores["mixture"]["x/a"] == pytest.approx(-4.77, abs=0.1)
    assert scores["mixture/n"]["x/c"] == pytest.approx(1.25, abs=0.1)


def test_the_command_line_reports_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml: cannot be read" in capsys.readouterr().err
    assert main(["export", str(tmp_path)]) == 2
    for minutes in ("nan", "0", "soon"):
        with pytest.raises(SystemExit):
            main(["fit", "demo-scnet-4stem", "--minutes", minutes])
    assert "has no saved run" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_train_one_network(documents: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """Under torchrun both processes end, and one of them writes the run."""
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(documents["mdx_net"]))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "training", "fit", str(path), "--folder", str(tmp_path / "run")]
    subprocess.run(command, check=True, timeout=300)
    state = load_state(tmp_path / "run")
    assert state is not None
    assert state.step == 6


@pytest.mark.thorough
def test_a_folder_that_cannot_be_written_is_said(
    documents: dict[str, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(parse_config(with_steps(documents["mdx_net"], 1)), tmp_path / "run")
    taken = tmp_path / "a file"
    taken.touch()
    assert main(["export", str(tmp_path / "run"), "--to", str(taken)]) == 2
    assert f"error: {taken}: File exists" in capsys.readouterr().err


@pytest.mark.thorough
def test_a_run_that_does_not_converge_says_so(documents: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    document = documents["mdx_net"]
    document["optimisation"] |= {"learning_rate": 1e30, "warmup_steps": 0}
    with pytest.raises(
        ConfigError, match=r"^optimisation.learning_rate: at step \d the gradient's norm is nan"
    ):
        fit(parse_config(document), tmp_path / "run")


def test_what_makes_no_network_is_said(documents: dict[str, dict[str, Any]]) -> None:
    document = documents["htdemucs"]
    document["model"]["arguments"] = {**document["model"]["arguments"], "channels": 0}
    with pytest.raises(ConfigError, match=r"^model: no network can be made as configured: .*greater than 0"):
        initial_network(parse_config(document))
