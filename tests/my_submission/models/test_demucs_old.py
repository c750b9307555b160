"""Demucs over the waveform, versions one to three, against their own code: networks, chunks, files."""

import argparse
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from demucs.apply import apply_model
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from torch import Tensor

from my_submission.ensemble.engine import Ensemble
from my_submission.ensemble.plan import needed_sources
from my_submission.ensemble.preset import checkpoint_rows
from my_submission.ensemble.preset_reader import load_preset
from my_submission.models import ChunkModel
from my_submission.models.demucs_file import DemucsParameters, load_torch
from my_submission.models.demucs_v2 import DemucsV1, DemucsV2
from my_submission.runtime.devices import Precision
from my_submission.runtime.inference import estimate_track
from my_submission.runtime.pool import ModelPool, load_model
from my_submission.signal.augment import Augmentation
from my_submission.signal.chunking import reader
from my_submission.weights import Checkpoint, UnsafeFile, WeightsError, WrongContent, load_manifest
from tests.lower_precision import CPU, agreement
from tests.old_demucs import class_in_files, old_demucs, save_v1
from tests.random_checkpoints import demucs_package, write_small_kit

pytestmark = pytest.mark.processor

ROWS = load_manifest().checkpoints
SOURCES = ["drums", "bass", "other", "vocals"]
SEGMENT = 20_000


def row(name: str) -> Checkpoint:
    """A row whose file is another, of the same kind."""
    return replace(ROWS[name], sha256=None, bytes=None, parameters=DemucsParameters())


def louder(network: torch.nn.Module) -> torch.nn.Module:
    """With weights that carry a signal through to the end, which those at birth hardly do."""
    for parameter in network.parameters():
        parameter.data *= 1.7
    return network.eval()


def made(make: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return louder(make())


def estimates(model: ChunkModel, track: Tensor, overlap: float, segment_samples: int | None = None) -> Tensor:
    total = torch.full((len(model.sources), *track.shape), torch.nan)
    pieces = estimate_track(
        model, reader(track), track.shape[-1], Augmentation(), overlap, segment_samples=segment_samples
    )
    for start, piece in pieces:
        total[..., start : start + piece.shape[-1]] = piece
    return total


def opened_v2(folder: Path, theirs: torch.nn.Module, segment: float = SEGMENT / 44_100) -> ChunkModel:
    """From tensors alone."""
    torch.save(theirs.state_dict(), folder / "v2.th")
    own = replace(row("demucs_v2"), parameters=DemucsParameters(segment_seconds=segment))
    return load_model(own, folder / "v2.th", CPU, torch.float32)


@pytest.mark.thorough
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_the_second_version_is_its_own_code(overlap: float, tmp_path: Path, noise: Tensor) -> None:
    """The same bits: one sample, less than the least that it reads, one chunk, and several with a short last one."""
    modules = old_demucs()
    theirs = made(lambda: modules.v2.Demucs(SOURCES, channels=4, segment_length=SEGMENT))
    ours = opened_v2(tmp_path, theirs)
    for samples in (1, 500, 20_000, 43_003):
        track = noise[:, :samples]
        expected = modules.utils.apply_model_v2(theirs, track, split=True, overlap=overlap)
        assert agreement(expected, estimates(ours, track, overlap)) > 110


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["x.th", "x.th.gz"])
def test_the_first_version_is_its_own_code(name: str, tmp_path: Path, noise: Tensor) -> None:
    """The same bits, from a file as it wrote them; in segments that do not see each other, here of 10,000 samples."""
    modules = old_demucs()
    theirs = made(lambda: modules.v1.Demucs(channels=4))
    path = save_v1(tmp_path / name, {"channels": 4}, theirs.state_dict())
    own = replace(row("demucs_v1"), parameters=DemucsParameters(segment_seconds=10_000 / 44_100))
    ours = load_model(own, path, CPU, torch.float32)
    theirs.samplerate = 1_000  # type: ignore[assignment]
    for samples in (1, 10_000, 25_001):
        track = noise[:, :samples]
        expected = modules.utils.apply_model_v1(theirs, track, split=True)
        assert agreement(expected, estimates(ours, track, 0.0, 10_000)) > 110


@pytest.mark.thorough
def test_the_first_version_runs_on_ten_seconds_unless_its_row_says_otherwise(tmp_path: Path) -> None:
    network = made(lambda: old_demucs().v1.Demucs(channels=4))
    path = save_v1(tmp_path / "x.th", {"channels": 4}, network.state_dict())
    model = load_model(row("demucs_v1"), path, CPU, torch.float32)
    assert model.geometry.chunk_samples == 441_000
    assert model.sources == tuple(SOURCES)


