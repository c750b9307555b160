"""An evaluation over an engine that runs everything at once, in this process: what is kept, and what is said."""

import os
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluator.isolation.limits import Limits
from evaluator.isolation.sandbox import Outcome
from evaluator.reporting import display
from evaluator.running import over_engine
from evaluator.running.assignment import Assignment, SetUp, TrackAnswer
from evaluator.running.dataset import Dataset, load, track_hash
from evaluator.running.evaluation import evaluate
from evaluator.running.job import Job, Observer, Spread
from evaluator.running.submission import identify
from evaluator.runs import results
from evaluator.runs.passing import would_pass
from evaluator.runs.records import DataInfo, Host, LeftOut, Plan, TrackResult
from evaluator.runs.results import Result
from evaluator.runs.run_folder import RESULT_FILE
from sdx.engines import address
from sdx.engines.dispatcher import Piece
from sdx.engines.engine import EngineError, Refused, Worker
from tests.evaluator import audio
from tests.sdx.engines.test_work import MadeEngine

HOST = Host("one", 8, 64 << 30, (), 1)
PROVENANCE = {"weights": [{"name": "w", "file": "w.th", "sha256": "aa"}]}

Reply = Callable[[Worker, Assignment, str], TrackAnswer | Refused]


def answer(name: str, host: Host = HOST, provenance: Any = PROVENANCE) -> TrackAnswer:
    """A track that went well."""
    set_up = SetUp(Outcome("ok", None, 2.0, 0, "set up", provenance), None)
    scores = {"sdr": dict.fromkeys(("bass", "drums", "other", "vocals"), 5.0)}
    result = TrackResult(name, "ok", None, 0.1, 1.0, 1.0, None, (), scores)
    return TrackAnswer(host, set_up, result, "log", {"bass": b"RIFF"})


class Said(Observer):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)


