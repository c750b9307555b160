"""BSRNN is what is published of it: compared with a second implementation, in `band_split_rnn.py`."""

import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from my_submission import SeparationModel
from my_submission.models.bsrnn.bands import BandSplitChunks
from my_submission.models.bsrnn.port import BsrnnParameters
from my_submission.models.bsrnn.reproduction import ObsrnnParameters
from my_submission.models.waveforms import WaveformModel
from my_submission.runtime.pool import load_model
from my_submission.schema import validate
from my_submission.signal.chunking import plan_chunks
from my_submission.weights import Checkpoint, ManifestError, UnsafeFile, load_manifest
from tests.lower_precision import CPU, agreement
from tests.my_submission.models import band_split_rnn
from tests.random_checkpoints import write_small_kit
from tests.small_networks import NETWORKS, random_network, saved, small_row
from tests.thinned import one_in

pytestmark = pytest.mark.processor

PORTS = ["bsrnn", "bsrnn-crlandsc"]
PUBLISHED = [row for row in load_manifest().checkpoints.values() if row.architecture in ("bsrnn", "obsrnn")]


def noise(samples: int) -> Tensor:
    return 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(samples))


def written_out(row: Checkpoint, track: Tensor, **changes: Any) -> Tensor:
    """A row's estimates (sources, 2, samples) by the second implementation, with `random_network`'s weights."""
    state, layout = random_network(row).state_dict(), row.parameters.model_dump()
    if isinstance(row.parameters, BsrnnParameters):
        bands = band_split_rnn.bands_below_edges(layout["bandsplits"], layout["n_fft"])
        order = {"transposed": row.parameters.transposed, **changes}
        return band_split_rnn.port(state, track, layout, bands, **order)[None]
    bands = band_split_rnn.bands_of_widths(layout["bandsplits"], layout["n_fft"])
    return band_split_rnn.reproduction(state, track, layout, bands, len(row.sources))


def opened(row: Checkpoint) -> WaveformModel:
    """From the row's file, which is made here."""
    model = load_model(row, saved(row), CPU, torch.float32)
    assert isinstance(model, WaveformModel)
    return model


@pytest.mark.thorough
@pytest.mark.parametrize("name", [name for name, (kind, _, _) in NETWORKS.items() if "bsrnn" in kind])
def test_a_chunk_is_the_second_implementation(name: str, tmp_path: Path) -> None:
    """Above 100 dB of the double precision; 130 to 134 dB are usual."""
    row = small_row(name, tmp_path / "x.ckpt")
    model = opened(row)
    track = noise(model.geometry.chunk_samples)
    assert agreement(written_out(row, track), model(track[None])[0]) > 100


@pytest.mark.thorough
@pytest.mark.parametrize("name", PORTS)
def test_the_ports_differ_by_their_transpose(name: str, tmp_path: Path) -> None:
    """One port's weights in the other's order give noise: -4 and -2 dB."""
    row = small_row(name, tmp_path / "x.ckpt")
    assert isinstance(row.parameters, BsrnnParameters)
    model = opened(row)
    track = noise(model.geometry.chunk_samples)
    other = written_out(row, track, transposed=not row.parameters.transposed)
    assert agreement(other, model(track[None])[0]) < 10


@pytest.mark.thorough
def test_a_short_track_is_run_as_it_is(tmp_path: Path) -> None:
    """The reproduction's norms are over the frames that there are, so zeros around a track would change it."""
    row = small_row("obsrnn-simo", tmp_path / "x.ckpt")
    model = opened(row)
    (chunk,) = plan_chunks(1_234, model.geometry, overlap=0.0)
    assert (chunk.read_start, chunk.read_length) == (0, 1_234)
    track = noise(1_234)
    assert agreement(written_out(row, track), model(track[None])[0]) > 100


def with_parameters(row: Checkpoint, **changes: Any) -> Checkpoint:
    assert row.parameters is not None
    return replace(row, parameters=row.parameters.model_copy(update=changes))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("bsrnn_amanteur_vocals", 2),
        ("bsrnn_crlandsc_bass", 2),
        ("bsrnn_large_vocals", 2),
        ("obsrnn_drums", 12),
        ("obsrnn-simo", 2),
    ],
)
def test_the_published_sizes_are_the_second_implementation(name: str, depth: int) -> None:
    """With all layers of one and the first two of the others, on 3 s or, where the chunk may be shorter, half of one:
    above 90 dB of the double precision; 128 dB are usual."""
    row = load_manifest().checkpoints[name]
    layers = {"num_layers" if row.architecture == "bsrnn" else "num_repeat": depth}
    cut = with_parameters(row, **layers)
    assert isinstance(cut.parameters, BandSplitChunks)
    fixed = isinstance(cut.parameters, BsrnnParameters)
    track = noise(cut.parameters.chunk_samples if fixed else 22_050)
    with torch.inference_mode():
        assert agreement(written_out(cut, track), random_network(cut)(track[None])[0]) > 90


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: row.name)
def test_bands_of_published_rows(row: Checkpoint) -> None:
    """As many as the paper's schemes have; the reproduction of all targets has those of its own joint scheme."""
    assert isinstance(row.parameters, BandSplitChunks)
    same = band_split_rnn.bands_below_edges if row.architecture == "bsrnn" else band_split_rnn.bands_of_widths
    expected = same(row.parameters.bandsplits, row.parameters.n_fft)
    assert row.parameters.widths() == tuple(map(len, expected))
    count = {"vocals": 41, "other": 41, "bass": 30, "drums": 55}
    assert len(expected) == (57 if len(row.sources) == 4 else count[row.sources[0]])


