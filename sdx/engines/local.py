"""The engine of this machine: a few children, each of which does one piece of work at a time.

Not `concurrent.futures.ProcessPoolExecutor`: when one of its processes is killed, all that it had is lost, and it
does not say whose work that was.
"""

import pickle
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from sdx.children import end_with_parent
from sdx.engines.dispatcher import Dispatcher, Piece
from sdx.engines.engine import EngineError, Worker

END_SECONDS = 5.0  # for children to put away what they have in hand
LONGEST_PAUSE_SECONDS = 10.0  # before a child that ended at once is started again


class LocalEngine(Dispatcher):
    """Runs functions in `workers` children of this process, and starts one again that has died."""

    def __init__(self, workers: int, gpus: int = 0) -> None:
        super().__init__()
        self._closed = threading.Event()
        self._children: dict[str, tuple[BaseProcess, Connection]] = {}
        self._gpus = gpus
        self._threads = [
            threading.Thread(target=self._look_after, args=(f"local-{number}",), daemon=True)
            for number in range(1, workers + 1)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the children, and with them whatever they started; waits for that."""
        self._closed.set()
        self._stop(EngineError("the engine was closed"))
        with self._lock:
            children = list(self._children.values())
        for child, _ in children:
            child.terminate()
        deadline = time.monotonic() + END_SECONDS
        for child, _ in children:
            child.join(max(deadline - time.monotonic(), 0))
            if child.is_alive():  # deaf, in code that is not Python's
                child.kill()
        for thread in self._threads:
            thread.join()

    def _begin(self, worker: Worker, piece: Piece) -> None:
        child, connection = self._children[worker.name]
        try:
            connection.send((piece.function, piece.arguments))
        except OSError:
            child.kill()  # whoever looks after it finds it gone
        except Exception as error:  # whatever pickle raises for arguments that cannot travel
            self._done(worker.name, piece, error)

    def _look_after(self, name: str) -> None:
        """Keep one child there, and take its answers."""
        pause = 0.0
        while not self._closed.wait(pause):
            ours, theirs = get_context("spawn").Pipe()
            child = get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
            child.start()
            theirs.close()
            with self._lock:
                self._children[name] = (child, ours)
                if self._closed.is_set():
                    child.terminate()
            answered = self._take_answers(name, ours)
            self._left(name)
            child.join()
            ours.close()
            pause = 0.0 if answered else min(2 * pause + 0.1, LONGEST_PAUSE_SECONDS)

    def _take_answers(self, name: str, connection: Connection) -> bool:
        """Until the child ends; whether it answered anything."""
        answered = False
        with suppress(EOFError, OSError):
            machine = connection.recv()
            self._joined(Worker(name, machine, self._gpus))
            while True:
                outcome = _received(connection)
                answered = True
                with self._lock:
                    piece = self._busy.get(name)
                if piece is not None:
                    self._done(name, piece, outcome)
        return answered


def _serve(connection: Connection) -> None:
    """The child: call what is sent and answer with what comes of it, until the other end is gone."""
    signal.signal(signal.SIGTERM, _leave)
    end_with_parent()
    with suppress(EOFError, OSError, KeyboardInterrupt):
        connection.send(socket.gethostname())
        while True:
            function, arguments = connection.recv()
            _answer(connection, _outcome(function, arguments))


def _leave(number: int, frame: FrameType | None) -> None:
    """End as a program does, so that what the function has in hand is put away."""
    sys.exit(128 + number)


def _outcome(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    try:
        return function(*arguments)
    except Exception as error:  # it is the submitter's to name
        return _travelling(error.with_traceback(None))


def _travelling(error: Exception) -> Exception:
    """An exception, or one that says as much where it could not be made again at the other end."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its own constructor raises
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _answer(connection: Connection, outcome: Any) -> None:
    try:
        connection.send(outcome)
    except OSError:  # the other end is gone
        raise
    except Exception as error:  # whatever pickle raises for a value that cannot travel; nothing was sent
        connection.send(RuntimeError(f"what it returned cannot be sent: {error}"))


def _received(connection: Connection) -> Any:
    """What came of a piece; EOFError or OSError where the child is gone."""
    try:
        return connection.recv()
    except (EOFError, OSError):
        raise
    except Exception as error:  # a value that cannot be made again here; all of it was read
        return error
