"""Keyed work on an engine, until all of it is done or given up: what dies is submitted again, what is slow copied.

The engine keeps nothing, so this is where it is known what is left. Each piece of work is answered once, by its key,
however often it was done.
"""

import queue
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Protocol

from sdx.engines.address import PATIENCE_SECONDS
from sdx.engines.engine import (
    Answer,
    Engine,
    EngineError,
    Needs,
    Placed,
    Refused,
    Worker,
    WorkerLostError,
    WorkLostError,
)

MOST_ATTEMPTS = 3
LOOK_SECONDS = 0.5
NEWCOMER_SECONDS = (
    5.0  # for a worker that is just being started again, once all that are there were set aside
)
SHOWN = 3  # machines, in one sentence


@dataclass(frozen=True)
class Task:
    """A piece of work; `weight` is what its time is proportional to, such as seconds of audio."""

    key: str
    arguments: tuple[Any, ...]
    weight: float = 1.0


@dataclass(frozen=True)
class Stragglers:
    """When a task counts as slow: `factor` times the median pace of those that are done, and at least `seconds`."""

    factor: float = 3.0
    seconds: float = 30.0


class Client(Protocol):
    """Whose work it is.

    `answered` takes what came of a task, or says why its worker's answers are not to be taken. `changed` is asked
    where a worker refuses a task, since that may be our fault: what of it is, here, no longer what it was when the
    work began, None where nothing is. `gave_up` is told of a task that has changed so, or that was lost three times
    with its worker. `notice` is told in a sentence what a person may want to know, `watched` now and then who is
    there, and {key: worker} of what is being done. Any of them may end the work by raising an error of its own.
    """

    def answered(self, task: Task, answer: Answer) -> str | None: ...
    def changed(self, task: Task) -> str | None: ...
    def gave_up(self, task: Task, reason: str) -> None: ...
    def notice(self, text: str) -> None: ...
    def watched(self, workers: Sequence[Worker], busy: Mapping[str, str]) -> None: ...


@dataclass
class _State:
    """A task that is not done yet: how it was lost, its copies in the engine, and since when one is at work.

    failed_on: workers that raised something over it, and are asked again only where there are no others.
    """

    task: Task
    lost: list[str] = field(default_factory=list)
    failed_on: set[str] = field(default_factory=set)
    copies: set[Placed] = field(default_factory=set)
    since: float | None = None
    is_copied: bool = False


class NobodyLeftError(EngineError):
    """Every worker that there was has been set aside; `reasons` says why, by machine."""

    def __init__(self, reasons: Sequence[str]) -> None:
        more = f"; and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else ""
        super().__init__(f"no worker is left that may do the work: {'; '.join(reasons[:SHOWN])}{more}")


def complete(
    engine: Engine,
    function: Callable[..., Any],
    tasks: Sequence[Task],
    client: Client,
    needs: Needs,
    patience_seconds: float = PATIENCE_SECONDS,
    stragglers: Stragglers = Stragglers(),
) -> None:
    """Have `function` called with the arguments of each task, and hand every answer to `client`, once by key.

    A task is tried three times at most, by any worker. One that `function` answers with Refused was not tried, and
    its worker is set aside, unless what the task is made of has changed here. Raises NobodyLeftError where none is
    left, EngineError where there has been none for `patience_seconds`.
    """
    _Course(engine, function, tasks, client, needs, patience_seconds, stragglers).run()


