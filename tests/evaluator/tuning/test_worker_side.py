"""What a worker of an engine answers for tune, ablate and table, and why it is refused."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from evaluator.running.dataset import Track, track_hash
from evaluator.running.worker_data import DATA_VARIABLE
from evaluator.tuning import ablate, worker_side
from evaluator.tuning.estimator import Estimator, EstimatorError, Required
from evaluator.tuning.worker_side import CACHE_VARIABLE, Place, PresetText, WorkerAnswer
from sdx.engines.engine import Refused
from sdx.engines.held import HELD
from tests.evaluator.tuning.engine_world import Length, World

pytestmark = pytest.mark.usefixtures("let_go")


class MadeEstimator:
    """In the place of the process that runs models."""

    error: EstimatorError | None = None

    def __init__(self, *settings: object) -> None:
        self.settings = settings

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def cancel(self) -> None:
        pass

    def require(self, preset: Path, precisions: object, chooses: bool) -> Required:
        if self.error is not None:
            raise self.error
        return Required({"net": "a" * 64}, {})

    def describe(self, preset: Path) -> None:
        pass

    def where(self, info: None) -> str:
        return "cpu, float32"


@pytest.fixture
def worker(world: World, monkeypatch: pytest.MonkeyPatch) -> "Callable[[], WorkerAnswer | Refused]":
    """Asks this process for the length of a track."""
    monkeypatch.setattr(worker_side, "Estimator", MadeEstimator)
    monkeypatch.setattr(MadeEstimator, "error", None)
    settings = worker_side.Settings(None, 1 << 30, "cpu", "fp32", is_kept=True)
    track = world.data.tracks[0]
    place = Place(str(world.data.path), None, "music", track.name, track_hash(track))
    asked = [(PresetText.of(world.preset), Length(world.preset))]
    return lambda: worker_side.answer_track(settings, place, asked, ())


def test_other_data_is_refused_with_both_hashes(
    world: World, worker: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert worker().answers == (world.data.tracks[0].frames,)
    HELD.let_go()
    other = shutil.copytree(world.data.path, tmp_path / "other")
    name = world.data.tracks[0].name
    shutil.copy(other / name / "bass.wav", other / name / "drums.wav")
    monkeypatch.setenv(DATA_VARIABLE, str(other))
    refused = worker()
    assert isinstance(refused, Refused)
    assert refused.reason.startswith(f"has other data: {name} in {other} has ")
    assert track_hash(world.data.tracks[0])[:12] in refused.reason
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "nowhere"))
    assert "has no such data" in worker().reason


def test_a_worker_without_weights_manifest_or_room_is_refused(
    world: World, worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, words in (
        (EstimatorError("preset x: weights are missing"), "cannot run the preset: preset x: weights"),
        (EstimatorError("[Errno 28] No space left", 28), "cannot run the preset: [Errno 28]"),
    ):
        monkeypatch.setattr(MadeEstimator, "error", error)
        assert words in worker().reason
    monkeypatch.setattr(MadeEstimator, "error", None)
    full = EstimatorError("[Errno 28] No space left: /x", 28)

    def fails(question: Length, estimator: Estimator, track: Track) -> int:
        raise full

    monkeypatch.setattr(Length, "answer", fails)
    assert "has a full disk: [Errno 28]" in worker().reason
    manifest = world.preset.with_name("manifest.yaml")
    moved = manifest.rename(manifest.with_suffix(".away"))
    try:
        assert "has no manifest" in worker().reason
    finally:
        moved.rename(manifest)


def test_the_cache_is_the_one_that_the_machine_says(
    worker: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[Sequence[Any]] = []
    monkeypatch.setattr(MadeEstimator, "__init__", lambda self, *settings: made.append(settings))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "mine"))
    worker()
    assert made[0][0] == tmp_path / "mine"


def test_a_preset_of_the_kit_finds_the_manifest_of_the_kit_that_is_there(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(worker_side, "REPOSITORY", world.root)
    text = PresetText.of(world.preset)
    assert (text.manifest, text.in_kit) == ("ensemble/manifest.yaml", True)
    there = shutil.copytree(world.root / "ensemble", tmp_path / "ensemble").parent
    monkeypatch.setattr(worker_side, "REPOSITORY", there)
    assert ablate.read_document(text.write(tmp_path / "p.yaml"))["manifest"] == str(
        there / "ensemble" / "manifest.yaml"
    )
