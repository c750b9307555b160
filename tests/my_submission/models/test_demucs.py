"""Our path over a track equals `demucs.apply`: overlap, the shift trick, polarity, bags."""

import copy
import functools
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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
from my_submission.runtime.devices import Precision
from my_submission.runtime.pool import ModelPool, load_model
from my_submission.signal.augment import Augmentation
from tests.lower_precision import CPU
from tests.my_submission.models.whole_tracks import (
    MANIFEST,
    PLAIN,
    assert_equal_to,
    assert_no_schedule_changes_anything,
    estimates,
)
from tests.random_checkpoints import demucs_arguments, save_demucs
from tests.thinned import one_in

pytestmark = pytest.mark.processor

SOURCES = ("drums", "bass", "other", "vocals")


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
        return [5, 100, 20_000]  # apply_model itself fails on fewer than 5
    return [1, 13_230, 20_001]  # chunks of 0.3 s are 13,230 samples


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
    for samples in (1, 4, 5):
        result = estimates(ours, noise[:, :samples], PLAIN, 0.25)
        assert result.shape == (4, 2, samples)
        assert result.isfinite().all()


@pytest.mark.parametrize("offsets", one_in(3, [[22_050, 1], [0], [12_345, 22_049]]))
def test_shift_trick_equals_apply_model(
    offsets: tuple[int, ...], opened: Callable[[str], Opened], noise: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its offset is what remains of half a second after our delay."""
    ours, theirs = opened("htdemucs").ours, opened("htdemucs").theirs
    noise = noise[:, :10_000]
    drawn = iter(offsets)
    monkeypatch.setattr(random, "randint", lambda low, high: next(drawn))
    expected = apply_model(theirs, noise[None], shifts=len(offsets), overlap=0.25)[0]
    augmentations = tuple(Augmentation(1.0, 22_050 - offset) for offset in offsets)
    assert_equal_to(estimates(ours, noise, augmentations, 0.25), expected)


def test_polarity_is_the_half_difference(opened: Callable[[str], Opened], noise: Tensor) -> None:
    ours, theirs = opened("htdemucs").ours, opened("htdemucs").theirs
    noise = noise[:, :14_000]
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


@pytest.mark.thorough
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


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["htdemucs", "hdemucs_mmi"])
def test_the_schedule_changes_nothing(name: str, opened: Callable[[str], Opened]) -> None:
    model = opened(name).ours
    assert_no_schedule_changes_anything(
        model, 3 * model.geometry.chunk_samples // 2 if name == "htdemucs" else 20_000
    )
