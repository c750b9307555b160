"""Functions that the tests submit: a worker imports them by their names."""

import os
import signal
import time
from pathlib import Path


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


def make_file(folder: str, number: int) -> int:
    """A file, after a while; which process made it stands in it."""
    time.sleep(0.5)
    draft = Path(folder, f".{number}-{os.getpid()}")
    draft.write_text(str(os.getpid()))
    draft.rename(Path(folder, f"{number}.txt"))
    return number