class _Course:
    def __init__(
        self,
        engine: Engine,
        function: Callable[..., Any],
        tasks: Sequence[Task],
        client: Client,
        needs: Needs,
        patience_seconds: float,
        stragglers: Stragglers,
    ) -> None:
        self._engine = engine
        self._function = function
        self._client = client
        self._needs = needs
        self._patience = patience_seconds
        self._stragglers = stragglers
        self._open = {task.key: _State(task) for task in tasks}
        self._events: queue.SimpleQueue[tuple[str, Placed]] = queue.SimpleQueue()
        self._paces: list[float] = []  # seconds per weight
        self._reasons: dict[str, str] = {}  # of machines that were set aside
        self._seen_worker = time.monotonic()
        self._is_waiting = False

    def run(self) -> None:
        for state in self._open.values():
            self._submit(state)
        looked = time.monotonic()
        while self._open:
            with suppress(queue.Empty):
                key, future = self._events.get(timeout=LOOK_SECONDS)
                self._take(key, future)
            if time.monotonic() - looked >= LOOK_SECONDS:
                self._look()
                looked = time.monotonic()

    def _submit(self, state: _State, has_it: str | None = None) -> None:
        key = state.task.key
        avoid = frozenset(state.failed_on if has_it is None else {*state.failed_on, has_it})
        future = self._engine.submit(
            self._function, *state.task.arguments, key=key, needs=self._needs, avoid=avoid
        )
        state.copies.add(future)
        future.add_done_callback(lambda done: self._events.put((key, future)))

    def _take(self, key: str, future: Placed) -> None:
        """One copy of a task has come to its end."""
        state = self._open.get(key)
        if state is None:
            return  # a copy of what is done
        state.copies.discard(future)
        try:
            answer = future.result()
        except CancelledError:
            return
        except EngineError:
            raise
        except WorkLostError as error:
            self._client.notice(str(error))
        except WorkerLostError as error:
            state.lost.append(str(error))
            self._client.notice(f"{key}: {error}{'' if len(state.lost) >= MOST_ATTEMPTS else '; again'}")
        except Exception as error:  # of the function, whatever it is: named, and tried elsewhere
            state.lost.append(f"{type(error).__name__}: {error}")
            state.failed_on.add(future.worker)
            self._client.notice(
                f"{key}: {state.lost[-1]}{'' if len(state.lost) >= MOST_ATTEMPTS else '; again'}"
            )
        else:
            self._take_answer(state, answer)
            return
        if len(state.lost) >= MOST_ATTEMPTS:
            self._close(state)
            self._client.gave_up(
                state.task, f"given up after {MOST_ATTEMPTS} attempts: {'; '.join(state.lost)}"
            )
        elif not state.copies:
            self._again(state)

    def _take_answer(self, state: _State, answer: Answer) -> None:
        refused: str | None
        if isinstance(answer.value, Refused):
            refused = answer.value.reason
            if (changed := self._client.changed(state.task)) is not None:
                self._engine.set_aside(answer.worker, None)
                self._close(state)
                self._client.gave_up(state.task, changed)
                return
        else:
            refused = self._client.answered(state.task, answer)
        if refused is None:
            took = 0.0 if state.since is None else time.monotonic() - state.since
            self._paces.append(took / state.task.weight)
            self._close(state)
            return
        self._engine.set_aside(answer.worker, refused)
        self._reasons[answer.worker] = f"{answer.machine} {refused}"
        self._client.notice(f"{answer.worker} is given no more work: {answer.machine} {refused}")
        if not state.copies:
            self._again(state)

    def _again(self, state: _State) -> None:
        state.since, state.is_copied = None, False
        self._submit(state)

    def _close(self, state: _State) -> None:
        """A task has its end; its other copies, if they wait, are not started."""
        del self._open[state.task.key]
        for copy in state.copies:
            copy.cancel()

    def _look(self) -> None:
        """Now and then: is anybody there, and does anything take too long?"""
        now = time.monotonic()
        workers = self._engine.workers()
        busy = self._engine.busy()
        self._client.watched(workers, busy)
        fit = [worker for worker in workers if worker.set_aside is None]
        self._reasons |= {
            each.name: f"{each.machine} {each.set_aside}"
            for each in workers
            if each.set_aside and each.name not in self._reasons
        }
        if fit or busy or not self._events.empty():  # what has come may give a worker back
            self._seen_worker, self._is_waiting = now, False
        else:
            self._wait_for_workers(now - self._seen_worker, bool(workers))
        for key in busy:
            if (state := self._open.get(key)) is not None and state.since is None:
                state.since = now
        idle = len(fit) - sum(1 for worker in fit if worker.name in busy.values())
        if idle > 0 and len(busy) >= len(self._open):
            self._copy_stragglers(now, busy, idle)

    def _wait_for_workers(self, seconds: float, all_aside: bool) -> None:
        if all_aside and seconds > NEWCOMER_SECONDS:
            raise NobodyLeftError(list(self._reasons.values()))
        if seconds > self._patience:
            raise EngineError(
                f"no worker has been there for {self._patience:.0f} s; what is done is kept, start workers and go on"
                " with --resume"
            )
        if not self._is_waiting and seconds > NEWCOMER_SECONDS:
            self._is_waiting = True
            self._client.notice(f"waiting for workers, for at most {self._patience:.0f} s")

    def _copy_stragglers(self, now: float, busy: dict[str, str], idle: int) -> None:
        """Give what takes far longer than the rest to somebody else, too; the first answer counts."""
        if not self._paces:
            return
        usual = self._stragglers.factor * median(self._paces)
        for key, worker in busy.items():
            state = self._open.get(key)
            if state is None or state.is_copied or state.since is None or idle <= 0:
                continue
            if now - state.since > max(usual * state.task.weight, self._stragglers.seconds):
                state.is_copied = True
                idle -= 1
                self._client.notice(f"{key} takes long on {worker}; another worker has it now, too")
                self._submit(state, worker)
