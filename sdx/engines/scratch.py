"""A folder of a worker's own on its machine, which goes even where the worker is killed.

Its owner holds a lock, which the kernel lets go with the process. Whoever makes the next one on that machine removes
those that nobody holds any more.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from sdx.engines.slots import own_folder

PREFIX, LOCK = "scratch-", "held"


class Scratch:
    """The folder `path`, until `close`."""

    def __init__(self) -> None:
        place = own_folder()
        with FileLock(place / "scratch.lock", timeout=60):  # a new one is not taken for one that was left
            for left in place.glob(f"{PREFIX}*"):
                if (lock := _held(left)) is not None:
                    _remove(left, lock)
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
            lock = _held(self.path)
        assert lock is not None
        self._lock = lock

    def close(self) -> None:
        """Remove it."""
        _remove(self.path, self._lock)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder, removed afterwards."""
    scratch = Scratch()
    try:
        yield scratch.path
    finally:
        scratch.close()


def _held(folder: Path) -> FileLock | None:
    """The lock of a folder, now ours; None if somebody else has it."""
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return None
    return lock


def _remove(folder: Path, lock: FileLock) -> None:
    lock.release()
    shutil.rmtree(folder, ignore_errors=True)
