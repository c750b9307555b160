"""Work whose results are files in one folder that all machines share: stems of an album, tracks of a data set.

What is done lies in the folder, under names that follow from the work, so whoever is asked again begins with what is
left. The function that is submitted writes its files completely or not at all, and returns a small record.
"""

import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdx.engines import work
from sdx.engines.address import PATIENCE_SECONDS, SLOW_SECONDS, Address
from sdx.engines.engine import Answer, Engine, Needs, Refused, Worker
from sdx.engines.held import DISK_FULL, UnfitError, full_disk
from sdx.engines.opening import open_engine
from sdx.engines.work import Stragglers, Task


@dataclass(frozen=True)
class Failed:
    """What a function returns where no other worker could do better; the reason is a sentence."""

    reason: str


class Watcher:
    """Is told what happens; does nothing itself."""

    def notice(self, text: str) -> None:
        """Something happened with the engine or its workers; a sentence."""

    def working(self, words: str) -> None:
        """Who is at work and how fast, in words; told again and again."""

    def began(self, key: str) -> None:
        """A worker has begun with a piece of work."""

    def made(self, key: str, value: Any) -> None:
        """Its files are there; `value` is what the function returned."""

    def failed(self, key: str, reason: str) -> None:
        """It cannot be done, or was given up."""


def unchanged(key: str) -> str | None:
    """For pieces that are made of nothing that may change."""
    return None


def make_all(
    address: Address,
    folder: Path,
    function: Callable[..., Any],
    tasks: Sequence[Task],
    watcher: Watcher,
    changed: Callable[[str], str | None] = unchanged,
) -> None:
    """`Workshop.make_all` by an engine that is opened for it, where there is anything to do."""
    if tasks:
        with opened(address, folder, watcher.notice) as workshop:
            workshop.make_all(function, tasks, watcher, changed)


@contextmanager
def opened(address: Address, folder: Path, notice: Callable[[str], None]) -> "Iterator[Workshop]":
    """The workers of an engine, for files that go to `folder`, which is there; EngineError.

    However the block is left, what the workers do is ended, too.
    """
    mark = folder / f".sdx-shared-{secrets.token_hex(8)}"
    engine = open_engine(address, mark, notice)
    try:
        mark.mkdir(exist_ok=True)
        yield Workshop(engine, address, mark)
    finally:
        engine.close()
        shutil.rmtree(mark, ignore_errors=True)


@dataclass(frozen=True)
class Workshop:
    """An open engine, and a folder by whose presence its workers know that they see the one in which it lies."""

    engine: Engine
    address: Address
    mark: Path

    def make_all(
        self,
        function: Callable[..., Any],
        tasks: Sequence[Task],
        watcher: Watcher,
        changed: Callable[[str], str | None] = unchanged,
    ) -> None:
        """Have workers call `function` with the arguments of each task; each ends as made or failed, once.

        `changed` says, by its key, what a piece is made of that is, here, no longer what it was: where a worker
        refuses such a piece, that alone fails. EngineError where nobody may do it, or nobody comes.
        """
        work.complete(
            self.engine,
            _in_folder,
            [Task(each.key, (str(self.mark), function, each.arguments), each.weight) for each in tasks],
            _Client(watcher, len(tasks), changed),
            Needs(gpus=self.address.option("gpus", 0)),
            self.address.option("patience", PATIENCE_SECONDS),
            Stragglers(seconds=self.address.option("slow", SLOW_SECONDS)),
        )


def _in_folder(mark: str, function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    """On a worker: what the function returns; Refused where this machine cannot write into that folder."""
    folder = Path(mark).parent
    if not Path(mark).is_dir():
        return Refused(f"does not see {folder}; choose a folder that all machines share")
    try:
        return function(*arguments)
    except UnfitError as error:
        return Refused(str(error))
    except PermissionError as error:
        return Refused(f"has no permission: {error.filename or folder}")
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        return Refused(full_disk(error.filename or folder))


class _Client:
    """Passes what comes of the work on to a watcher; a `work.Client`."""

    def __init__(self, watcher: Watcher, number: int, changed: Callable[[str], str | None]) -> None:
        self._watcher = watcher
        self._number = number
        self._changed = changed
        self._workers: Sequence[Worker] = ()
        self._done = 0
        self._begun: set[str] = set()
        self._start = time.monotonic()

    def answered(self, task: Task, answer: Answer) -> str | None:
        if isinstance(answer.value, Failed):
            self.gave_up(task, answer.value.reason)
            return None
        self._count(task.key)
        self._watcher.made(task.key, answer.value)
        return None

    def changed(self, task: Task) -> str | None:
        return self._changed(task.key)

    def gave_up(self, task: Task, reason: str) -> None:
        self._count(task.key)
        self._watcher.failed(task.key, reason)

    def notice(self, text: str) -> None:
        self._watcher.notice(text)

    def watched(self, workers: Sequence[Worker], busy: Mapping[str, str]) -> None:
        self._workers = workers
        for key in sorted(busy.keys() - self._begun):
            self._begin(key)
        self._show()

    def _show(self) -> None:
        if self._workers:
            pace = self._done / max(time.monotonic() - self._start, 1)
            self._watcher.working(engine_words(self._workers, self._done, self._number, pace))

    def _begin(self, key: str) -> None:
        self._begun.add(key)
        self._watcher.began(key)

    def _count(self, key: str) -> None:
        if key not in self._begun:  # it was quick
            self._begin(key)
        self._done += 1
        self._show()


def engine_words(workers: Sequence[Worker], done: int, number: int, pace: float) -> str:
    """Who is at work on an engine, and what of it is done; `pace` in pieces a second."""
    return f"{workers_words(workers)}, {done} of {number}, {60 * pace:.1f} a minute"


def workers_words(workers: Sequence[Worker]) -> str:
    """How many of these may do something, on how many machines."""
    fit = [worker for worker in workers if worker.set_aside is None]
    machines = len({worker.machine for worker in fit})
    return f"{len(fit)} worker{'s' * (len(fit) != 1)} on {machines} machine{'s' * (machines != 1)}"
