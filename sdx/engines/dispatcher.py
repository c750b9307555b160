"""Who does what: a queue, and the workers that are there, each with one piece of work at most.

Placing is ours rather than the engine's, for three reasons: when a worker dies we know which piece it had, so that
one that kills its workers is found by its name and not by its neighbours'; a second copy of a slow piece goes to
another worker; and one that was set aside gets nothing more.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from sdx.engines.engine import Answer, Needs, Placed, Refused, Worker, WorkerLostError


@dataclass(eq=False)
class Piece:
    """One submission of a function, with the future of its answer."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    key: str
    needs: Needs
    avoid: frozenset[str]
    future: Placed = field(default_factory=Placed)


class Dispatcher:
    """Gives each free worker the next piece that it may do; subclasses reach the workers, and say what came of it."""

    dashboard: str | None = None

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._waiting: deque[Piece] = deque()
        self._workers: dict[str, Worker] = {}
        self._busy: dict[str, Piece] = {}  # by worker
        self._end: BaseException | None = None

    def submit(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        key: str,
        needs: Needs,
        avoid: frozenset[str] = frozenset(),
    ) -> Placed:
        """Have a worker call `function`, as soon as one is free that is not among `avoid`, unless all are."""
        piece = Piece(function, arguments, key, needs, avoid)
        with self._lock:
            if self._end is not None:
                piece.future.set_exception(self._end)
            else:
                self._waiting.append(piece)
                self._place()
        return piece.future

    def workers(self) -> tuple[Worker, ...]:
        """Those that are there."""
        with self._lock:
            return tuple(self._workers.values())

    def busy(self) -> dict[str, str]:
        """{key: worker} of what is being done."""
        with self._lock:
            return {piece.key: name for name, piece in self._busy.items()}

    def set_aside(self, worker: str, reason: str | None) -> None:
        """Give a worker no more work; None: it was no fault of the worker's, and it is given some again."""
        with self._lock:
            if worker in self._workers:
                self._workers[worker] = replace(self._workers[worker], set_aside=reason)
                self._place()

    # For subclasses, from any thread

    def _begin(self, worker: Worker, piece: Piece) -> None:
        """Start a piece on a worker; called with the lock held, so it may not wait."""
        raise NotImplementedError

    def _joined(self, worker: Worker) -> None:
        with self._lock:
            self._workers[worker.name] = worker
            self._place()

    def _left(self, name: str) -> None:
        """A worker is gone, and with it what it was doing."""
        with self._lock:
            worker, piece = self._workers.pop(name, None), self._busy.pop(name, None)
            if piece is not None and worker is not None:
                _settle(piece, WorkerLostError(worker.machine))
            self._place()  # what was kept from others for that one

    def _done(self, name: str, piece: Piece, outcome: Any, machine: str | None = None) -> None:
        """What came of a piece: its value, or an exception that is raised. One that was given up before is late."""
        with self._lock:
            if self._busy.get(name) is not piece:
                return
            del self._busy[name]
            worker = self._workers.get(name)
            if isinstance(outcome, Refused):  # before it is given the next one
                self.set_aside(name, outcome.reason)
            if not isinstance(outcome, BaseException):
                outcome = Answer(name, machine or (name if worker is None else worker.machine), outcome)
            _settle(piece, outcome)
            self._place()

    def _lose_all(self, error: BaseException) -> None:
        """All workers are gone, through no fault of theirs."""
        with self._lock:
            lost = list(self._busy.values())
            self._busy.clear()
            self._workers.clear()
            for piece in lost:
                _settle(piece, error)

    def _stop(self, error: BaseException) -> None:
        """Nothing is done any more: whatever was, or will be, submitted raises `error`."""
        with self._lock:
            self._end = error
            waiting = list(self._waiting)
            self._waiting.clear()
            self._lose_all(error)
            for piece in waiting:
                _settle(piece, error)

    def _place(self) -> None:
        for name in list(self._workers):
            # Asked anew each time: what is begun may end at once, and by that place others, or lose all workers.
            while (worker := self._free(name)) is not None:
                piece = next((each for each in self._waiting if self._may_do(worker, each)), None)
                if piece is None:
                    break
                self._waiting.remove(piece)
                if piece.future.set_running_or_notify_cancel():
                    piece.future.worker = name
                    self._busy[name] = piece
                    self._begin(worker, piece)

    def _free(self, name: str) -> Worker | None:
        """The worker of that name, if it is there and may be given something."""
        worker = self._workers.get(name)
        return None if worker is None or name in self._busy or worker.set_aside is not None else worker

    def _may_do(self, worker: Worker, piece: Piece) -> bool:
        if worker.name in piece.avoid and any(
            name not in piece.avoid and _is_fit(other, piece) for name, other in self._workers.items()
        ):
            return False
        return _is_fit(worker, piece)


def _is_fit(worker: Worker, piece: Piece) -> bool:
    return worker.set_aside is None and worker.gpus >= piece.needs.gpus


def _settle(piece: Piece, outcome: Any) -> None:
    if piece.future.cancelled():
        return
    if isinstance(outcome, BaseException):
        piece.future.set_exception(outcome)
    else:
        piece.future.set_result(outcome)
