"""Keyed work, with an engine that does what the test says: every task once, whatever is lost."""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from sdx.engines import work
from sdx.engines.dispatcher import Dispatcher, Piece
from sdx.engines.engine import (
    Answer,
    EngineError,
    Needs,
    Refused,
    Worker,
    WorkLostError,
)
from sdx.engines.work import MOST_ATTEMPTS, NobodyLeftError, Stragglers, Task

pytestmark = pytest.mark.quick

Fate = Callable[["MadeEngine", Worker, Piece], None]


class MadeEngine(Dispatcher):
    """Its workers are names; `fate` decides what becomes of each piece, at once."""

    def __init__(self, fate: Fate, workers: Sequence[Worker]) -> None:
        super().__init__()
        self.fate = fate
        self.begun: Counter[str] = Counter()
        for worker in workers:
            self._joined(worker)

    def _begin(self, worker: Worker, piece: Piece) -> None:
        self.begun[piece.key] += 1
        self.fate(self, worker, piece)

    def close(self) -> None:
        self._stop(EngineError("closed"))

    def dies(self, worker: Worker) -> None:
        """The worker goes, and another of its kind comes."""
        self._left(worker.name)
        self._joined(worker)

    def answers(self, worker: Worker, piece: Piece) -> None:
        self._done(worker.name, piece, piece.function(*piece.arguments))

    def fails(self, worker: Worker, piece: Piece, error: Exception) -> None:
        self._done(worker.name, piece, error)

    def loses_everything(self, workers: Sequence[Worker]) -> None:
        self._lose_all(WorkLostError("the scheduler is lost"))
        for worker in workers:
            self._joined(worker)


class Notes:
    """A client that keeps what it is told."""

    def __init__(self, refuses: frozenset[str] = frozenset()) -> None:
        self.answers: list[tuple[str, Any]] = []
        self.given_up: dict[str, str] = {}
        self.said: list[str] = []
        self.refuses = refuses
        self.has_changed: dict[str, str] = {}

    def answered(self, task: Task, answer: Answer) -> str | None:
        if answer.machine in self.refuses:
            return "has other weights"
        self.answers.append((task.key, answer.value))
        return None

    def changed(self, task: Task) -> str | None:
        return self.has_changed.get(task.key)

    def gave_up(self, task: Task, reason: str) -> None:
        self.given_up[task.key] = reason

    def notice(self, text: str) -> None:
        self.said.append(text)

    def watched(self, workers: Sequence[Worker], busy: Mapping[str, str]) -> None:
        pass


WORKERS = [Worker(f"w{number}", f"host{number}") for number in range(3)]
TASKS = [Task(f"k{number}", (number,)) for number in range(20)]


def square(number: int) -> int:
    return number * number


def complete(engine: MadeEngine, notes: Notes, tasks: Sequence[Task] = TASKS, **options: Any) -> None:
    work.complete(engine, square, tasks, notes, Needs(), **options)


def require_each_once(notes: Notes, tasks: Sequence[Task] = TASKS) -> None:
    assert sorted(notes.answers) == sorted((task.key, square(*task.arguments)) for task in tasks)


