"""Entries that the workers of an engine examine: the scores are the same, whoever dies, and none is done twice."""

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import select

from evaluator.__main__ import main
from evaluator.isolation.limits import Isolation
from evaluator.service import benchmarks, examining, organising, over_engine
from evaluator.service.examining import Attempt, Findings, Order
from evaluator.service.judging import LostJobError
from evaluator.service.over_engine import Crew
from evaluator.service.tables import Job, TrackScore
from sdx.engines.dispatcher import Piece
from sdx.engines.engine import EngineError, Refused, Worker
from sdx.engines.work import NobodyLeftError
from tests.evaluator import audio
from tests.evaluator.service.world import World, estimates
from tests.sdx.engines import clusters
from tests.sdx.engines.test_work import MadeEngine
from tests.test_imports import ROOT
from tests.waiting import wait_for

WALLS = Isolation("process", True, True, True, True, "cgroup v2", None, 64, True, True, True)
FOUND = Findings(["bass"], "0" * 64, [{"sdr": {"bass": 1.0}}, {"sdr": {"bass": 3.0}}], [{}, {}], WALLS)
Fate = Callable[[MadeEngine, Worker, Piece], None]


@pytest.fixture(autouse=True)
def _quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("worker", "over_engine"):
        monkeypatch.setattr(f"evaluator.service.{name}.LOOK_SECONDS", 0.01)
    monkeypatch.setattr("evaluator.service.worker.IDLE_SECONDS", 0.01)


def queued(world: World, name: str = "ann", level: float = 0.5) -> int:
    entry = world.uploaded(name, estimates(level, ("bass",)))
    assert world.submit(name, entry).status_code == 202
    return entry


def job(world: World) -> Job:
    with world.database.reading() as session:
        return session.scalars(select(Job)).one()


@contextmanager
def crew(world: World, fate: Fate, *workers: Worker) -> Iterator[MadeEngine]:
    """The service's workers over an engine that does what the test says, until the block is left."""
    engine, stopped = MadeEngine(fate, workers or (Worker("w1", "one"),)), threading.Event()
    made = Crew(world.settings, world.database, engine, stopped, world.now)
    thread = threading.Thread(target=made.work, args=(60.0,))
    thread.start()
    try:
        yield engine
    finally:
        stopped.set()
        thread.join()
        made.join()


