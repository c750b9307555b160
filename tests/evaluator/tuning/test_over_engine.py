"""Tracks of tune, ablate and table over an engine: the same numbers, the same cache, and nobody who is not fit."""

import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluator.__main__ import main
from evaluator.running import dataset
from evaluator.running.dataset import Dataset, Track
from evaluator.tuning import ablate, tune
from evaluator.tuning.ablate import StemScores
from evaluator.tuning.estimator import Estimator, EstimatorError, StepInfo
from evaluator.tuning.over_engine import CHOICE, EngineEstimator
from evaluator.tuning.variants import variants
from evaluator.tuning.worker_side import WorkerAnswer
from sdx.engines.dispatcher import Piece
from sdx.engines.engine import EngineError, Refused, Worker
from tests.evaluator.tuning.engine_world import Length, Said, World
from tests.sdx.engines.test_work import MadeEngine

pytestmark = pytest.mark.usefixtures("let_go")


def really(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
    """Do it, in this process."""
    engine.answers(worker, piece)


def gram_of(
    runner: Estimator, world: World, step: StepInfo, progress: Callable[[Track], None] = lambda track: None
) -> tune.Tuned:
    return tune.tune_step(runner, world.preset, step, world.data, progress=progress)


@pytest.mark.slow
def test_all_equals_the_run_without_an_engine_which_then_computes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write_networks()
    with Estimator(world.root / "serial", device="cpu", precision="fp32") as runner:
        info = runner.describe(world.preset)
        step = info.steps[1]
        chosen = variants(ablate.read_document(world.preset), info)[:2]
        tuned, rows = gram_of(runner, world, step), ablate.ablate(runner, chosen, world.data)
    seen: list[str] = []
    with world.over(monkeypatch, really) as remote:
        ours = gram_of(remote, world, step, lambda track: seen.append(track.name))
        theirs = ablate.ablate(remote, chosen, world.data)
        assert remote.where(info) == "cpu, float32"
    assert sorted(seen) == [track.name for track in world.data.tracks]
    for name in ("quadratic", "linear", "constant", "energy"):
        expected = getattr(tuned.scores, name)
        np.testing.assert_allclose(getattr(ours.scores, name), expected, rtol=1e-9, atol=1e-9)
    assert ours.preset_weights() == tuned.preset_weights()
    for row, expected_row in zip(theirs, rows, strict=True):
        assert row.variant == expected_row.variant
        for scores, expected_scores in zip(row.scores, expected_row.scores, strict=True):
            assert scores == pytest.approx(expected_scores, abs=1e-9)
        assert row.model_seconds > 0
    with Estimator(world.root / "cache", device="cpu", precision="fp32") as runner:
        for track in world.data.tracks:
            folder = world.root / "stems"
            folder.mkdir(exist_ok=True)
            assert runner.write_stems(world.preset, track, folder).computed == 0
            assert runner.write_estimates(world.preset, step.name, track, folder).cost.computed == 0


@pytest.mark.thorough
def test_a_worker_that_dies_leaves_its_estimates_and_another_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    died: list[str] = []

    def reply(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        if not died:
            died.append(piece.key)
            piece.function(*piece.arguments)  # done, and in the cache, but never told
            engine.dies(worker)
        else:
            engine.answers(worker, piece)

    world.write_networks()
    remote = world.over(monkeypatch, reply, "dying")
    two = replace(world.data, tracks=world.data.tracks[:2])
    found = remote.answers(two, [StemScores(world.preset)])
    assert [set(answers[0].scores) for answers in found] == [set(two.challenge.stems)] * 2
    assert any(f"{died[0]}: the worker on one ended" in text for text in notices(remote))
    entries = list((world.root / "dying" / "entries").iterdir())
    keys = {(entry / "entry.json").read_text().partition('"seconds"')[0] for entry in entries}
    assert len(entries) == len(keys) > 0


def notices(runner: EngineEstimator) -> list[str]:
    assert isinstance(runner.watcher, Said)
    return runner.watcher.notices


# Nothing below runs a network: workers answer what the test says


def answer(piece: Piece, **changes: Any) -> WorkerAnswer:
    """What a worker would say; of a track its name."""
    answers = () if piece.key == CHOICE else (piece.key,)
    return replace(WorkerAnswer(answers, {"net": "a" * 64}, {"net": "float32"}, "cpu, float32"), **changes)


def ask(runner: EngineEstimator, world: World, data: Dataset | None = None) -> list[list[Any]]:
    return runner.answers(data or world.data, [Length(world.preset)])  # type: ignore[return-value]


def test_answers_are_in_the_order_of_the_tracks_and_progress_says_who_is_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[tuple[Worker, Piece]] = []

    def last_first(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        waiting.append((worker, piece))
        if len(waiting) == 2:
            for one in reversed(waiting[:]):
                waiting.remove(one)
                engine._done(one[0].name, one[1], answer(one[1]))

    monkeypatch.setattr("sdx.engines.work.LOOK_SECONDS", 0.0)
    two = replace(world.data, tracks=world.data.tracks[:2])
    remote = world.over(monkeypatch, last_first)
    assert ask(remote, world, two) == [[track.name] for track in two.tracks]
    assert isinstance(remote.watcher, Said)
    assert {words[:2] for words in remote.watcher.words} == {(2, 2)}
    assert {words[3] for words in remote.watcher.words} == {2}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": {"net": "b" * 64}}, "has other weights: net has bbbbbbbbbbbb, expected aaaaaaaaaaaa"),
        ({"device": "cuda, bfloat16"}, "runs models on cuda, bfloat16, expected cpu, float32"),
    ],
)
def test_whoever_is_unlike_the_first_is_set_aside(
    changes: dict[str, Any], words: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def reply(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        asked.append(worker.name)
        engine._done(worker.name, piece, answer(piece, **(changes if len(asked) == 2 else {})))

    remote = world.over(monkeypatch, reply)
    assert ask(remote, world) == [[track.name] for track in world.data.tracks]
    assert asked == ["w1", "w1", "w1", "w2"], "the third was done before the second was looked at"
    assert any(words in text for text in notices(remote))


def test_what_a_precision_of_auto_is_one_worker_says_and_all_are_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []

    def reply(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        told.append((piece.key, piece.arguments[3:]))
        engine._done(worker.name, piece, answer(piece, precisions={"net": "bfloat16"}))

    remote = world.over(monkeypatch, reply, precision="auto")
    ask(remote, world)
    ask(remote, world)
    assert [key for key, _ in told].count(CHOICE) == 1
    assert told[0] == (CHOICE, ())
    assert {chosen for _, (chosen,) in told[1:]} == {(("net", "bfloat16"),)}


def test_what_three_workers_cannot_do_ends_the_command(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def reply(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        engine.fails(worker, piece, EstimatorError("the GPU is full"))

    with pytest.raises(EstimatorError, match="one: given up after 3 attempts.*the GPU is full"):
        ask(world.over(monkeypatch, reply), world)


def test_where_nobody_may_do_it_the_reasons_are_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdx.engines.work.LOOK_SECONDS", 0.0)
    monkeypatch.setattr("sdx.engines.work.NEWCOMER_SECONDS", 0.0)

    def reply(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        engine._done(worker.name, piece, Refused("cannot run the preset: weights are missing"))

    with pytest.raises(
        EngineError, match="no worker is left.*two cannot run the preset: weights are missing"
    ):
        ask(world.over(monkeypatch, reply), world)


def test_what_changes_where_the_command_was_given_ends_it_and_sets_nobody_aside(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = dataset.load(shutil.copytree(world.data.path, tmp_path / "data"))
    name = data.tracks[1].name

    def reply(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        shutil.copy(data.path / name / "bass.wav", data.path / name / "drums.wav")
        outcome = Refused("has other data") if piece.key == name else answer(piece)
        engine._done(worker.name, piece, outcome)

    remote = world.over(monkeypatch, reply)
    with pytest.raises(
        EstimatorError, match=f"the data has changed since the run began: {name} in {data.path}"
    ):
        ask(remote, world, data)
    assert notices(remote) == []


@pytest.mark.parametrize("command", ["tune", "ablate"])
def test_an_address_that_cannot_be_used_is_one_sentence(
    command: str, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    for given, words in (
        (["--engine", "cloud://x"], "--engine cloud://x: found the kind cloud, expected local?workers=N"),
        (["--tls-ca", "x"], "go with --engine dask+tls://"),
    ):
        assert main([command, str(world.preset), *given]) == 2
        said = capsys.readouterr().err
        assert words in said
        assert said.count("\n") == 1


def test_questions_and_errors_travel(world: World) -> None:
    question = StemScores(world.preset)
    assert pickle.loads(pickle.dumps(question)) == question
    error = pickle.loads(pickle.dumps(EstimatorError("full", 28)))
    assert (str(error), error.errno) == ("full", 28)