@pytest.mark.parametrize("seed", range(5))
def test_each_task_is_answered_once_whatever_dies(seed: int) -> None:
    """Workers die, the engine loses everything, at random but less often than a task is given up for."""
    dice, deaths = random.Random(seed), Counter[str]()

    def fate(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        if dice.random() < 0.3 and deaths[piece.key] < MOST_ATTEMPTS - 1:
            deaths[piece.key] += 1
            engine.dies(worker)
        elif dice.random() < 0.1:
            engine.loses_everything(WORKERS)
        else:
            engine.answers(worker, piece)

    notes = Notes()
    complete(MadeEngine(fate, WORKERS), notes)
    require_each_once(notes)
    assert not notes.given_up


def test_a_task_that_ends_every_worker_is_given_up_by_name_and_the_others_go_on() -> None:
    def fate(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        if piece.key == "k7":
            engine.dies(worker)
        else:
            engine.answers(worker, piece)

    notes, engine = Notes(), MadeEngine(fate, WORKERS)
    complete(engine, notes)
    require_each_once(notes, [task for task in TASKS if task.key != "k7"])
    assert list(notes.given_up) == ["k7"]
    assert notes.given_up["k7"].count("host") == MOST_ATTEMPTS
    assert engine.begun["k7"] == MOST_ATTEMPTS


def test_what_a_function_raises_is_said_and_counts_as_an_attempt() -> None:
    def fate(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        engine.fails(worker, piece, ValueError("no such luck"))

    notes = Notes()
    complete(MadeEngine(fate, WORKERS), notes, TASKS[:1])
    assert "no such luck" in notes.given_up["k0"]


def test_what_one_worker_cannot_do_another_does_however_busy() -> None:
    """One fails quickly, such as for a GPU whose memory is full, and so is always the first that is free again."""
    waiting: list[tuple[Worker, Piece]] = []
    failed = Counter[str]()

    def fate(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        if worker.name == "w0":
            failed[piece.key] += 1
            engine.fails(worker, piece, ValueError("no memory"))
        elif waiting:
            engine.answers(*waiting.pop())
            engine.answers(worker, piece)
        else:
            waiting.append((worker, piece))

    notes, engine = Notes(), MadeEngine(fate, WORKERS)
    complete(engine, notes)
    require_each_once(notes)
    assert not notes.given_up
    assert set(failed.values()) == {1}


def test_a_worker_that_failed_is_asked_again_where_the_others_have_gone() -> None:
    tries = Counter[str]()

    def fate(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        tries[worker.name] += 1
        if worker.name == "w1":
            engine._left(worker.name)
        elif tries[worker.name] == 1:
            engine.fails(worker, piece, ValueError("not today"))
        else:
            engine.answers(worker, piece)

    notes, engine = Notes(), MadeEngine(fate, WORKERS[:2])
    complete(engine, notes, TASKS[:1])
    require_each_once(notes, TASKS[:1])
    assert tries == {"w0": 2, "w1": 1}


def test_a_scheduler_that_is_lost_is_no_attempt() -> None:
    left = 10

    def fate(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        nonlocal left
        left -= 1
        if left > 0:
            engine.loses_everything(WORKERS[:1])
        else:
            engine.answers(worker, piece)

    notes = Notes()
    complete(MadeEngine(fate, WORKERS[:1]), notes, TASKS[:1])
    require_each_once(notes, TASKS[:1])


def test_a_worker_that_may_not_is_asked_once_and_its_task_goes_to_another() -> None:
    asked = Counter[str]()

    def fate(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        asked[worker.name] += 1
        if worker.name == "w0":
            engine._done(worker.name, piece, Refused("has other data"))
        else:
            engine.answers(worker, piece)

    notes = Notes(refuses=frozenset({"host1"}))
    complete(MadeEngine(fate, WORKERS), notes)
    require_each_once(notes)
    assert asked["w0"] == 1
    assert [words for words in ("other data", "other weights") if words in " ".join(notes.said)] == [
        "other data",
        "other weights",
    ]


def test_what_has_changed_here_is_no_workers_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """All refuse it, and would be set aside one after the other; it alone is given up, and all go on."""
    monkeypatch.setattr(work, "NEWCOMER_SECONDS", 0.0)
    monkeypatch.setattr(work, "LOOK_SECONDS", 0.01)

    def fate(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        if piece.key in notes.has_changed:
            engine._done(worker.name, piece, Refused("has other data"))
        else:
            engine.answers(worker, piece)

    notes, engine = Notes(), MadeEngine(fate, WORKERS)
    notes.has_changed = {"k3": "k3 has changed", "k8": "k8 has changed"}
    complete(engine, notes)
    require_each_once(notes, [task for task in TASKS if task.key not in notes.has_changed])
    assert notes.given_up == notes.has_changed
    assert [engine.begun[key] for key in notes.has_changed] == [1, 1]
    assert [worker.set_aside for worker in engine.workers()] == [None] * len(WORKERS)


def test_where_nobody_may_the_reasons_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "NEWCOMER_SECONDS", 0.0)
    monkeypatch.setattr(work, "LOOK_SECONDS", 0.01)
    notes = Notes(refuses=frozenset(worker.machine for worker in WORKERS))
    with pytest.raises(NobodyLeftError, match="host0 has other weights; host1 has other weights"):
        complete(MadeEngine(MadeEngine.answers, WORKERS), notes)
    assert not notes.answers


def test_where_nobody_comes_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "LOOK_SECONDS", 0.01)
    with pytest.raises(EngineError, match="no worker has been there"):
        complete(MadeEngine(MadeEngine.answers, []), Notes(), patience_seconds=0)


def test_a_piece_for_a_gpu_waits_for_a_worker_that_has_one() -> None:
    seen = []

    def fate(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        seen.append(worker.name)
        engine.answers(worker, piece)

    engine = MadeEngine(fate, [*WORKERS, Worker("g", "host", gpus=1)])
    work.complete(engine, square, TASKS, Notes(), Needs(gpus=1))
    assert set(seen) == {"g"}


def test_a_straggler_is_copied_once_to_another_and_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "LOOK_SECONDS", 0.01)
    late: list[tuple[Worker, Piece]] = []

    def fate(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        if piece.key == "k0" and not late:
            late.append((worker, piece))
            return
        engine.answers(worker, piece)
        if piece.key == "k0":
            engine.answers(*late[0])

    notes, engine = Notes(), MadeEngine(fate, WORKERS)
    complete(engine, notes, stragglers=Stragglers(seconds=0))
    require_each_once(notes)
    assert engine.begun["k0"] == 2


@pytest.mark.parametrize("is_lost", [False, True])
def test_what_ends_while_it_begins_takes_no_other_piece_with_it(is_lost: bool) -> None:
    """Two workers are free and several pieces wait, the first of which fails, or ends all, before it has begun."""
    workers = [Worker("w1", "m"), Worker("w2", "m")]
    held: dict[str, list[str]] = {"w1": [], "w2": []}

    def fate(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        if piece.key == "bad" and is_lost:
            engine.loses_everything([])
        elif piece.key == "bad":
            engine.fails(worker, piece, ValueError("no"))
        else:
            held[worker.name].append(piece.key)

    engine = MadeEngine(fate, ())
    futures = {key: engine.submit(int, key=key, needs=Needs()) for key in ("bad", "a", "b", "c")}
    engine._workers["w1"] = workers[0]
    engine._joined(workers[1])
    assert futures["bad"].done()
    assert held == ({"w1": [], "w2": []} if is_lost else {"w1": ["a"], "w2": ["b"]})
    assert engine.busy() == ({} if is_lost else {"a": "w1", "b": "w2"})
    engine.close()
    assert all(future.done() for future in futures.values())
