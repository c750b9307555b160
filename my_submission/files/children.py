"""Child processes that may begin before there is anything to do: what takes long to import, they import meanwhile.

This module imports nothing of it.
"""

import contextlib
import multiprocessing
import signal
from collections.abc import Iterator
from importlib import import_module
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection

from my_submission.files.asked import Asked
from sdx.children import end_with_parent
from sdx.imports import has_torch, imported_for_good

_WORK = "my_submission.files.worker_side"
_SPAWN = multiprocessing.get_context("spawn")  # a fork of a process in which torch has threads can hang
_ahead: "list[Child]" = []


class Child:
    """A process that imports `worker_side`, whose `serve` then does what comes over `connection`.

    asked: the model that it will be told to use, as far as known; it is opened without waiting.
    """

    def __init__(self, asked: Asked | None = None) -> None:
        self.connection, its_end = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=_begin, args=(its_end, asked), daemon=False)
        try:
            with _interrupts_held_back():
                self.process.start()
                its_end.close()
        except KeyboardInterrupt:  # held back until there was a child, of which nobody else knows
            self.kill()
            raise

    def kill(self) -> None:
        """End it at once."""
        self.connection.close()
        if self.process.pid is not None:
            self.process.kill()
            self.process.join()


@contextlib.contextmanager
def one_ahead(asked: Asked | None = None) -> Iterator[None]:
    """Start a child, which is the first that `take_child` gives within the block; killed at its end if not taken.

    It is of no use where this process has already imported what takes long: then there is none.
    """
    if not has_torch():
        with contextlib.suppress(OSError):  # who wants a child will be told
            _ahead.append(Child(asked))
    try:
        yield
    finally:
        while _ahead:
            _ahead.pop().kill()


def take_child() -> Child:
    """A child for one's own use; it must be ended. Raises OSError if the system has no room for another process."""
    return _ahead.pop() if _ahead else Child()


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Hold Ctrl-C back until the end of the block. A child started inside never sees one: its parent decides.

    If signals cannot be held back (Windows), the child ignores them from its first line on.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which starting the first child does, and lets interrupts through
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _begin(connection: Connection, asked: Asked | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    with imported_for_good():
        work = import_module(_WORK)
    work.serve(connection, asked)