class Run:
    """Three tracks, and the engine in whose workers' place `reply` answers."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.data = load(audio.write_music(root / "data", dict.fromkeys("abc", 1000)))
        self.out = root / "out"
        self.submission = root / "submission"
        (self.submission / "my_submission").mkdir(parents=True)
        (self.submission / "my_submission" / "user_config.py").write_text("class MySeparationModel: ...")
        self.workers = [Worker("w1", "one"), Worker("w2", "two")]
        self._monkeypatch = monkeypatch

    def job(self, data: Dataset) -> Job:
        plan = Plan(
            "music",
            identify(self.submission, None),
            DataInfo(str(data.path), len(data.tracks), "d" * 64),
            Limits(),
            ("sdr",),
            "process",
        )
        hashes = {track.name: track_hash(track) for track in data.tracks}
        spread = Spread(address.parse("local"), hashes, (), False, True)
        return Job(plan, data, self.out, True, None, spread=spread)

    def __call__(self, reply: Reply, resume: bool = False, observer: Observer | None = None) -> Result:
        def fate(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
            assignment, name, _ = piece.arguments
            engine._done(worker.name, piece, reply(worker, assignment, name))

        self._monkeypatch.setattr(over_engine, "open_engine", lambda *_: MadeEngine(fate, self.workers))
        return evaluate(self.job(self.data), observer or Observer(), resume)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(tmp_path, monkeypatch)


def test_answers_are_kept_with_their_machine_and_read_back(run: Run) -> None:
    result = run(lambda worker, _, name: answer(name, replace(HOST, name=worker.machine)))
    assert result.status == "ok"
    assert {track.machine for track in result.tracks} <= {"one", "two"}
    assert results.read(run.out / RESULT_FILE) == result
    assert (run.out / "estimates" / "a" / "bass.wav").read_bytes() == b"RIFF"
    assert (run.out / "logs" / "a.log").read_text() == "log"
    assert not list(run.out.glob(".shared-*"))


def test_what_killed_workers_left_is_removed_of_tracks_in_splits_too(run: Run, tmp_path: Path) -> None:
    for split in ("train", "test"):
        audio.write_music(tmp_path / "split" / split, {"a": 1000})
    run.data = load(tmp_path / "split")

    def reply(worker: Worker, assignment: Assignment, name: str) -> TrackAnswer:
        kept = next(track for track in run.data.tracks if track.name == name).folder
        draft = (run.out / "estimates" / kept).with_name(f"{assignment.mark}-00")
        draft.mkdir(parents=True, exist_ok=True)
        (draft / "bass.wav").write_bytes(b"RI")
        return answer(name)

    assert run(reply).status == "ok"
    assert sorted(path.name for path in (run.out / "estimates").iterdir()) == ["test__a", "train__a"]
    assert not list(run.out.rglob(".shared-*"))


def test_passing_is_judged_only_by_machines_of_their_size_that_do_one_track_at_a_time(run: Run) -> None:
    good = run(lambda worker, _, name: answer(name))
    assert would_pass(good) == "yes"
    assert "would have passed" in display.verdict(good)
    for wrong, words in (
        (replace(HOST, tracks_at_a_time=2), "did 2 tracks at a time"),
        (replace(HOST, cores=2), "2 of the 4 cores"),
        (replace(HOST, memory_bytes=8 << 30), "of the 16 GiB"),
    ):
        judged = replace(good, machines=(HOST, replace(wrong, name="two")))
        assert would_pass(judged) == "unknown"
        assert "two" in display.verdict(judged)
        assert words in display.verdict(judged)
        assert "would have passed" not in display.verdict(judged)


def test_other_weights_are_not_counted_and_both_hashes_are_said(run: Run) -> None:
    other = {"weights": [{"name": "w", "file": "elsewhere/w.th", "sha256": "bb"}]}
    asked: list[str] = []

    def reply(worker: Worker, assignment: Assignment, name: str) -> TrackAnswer:
        asked.append(name)
        return answer(name, HOST, other if asked.count("b") == 1 and name == "b" else PROVENANCE)

    said = Said()
    result = run(reply, observer=said)
    assert result.status == "ok"
    assert asked.count("b") == 2
    assert any("w has bb, expected aa" in text for text in said.notices)
    assert result.weights == PROVENANCE["weights"]


def test_a_submission_that_cannot_be_constructed_anywhere_fails_as_it_does_at_home(run: Run) -> None:
    def reply(worker: Worker, assignment: Assignment, name: str) -> TrackAnswer:
        failed = SetUp(Outcome("crashed", "weights are missing", 1.0, 0, "log"), None)
        return TrackAnswer(HOST, failed, None, "", {})

    run._monkeypatch.setattr("sdx.engines.work.LOOK_SECONDS", 0.0)
    run._monkeypatch.setattr("sdx.engines.work.NEWCOMER_SECONDS", 0.0)
    result = run(reply)
    assert result.setup is not None
    assert result.setup.reason == "weights are missing"
    assert [(track.status, track.reason) for track in result.tracks] == [
        ("crashed", "setup: weights are missing")
    ] * 3


def test_where_all_refuse_the_run_says_why_and_is_resumed(run: Run) -> None:
    run._monkeypatch.setattr("sdx.engines.work.LOOK_SECONDS", 0.0)
    run._monkeypatch.setattr("sdx.engines.work.NEWCOMER_SECONDS", 0.0)

    def reply(worker: Worker, assignment: Assignment, name: str) -> TrackAnswer | Refused:
        return answer(name) if name == "a" else Refused("has other data: 12, expected 34")

    with pytest.raises(EngineError, match="one has other data: 12, expected 34"):
        run(reply)
    assert [track.name for track in results.read(run.out / RESULT_FILE).tracks] == ["a"]
    begun: list[str] = []

    def good(worker: Worker, assignment: Assignment, name: str) -> TrackAnswer:
        begun.append(name)
        return answer(name)

    assert run(good, resume=True).status == "ok"
    assert sorted(begun) == ["b", "c"]


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("data/b/bass.wav", "the data has changed since the run began: b in"),
        (
            "submission/my_submission/user_config.py",
            "the submission, or its preset, has changed since the run",
        ),
    ],
)
@pytest.mark.parametrize("is_gone", [False, True])
def test_what_changes_where_the_run_began_ends_it_and_sets_nobody_aside(
    file: str, words: str, is_gone: bool, run: Run, tmp_path: Path
) -> None:
    """It is told by its name, and what was done before is kept."""

    def reply(worker: Worker, assignment: Assignment, name: str) -> TrackAnswer | Refused:
        if name == "a":
            return answer(name)
        (tmp_path / file).write_bytes(b"something else")
        if is_gone:
            (tmp_path / file).unlink()
        return Refused("has something else")

    said = Said()
    with pytest.raises(EngineError, match=words) as raised:
        run(reply, observer=said)
    told = str(raised.value)
    assert re.search(r" has [0-9a-f]{12}, and had [0-9a-f]{12};", told) or is_gone
    assert "--resume" in told
    assert "\n" not in told
    assert said.notices == []
    assert [track.name for track in results.read(run.out / RESULT_FILE).tracks] == ["a"]


def test_what_a_worker_is_given_with_a_track_does_not_grow_with_the_run(run: Run) -> None:
    sizes = []
    for number in (0, 3000):
        info = DataInfo(
            str(run.data.path),
            number,
            "d" * 64,
            left_out=tuple(LeftOut(f"x{each}", "no sound") for each in range(1 + number)),
            tracks={f"t{each}": f"{each:064d}" for each in range(number)},
        )
        job = run.job(run.data)
        told = over_engine._assignment(replace(job, plan=replace(job.plan, data=info)), ".mark")
        assert told.plan.data.left_out
        sizes.append(len(pickle.dumps(told)))
    assert sizes[1] < sizes[0] + 10


def test_a_track_that_is_lost_with_three_workers_has_crashed(run: Run) -> None:
    def fate(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        name = piece.arguments[1]
        if name == "b":
            engine.dies(worker)
        else:
            engine._done(worker.name, piece, answer(name))

    run._monkeypatch.setattr(over_engine, "open_engine", lambda *_: MadeEngine(fate, run.workers))
    result = evaluate(run.job(run.data), Observer(), resume=False)
    assert {track.name: track.status for track in result.tracks} == {"a": "ok", "b": "crashed", "c": "ok"}
    assert "3 attempts" in (result.tracks[1].reason or "")
    assert os.path.isfile(run.out / RESULT_FILE)