def finds(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
    engine._done(worker.name, piece, FOUND)


def state(world: World, entry: int, name: str = "ann") -> str:
    return str(world.show(name, entry)["state"])


def test_what_an_engine_found_is_written_down(world: World) -> None:
    entry = queued(world)
    with crew(world, finds):
        wait_for(lambda: state(world, entry) == "done", "the entry")
    assert world.show("ann", entry)["means"]["public"]["sdr"] == {"bass": 2.0}


def test_what_the_engine_loses_or_refuses_goes_on_without_a_new_attempt(world: World) -> None:
    """The scheduler dies, one worker does not see the folder: the third one does it, in the first attempt."""
    workers = [Worker("w1", "one"), Worker("w2", "two")]
    given: list[str] = []

    def fate(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        given.append(worker.name)
        if len(given) == 1:
            engine.loses_everything(workers)
        elif len(given) == 2:
            engine._done(worker.name, piece, Refused("does not see the folder"))
        else:
            finds(engine, worker, piece)

    entry = queued(world)
    with crew(world, fate, *workers) as engine:
        wait_for(lambda: state(world, entry) == "done", "the entry")
        assert [worker.set_aside for worker in engine.workers()].count("does not see the folder") == 1
    assert job(world).attempts == 1


@pytest.mark.thorough
def test_data_that_changes_meanwhile_is_no_fault_of_the_worker(world: World) -> None:
    """It changes between the order and the worker's look at it."""

    def fate(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        audio.write_music(world.data, {"b": 2000})
        engine._done(worker.name, piece, examining.examine_for_engine(piece.arguments[0]))

    entry = queued(world)
    with crew(world, fate) as engine:
        wait_for(lambda: job(world).attempts == 1 and not engine.busy(), "the attempt")
        wait_for(lambda: "has changed" in job(world).log, "its end")
        assert [worker.set_aside for worker in engine.workers()] == [None]
    assert state(world, entry) == "queued"


@pytest.mark.thorough
def test_an_entry_that_ends_its_workers_has_failed_after_three(world: World) -> None:
    entry = queued(world)
    with crew(world, lambda engine, worker, piece: engine.dies(worker)):

        def has_failed() -> bool:
            world.seconds += 60
            return state(world, entry) == "failed"

        wait_for(has_failed, "the third attempt")
    assert "tried 3 times" in world.show("ann", entry)["problems"][0]


@pytest.mark.thorough
def test_a_worker_that_is_stopped_hands_its_job_back(world: World) -> None:
    entry = queued(world)
    with crew(world, lambda engine, worker, piece: None) as engine:
        wait_for(lambda: bool(engine.begun), "somebody at work")
    assert state(world, entry) == "queued"
    assert job(world).attempts == 0, "the next one can have it at once"


@pytest.mark.thorough
def test_an_entry_that_is_cancelled_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluator.service.worker.HEARTBEAT_SECONDS", 0.0)
    entry = queued(world)
    with crew(world, lambda engine, worker, piece: None) as engine:
        wait_for(lambda: bool(engine.begun), "somebody at work")
        world.program("ann").delete(f"/api/v1/entries/{entry}")
        folder = world.settings.entry_folder(entry)
        wait_for(lambda: not list(folder.glob("attempt*")), "the end of the attempt")
    assert state(world, entry) == "cancelled"


def test_where_nobody_may_do_it_the_reasons_are_said(world: World) -> None:
    engine = MadeEngine(finds, [Worker("w1", "one", set_aside="has another version of the kit")])
    made = Crew(world.settings, world.database, engine, threading.Event(), world.now)
    with pytest.raises(NobodyLeftError, match="one has another version of the kit"):
        made.work(0.0)


@pytest.mark.thorough
def test_an_engine_that_is_lost_for_good_ends_it_and_jobs_go_back(world: World) -> None:
    entry = queued(world)
    engine = MadeEngine(lambda engine, worker, piece: engine.close(), [Worker("w1", "one")])
    made = Crew(world.settings, world.database, engine, threading.Event(), world.now)
    with pytest.raises(EngineError, match="closed"):
        made.work(60.0)
    made.join()
    assert state(world, entry) == "queued"
    assert job(world).attempts == 0


def order_of(world: World, monkeypatch: pytest.MonkeyPatch) -> Order:
    """What an engine's worker would be given of an entry."""
    given: list[Order] = []

    def fate(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        given.append(piece.arguments[0])

    queued(world)
    with crew(world, fate):
        wait_for(lambda: bool(given), "the order")
    return given[0]


def test_a_worker_with_other_data_or_without_the_folder_is_not_fit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = order_of(world, monkeypatch)
    audio.write_music(world.data, {"b": 2000})
    found = examining.examine_for_engine(order)
    assert isinstance(found, Refused)
    assert "has other data: b in" in found.reason
    assert ", expected " in found.reason
    (Path(order.folder) / "task.json").unlink()
    found = examining.examine_for_engine(order)
    assert isinstance(found, Refused)
    assert "does not see" in found.reason


def test_an_attempt_stands_until_the_next_one(tmp_path: Path) -> None:
    first, second = Attempt(tmp_path, "a"), Attempt(tmp_path, "b")
    first.begin()
    first.tell(3)
    assert (first.stands(), first.tracks_done()) == (True, 3)
    second.begin()
    assert (first.stands(), second.stands(), second.tracks_done()) == (False, True, None)
    with pytest.raises(LostJobError):
        first.tell(4)
    first.end()
    assert second.stands(), "whoever is late ends nothing"
    second.end()
    with pytest.raises(LostJobError):
        second.tell(5)
    assert not list(tmp_path.iterdir()), "whoever is late brings nothing back"


def test_an_attempt_that_is_ended_as_the_next_begins_does_not_end_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two of its steps on files, another one begins."""
    first, second = Attempt(tmp_path, "a"), Attempt(tmp_path, "b")
    first.begin()
    steps: list[str] = []

    def then(real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def step(*given: Any, **options: Any) -> Any:
            if steps:
                return real(*given, **options)
            steps.append(name)
            done = real(*given, **options)
            second.begin()
            return done

        return step

    for name in ("read_text", "unlink", "open"):
        monkeypatch.setattr(Path, name, then(getattr(Path, name), name))
    first.end()
    assert steps
    assert second.stands()


def running(
    world: World, engine: Sequence[str] = ("--engine", "local?workers=2")
) -> "subprocess.Popen[bytes]":
    """The command, over two children of its own or another engine."""
    command = [sys.executable, "-m", "evaluator", "worker", "--root", str(world.settings.root)]
    if world.settings.database is not None:
        command += ["--database", world.settings.database]
    return subprocess.Popen([*command, *engine], cwd=ROOT)


def test_a_folder_that_was_not_there_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be a slip of the keys, and the command would wait for ever."""
    monkeypatch.setattr(over_engine, "run", lambda *_: None)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    root = tmp_path / "a folder"
    try:
        assert main(["worker", "--root", str(root)]) == 0
        said = capsys.readouterr().out
        assert said.startswith(f"{root}: a new folder;")
        assert f"serve --root '{root}'" in said
        assert main(["worker", "--root", str(root)]) == 0
        assert capsys.readouterr().out == ""
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def judges(process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    """The engine's workers below it that have a supervisor of a judge."""
    found = []
    for child in psutil.Process(process.pid).children():
        with contextlib.suppress(psutil.Error):  # some have just ended
            if any("isolation.supervisor" in " ".join(each.cmdline()) for each in child.children()):
                found.append(child)
    return found


@pytest.mark.slow
def test_the_command_scores_and_scores_again_as_the_service_does_by_itself(world: World) -> None:
    """Also where a child is killed at work; Ctrl-C ends the command."""
    world.seconds = time.time() - 100
    with world.database.writing() as session:
        organising.rescore(session, benchmarks.named(session, "bench"), ("sdr", "si_sdr"), world.now())
    here = world.scored("ann", estimates(0.7))
    there = [queued_whole(world, name) for name in ("bob", "carla", "dora")]
    process = running(world)
    try:
        wait_for(lambda: judges(process), "a judge")[0].kill()
        wait_for(lambda: all(state(world, *each) == "done" for each in there), "all entries")
        assert {scores(world, entry) for entry, _ in there} == {scores(world, here)}
        with world.database.writing() as session:
            organising.rescore(session, benchmarks.named(session, "bench"), ("sdr",), world.now())
        wait_for(lambda: all(len(scores(world, entry)) == 8 for entry, _ in there), "the other measures")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_the_command_scores_by_a_scheduler_with_tls(world: World, tmp_path: Path) -> None:
    world.seconds = time.time() - 100
    here = world.scored("ann", estimates(0.7))
    there = queued_whole(world, "bob")
    tls = clusters.certificates(tmp_path / "tls")
    with clusters.opened(tmp_path / "cluster", tls) as cluster:
        cluster.worker()
        files = [str(each) for each in (tls.ca, tls.certificate, tls.key)]
        process = running(
            world,
            ["--engine", cluster.engine, "--tls-ca", files[0], "--tls-cert", files[1], "--tls-key", files[2]],
        )
        try:
            wait_for(lambda: state(world, *there) == "done", "the entry")
            assert scores(world, there[0]) == scores(world, here)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()


def queued_whole(world: World, name: str) -> tuple[int, str]:
    entry = world.uploaded(name, estimates(0.7))
    assert world.submit(name, entry).status_code == 202
    return entry, name


def scores(world: World, entry: int) -> frozenset[tuple[str, str, str, float | None]]:
    with world.database.reading() as session:
        rows = session.scalars(select(TrackScore).where(TrackScore.entry_id == entry))
        return frozenset((row.track, row.stem, row.measure, row.value) for row in rows)
