"""Data sets over an engine: the same tracks, from the same recordings."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from evaluator.datasets import builder, library
from evaluator.datasets.builder import Recipe
from evaluator.datasets.tracks import Plan
from evaluator.running.dataset import DataError
from sdx.engines import address, making
from sdx.engines.dispatcher import Piece
from sdx.engines.engine import Worker
from sdx.engines.work import NobodyLeftError
from tests.sdx.engines.test_making import Seen, does
from tests.sdx.engines.test_work import Fate, MadeEngine

HERE = address.parse("local?workers=1")


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.setattr("sdx.engines.work.LOOK_SECONDS", 0.0)
    monkeypatch.setattr("sdx.engines.work.NEWCOMER_SECONDS", 0.0)
    found = []
    for seed, name in enumerate(("vocals", "instrumental")):
        (tmp_path / name).mkdir()
        for number in range(2):
            samples = np.random.default_rng([seed, number]).standard_normal((11025, 2)) * 0.1
            soundfile.write(tmp_path / name / f"{number}.wav", samples, 44100)
        found.append(library.find(tmp_path / name, name))
    return builder.synth(found[0], found[1], Plan(tmp_path / "out", 4, 0.2, 7))


def over(recipe: Recipe, monkeypatch: pytest.MonkeyPatch, fate: Fate = does) -> Seen:
    workers = (Worker("w1", "one"), Worker("w2", "two"))
    monkeypatch.setattr(making, "open_engine", lambda *given: MadeEngine(fate, workers))
    seen = Seen()
    builder.build_over(HERE, recipe, builder.begin(recipe), seen)
    return seen


def change(folder: Path) -> None:
    """Put other sound into all recordings."""
    for path in folder.iterdir():
        soundfile.write(path, np.full((11025, 2), 0.1), 44100)


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_tracks_are_those_of_one_machine_and_a_stopped_build_goes_on(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    builder.build(Recipe(recipe.kind, recipe.libraries, Plan(here, 4, 0.2, 7)), lambda name: None)
    builder.build(Recipe(recipe.kind, recipe.libraries, Plan(recipe.plan.out, 1, 0.2, 7)), lambda name: None)
    seen = over(recipe, monkeypatch)
    assert sorted(seen.results) == ["synth_0001", "synth_0002", "synth_0003"]
    assert content(recipe.plan.out) == content(here)


def test_two_workers_with_the_same_track_make_it_once(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fate(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        piece.function(*piece.arguments)
        does(engine, worker, piece)

    assert len(over(recipe, monkeypatch, fate).results) == 4
    assert not list(recipe.plan.out.glob(".*"))


def test_a_worker_with_another_recording_makes_nothing(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fate(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        """The worker's files are others, until it has answered."""
        ours = {path: path.read_bytes() for path in (tmp_path / "vocals").iterdir()}
        change(tmp_path / "vocals")
        outcome: object = None
        try:
            outcome = piece.function(*piece.arguments)
        finally:
            for path, content in ours.items():
                path.write_bytes(content)
            engine._done(worker.name, piece, outcome)

    with pytest.raises(NobodyLeftError, match="has another recording"):
        over(recipe, monkeypatch, fate)
    assert not list(recipe.plan.out.glob("synth*"))


def test_a_recording_that_changes_meanwhile_is_no_fault_of_the_workers(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fate(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        change(tmp_path / "vocals")
        does(engine, worker, piece)

    seen = over(recipe, monkeypatch, fate)
    assert sorted(seen.failures) == [f"synth_000{number}" for number in range(4)]
    assert {reason.partition(": ")[2] for reason in seen.failures.values()} == {
        "changed, or gone, since the run began"
    }
    assert seen.notices == []


def test_a_folder_that_was_begun_otherwise_is_refused_first(recipe: Recipe) -> None:
    builder.begin(recipe)
    with pytest.raises(DataError, match="seed was 7, now 8"):
        builder.begin(Recipe(recipe.kind, recipe.libraries, Plan(recipe.plan.out, 4, 0.2, 8)))