@pytest.mark.thorough
@pytest.mark.parametrize("overlap", [0.0, 0.25])
def test_the_third_version_is_its_own_code(overlap: float, tmp_path: Path, noise: Tensor) -> None:
    """143 to 148 dB: one normalisation of each branch is folded into the layer before it."""
    kwargs: dict[str, Any] = {"sources": SOURCES, "channels": 4, "segment": SEGMENT / 44_100}
    theirs = made(lambda: Demucs(**kwargs))
    torch.save(demucs_package(Demucs, kwargs, theirs.state_dict()), tmp_path / "x.th")
    ours = load_model(row("mdx_0d19c1c6"), tmp_path / "x.th", CPU, torch.float32)
    for samples in (1, 500, 20_000, 43_003):
        track = noise[:, :samples]
        expected = apply_model(theirs, track[None], shifts=0, overlap=overlap)[0]
        assert agreement(expected, estimates(ours, track, overlap)) > 110


@pytest.mark.thorough
def test_a_hybrid_network_that_masks_amplitudes_is_its_own_code(tmp_path: Path, noise: Tensor) -> None:
    """As two of mdx_extra's four are; 140 dB."""
    kwargs = {
        "sources": SOURCES,
        "channels": 4,
        "segment": SEGMENT / 44_100,
        "cac": False,
        "hybrid_old": True,
    }
    theirs = made(lambda: HDemucs(**kwargs))
    torch.save(demucs_package(HDemucs, kwargs, theirs.state_dict()), tmp_path / "x.th")
    ours = load_model(row("mdx_extra_e51eebcc"), tmp_path / "x.th", CPU, torch.float32)
    expected = apply_model(theirs, noise[None], shifts=0, overlap=0.25)[0]
    assert agreement(expected, estimates(ours, noise, 0.25)) > 110


def test_names_from_before_the_third_version_had_norms_are_understood(tmp_path: Path) -> None:
    """As its package understands them."""
    kwargs: dict[str, Any] = {"sources": SOURCES, "channels": 4, "dconv_mode": 0}
    state = made(lambda: Demucs(**kwargs)).state_dict()
    old = {re.sub(r"\.3\.(\w+)$", r".2.\1", name): value for name, value in state.items()}
    assert old.keys() != state.keys()
    torch.save(demucs_package(Demucs, kwargs, old), tmp_path / "x.th")
    loaded = load_torch(tmp_path / "x.th", row("mdx_0d19c1c6")).state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["demucs_v2", "mdx_0d19c1c6"])
def test_sources_that_are_not_needed_are_not_computed(name: str, tmp_path: Path, noise: Tensor) -> None:
    if name == "demucs_v2":
        torch.save(made(lambda: DemucsV2(SOURCES, channels=4)).state_dict(), tmp_path / "x.th")
    else:
        kwargs: dict[str, Any] = {"sources": SOURCES, "channels": 4}
        torch.save(
            demucs_package(Demucs, kwargs, made(lambda: Demucs(**kwargs)).state_dict()), tmp_path / "x.th"
        )
    whole, part = (
        load_model(row(name), tmp_path / "x.th", CPU, torch.float32, needed)
        for needed in (None, {"vocals", "bass"})
    )
    assert part.sources == ("bass", "vocals")
    chunk = noise[None, :, :8_874]
    assert torch.allclose(whole(chunk)[:, [1, 3]], part(chunk), rtol=0, atol=1e-6)


