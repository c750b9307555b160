"""One program at a time where two would undo each other's work."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["Timeout", "held"]


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, whose folder exists, for this block; the system frees it however the block ends.

    Raises Timeout at once if somebody else holds it, OSError if nothing can be written there.
    """
    lock = FileLock(path, timeout=0)
    lock.acquire()
    while not path.exists():  # who held it removed it in between
        lock.release()
        lock.acquire()
    try:
        yield
    finally:
        # While it is held, so that nobody else's is removed. Windows removes no file that is open.
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()