@pytest.mark.parametrize(
    ("change", "message"),
    one_in(
        3,
        [
            (
                {"num_layers": 3, "rnn_dim": 16},
                "its manifest row says rnn_dim 16, num_layers 3; the file has 12, 2",
            ),
            ({"chunk_samples": 3_200}, "its manifest row says frames 26; the file has 25"),
            (
                {"bandsplits": [[20_000, 4_000]]},
                r"its manifest row says band widths \(47, .*; the file has \(3, 3, ",
            ),
        ],
    ),
)
def test_a_file_of_another_size_says_in_what_it_differs(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    row = small_row("bsrnn", tmp_path / "x.ckpt")
    path = saved(row)
    parameters = validate(BsrnnParameters, {**NETWORKS["bsrnn"][2], **change}, "row", ManifestError)
    with pytest.raises(UnsafeFile, match=message):
        load_model(replace(row, parameters=parameters), path, CPU, torch.float32)


def test_a_reproduction_of_another_size_says_in_what_it_differs(tmp_path: Path) -> None:
    row = small_row("obsrnn", tmp_path / "x.ckpt")
    path = saved(row)
    changes = {"fac_tac": 3, "n_att_head": 2, "attn_enc_dim": 3, "fac_sep": 1}
    message = "says fac_sep 1, fac_tac 3, n_att_head 2, attn_enc_dim 3; the file has 2, 0, 0, 0"
    with pytest.raises(UnsafeFile, match=message):
        load_model(with_parameters(row, **changes), path, CPU, torch.float32)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("bsrnn", {"chunk_samples": 3_000}, "chunk_samples: expected a multiple of hop, 128, found 3000"),
        (
            "bsrnn",
            {"bandsplits": [[1_000, 300]]},
            "bandsplits: expected whole bands of 300 Hz from 0 to 1000 Hz",
        ),
        (
            "bsrnn",
            {"bandsplits": [[900, 300], [900, 100]]},
            "bandsplits: expected whole bands of 100 Hz from 900",
        ),
        (
            "bsrnn",
            {"bandsplits": [[23_000, 1_000]]},
            "bandsplits: expected frequencies below 22050 Hz, found 23000",
        ),
        (
            "bsrnn",
            {"bandsplits": [[20_000, 1]]},
            "bandsplits: expected at least one of the 257 bins in each band",
        ),
        (
            "obsrnn",
            {"bandsplits": [[1_000, 50]]},
            "bandsplits: expected at least one of the 257 bins in each band",
        ),
        ("obsrnn", {"bandsplits": [[1_000]]}, "bandsplits: expected a list of pairs"),
        ("obsrnn", {"n_fft": 511}, "n_fft: expected an even number, found 511"),
        ("obsrnn", {"n_att_head": 3}, "n_att_head: expected a divisor of feature_dim, 8, found 3"),
        (
            "obsrnn",
            {"attn_enc_dim": 0},
            "attn_enc_dim: expected it above 0 with n_att_head, and 0 without, found 0",
        ),
    ],
)
def test_rows_that_describe_no_network(kind: str, change: dict[str, Any], message: str) -> None:
    name, parameters = ("bsrnn", BsrnnParameters) if kind == "bsrnn" else ("obsrnn-simo", ObsrnnParameters)
    with pytest.raises(ManifestError, match=message):
        validate(parameters, {**NETWORKS[name][2], **change}, "row", ManifestError)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["bsrnn-crlandsc", "obsrnn"])
def test_files_of_the_training_framework(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With windows, which are the transform's; with settings of OmegaConf's classes, of which nothing is made; and
    with a state of the optimiser."""
    row = small_row(name, tmp_path / "x.ckpt")
    assert row.path is not None
    state = random_network(row).state_dict()
    window = torch.hann_window(512)
    if row.architecture == "bsrnn":
        state = {f"model.{key}": value for key, value in state.items()}
        state.update({"featurizer.window": window, "inverse_featurizer.window": window})
    else:
        state.update({"stft.transf.window": window, "istft.transf.window": window})
    module = types.ModuleType("omegaconf.dictconfig")
    settings = type("DictConfig", (), {"__module__": module.__name__})
    vars(module)["DictConfig"] = settings
    package = types.ModuleType("omegaconf")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "omegaconf", package)
        patch.setitem(sys.modules, module.__name__, module)
        kept = settings()
        vars(kept).update(_content={"lr": 1e-3}, _metadata={"object_type": dict, "element_type": Any})
        optimiser = {"ema": tuple(state.values()), "decay": 0.9999}
        file = {"state_dict": state, "hyper_parameters": {"cfg": kept}, "hparams_type": settings}
        torch.save({**file, "optimizer_states": [optimiser]}, row.path)
    model = load_model(row, row.path, CPU, torch.float32)
    track = noise(model.geometry.chunk_samples)
    assert agreement(random_network(row)(track[None]), model(track[None])) > 120


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["bsrnn-crlandsc", "obsrnn-simo"])
def test_presets_run_whole_and_with_all_their_economies(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_small_kit(tmp_path, [preset])
    monkeypatch.setattr("my_submission.weights.manifest.MANIFEST", folder / "manifest.yaml")
    for fast in (False, True):
        model = SeparationModel(preset=preset, weights_dir=folder, device="cpu", precision="fp32", fast=fast)
        stems, _ = model.separate_music_file(noise(8_000).T.numpy(), 44_100)
        assert sorted(stems) == ["bass", "drums", "other", "vocals"]
        assert all(stem.shape == (8_000, 2) and np.isfinite(stem).all() for stem in stems.values())
        assert all(stem.std() > 1e-4 for stem in stems.values())