@pytest.mark.thorough
def test_a_file_of_the_second_version_that_its_user_trained(tmp_path: Path, noise: Tensor) -> None:
    """It says its class, its arguments, and how the training was called."""
    modules = old_demucs()
    kwargs: dict[str, Any] = {"sources": SOURCES, "channels": 4, "depth": 4, "normalize": True, "growth": 1.5}
    theirs = made(lambda: modules.v2.Demucs(**kwargs))
    namespace = argparse.Namespace(musdb=Path("musdb"), lr=3e-4)
    with class_in_files() as named:
        package = demucs_package(named, kwargs, theirs.state_dict())
        torch.save({**package, "training_args": namespace}, tmp_path / "x.th")
    ours = load_model(row("demucs_v2"), tmp_path / "x.th", CPU, torch.float32)
    track = noise[:, :10_000]
    expected = modules.utils.apply_model_v2(theirs, track, split=True)
    assert agreement(expected, estimates(ours, track, 0.25)) > 110


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("demucs_v2", {"compressed": b"x"}),
        (
            "mdx_0d19c1c6",
            {"klass": None, "args": (), "kwargs": {}, "state": {"__quantized": True, "others": []}},
        ),
    ],
)
def test_a_quantised_file_is_refused_with_what_to_use_instead(
    name: str, content: dict[str, Any], tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "x.th")
    with pytest.raises(UnsafeFile, match=r"x\.th: a diffq-quantised checkpoint; .* use mdx instead of mdx_q"):
        load_torch(tmp_path / "x.th", row(name))


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("kwargs", "complaint"),
    [
        ({"upsample": True}, "upsample: expected False, found True"),
        ({"sources": 3}, "expected the sources drums, bass, other, vocals in this order .* found 3"),
        ({"samplerate": 16_000}, "samplerate: expected 44100, found 16000"),
        ({"channels": 5}, "tensor '.*': its arguments describe shape"),
        ({"stride": 0}, "stride: expected from 1 to 64, found 0"),
        ({"context": 1_000}, "context: expected from 0 to 64, found 1000"),
        ({"audio_channels": 1}, "audio_channels: expected 2, found 1"),
        ({"musdb": "/data"}, "its arguments do not fit DemucsV1"),
    ],
)
def test_odd_files_of_the_first_version(kwargs: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    state = DemucsV1(channels=4).state_dict()
    path = save_v1(tmp_path / "x.th.gz", {"channels": 4, **kwargs}, state)
    with pytest.raises(WeightsError, match=rf"x\.th\.gz: .*{complaint}"):
        load_torch(path, row("demucs_v1"))


def test_a_file_of_another_version_is_told_apart(tmp_path: Path) -> None:
    path = save_v1(tmp_path / "x.th", {"channels": 4}, DemucsV1(channels=4).state_dict())
    with pytest.raises(WrongContent, match="expected demucs_v2, as demucs_v2 is .* found demucs_v1"):
        load_torch(path, row("demucs_v2"))
    torch.save(DemucsV2(SOURCES, channels=4).state_dict(), tmp_path / "bare.th")
    with pytest.raises(UnsafeFile, match="expected a dict with klass, args, kwargs, state"):
        load_torch(tmp_path / "bare.th", row("mdx_0d19c1c6"))
    with pytest.raises(UnsafeFile, match="tensor '.*': its arguments describe shape"):
        load_torch(tmp_path / "bare.th", replace(row("demucs_v2"), sources=("drums", "bass")))


def test_a_network_that_would_read_for_ever_is_refused(tmp_path: Path) -> None:
    """Without layers whose tensors tell how much context it loses at every level."""
    kwargs = {"channels": 2, "growth": 1.0, "rewrite": False, "stride": 8, "context": 64, "lstm_layers": 0}
    state = DemucsV1(**kwargs).state_dict()  # type: ignore[arg-type]
    path = save_v1(tmp_path / "x.th", kwargs, state)
    with pytest.raises(
        UnsafeFile, match=r"its network reads [\d,]+ samples at least, expected 441,000 at most"
    ):
        load_model(row("demucs_v1"), path, CPU, torch.float32)


def test_what_a_file_leaves_out_is_as_in_their_own_code() -> None:
    """The released files state next to nothing: 64 channels and the rest are what their constructors have."""
    modules = old_demucs()
    with torch.device("meta"):
        pairs = [(modules.v1.Demucs(), DemucsV1()), (modules.v2.Demucs(SOURCES), DemucsV2(SOURCES))]
    for theirs, ours in pairs:
        expected, found = (
            {name: value.shape for name, value in network.state_dict().items()} for network in (theirs, ours)
        )
        assert found == expected


@pytest.mark.slow
def test_a_full_size_network_is_its_own_code(tmp_path: Path) -> None:
    """64 channels, half a second, weights as at birth: the same bits."""
    modules = old_demucs()
    noise = 0.1 * torch.randn(2, 22_050, generator=torch.Generator().manual_seed(2))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = modules.v2.Demucs(SOURCES).eval()
    torch.save(theirs.state_dict(), tmp_path / "x.th")
    ours = load_model(row("demucs_v2"), tmp_path / "x.th", CPU, torch.float32)
    expected = modules.utils.apply_model_v2(theirs, noise, split=True)
    assert agreement(expected, estimates(ours, noise, 0.25)) > 110


@pytest.mark.thorough
@pytest.mark.parametrize(
    "preset",
    [
        "demucs-v1",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("demucs-v2", "demucs-mdx", "uvr-demucs")),
    ],
)
def test_the_presets_run_from_files_to_stems(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise: Tensor
) -> None:
    """On half a second, and on silence, which stays silence."""
    write_small_kit(tmp_path, [preset])
    monkeypatch.setattr("my_submission.weights.manifest.MANIFEST", tmp_path / "manifest.yaml")
    loaded = load_preset(preset)
    rows = checkpoint_rows(loaded)
    pool = ModelPool(
        rows,
        {row.name: tmp_path / row.file for row in rows},
        Precision(CPU, torch.float32, auto=False),
        needed_sources(loaded),
    )
    for track in (noise[:, :22_050], torch.zeros(2, 22_050)):
        stems = Ensemble(loaded, pool).separate(track)
        assert set(stems) == set(loaded.instruments)
        assert all(stem.shape == track.shape and stem.isfinite().all() for stem in stems.values())
        assert any(stem.any() for stem in stems.values()) == bool(track.any())
