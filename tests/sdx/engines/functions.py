"""Functions that the tests submit: a worker imports them by their names."""

import os
import signal
import threading
import time
from pathlib import Path

from sdx.engines.held import HELD


def square_or_die(number: int) -> int:
    """The square; a number below 0 takes its worker with it."""
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def sleep_and_square(number: int) -> int:
    """The square, after a while."""
    time.sleep(0.3)
    return number * number


def hold(path: str) -> None:
    """Have a file for as long as this runs, which is long."""
    file = Path(path)
    try:  # from the first moment on at which anybody can see the file
        file.touch()
        time.sleep(600)
    finally:
        file.unlink(missing_ok=True)


class Waiting:
    """A station whose work is over once it is ended."""

    def __init__(self) -> None:
        self._is_over = threading.Event()

    def cancel(self) -> None:
        self._is_over.set()

    def close(self) -> None:
        pass

    def have(self, file: Path) -> bool:
        file.touch()
        over = self._is_over.wait(600)
        file.unlink()
        return over


def hold_until_ended(path: str) -> None:
    """Have a file until somebody ends this."""
    HELD.use("waiting", Waiting, lambda station: station.have(Path(path)), lambda _: False)


def make_file(folder: str, number: int) -> int:
    """A file, after a while; which process made it stands in it."""
    time.sleep(0.5)
    draft = Path(folder, f".{number}-{os.getpid()}")
    draft.write_text(str(os.getpid()))
    draft.rename(Path(folder, f"{number}.txt"))
    return number


class OddError(Exception):
    """One that pickle cannot make again."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")


def fail_oddly() -> None:
    """Raise what cannot travel."""
    raise OddError("no", "reason")


def return_oddly(makes_again: bool) -> object:
    """A value that cannot be sent, or one that cannot be made again where it arrives."""
    return OddError("a", "value") if makes_again else return_oddly.__code__
