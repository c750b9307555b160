"""How many workers of one machine hold a submission, whoever started them: each takes a numbered lock.

The kernel lets a lock go with its process, so nothing is left of a worker that was killed.
"""

import os
import stat
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

MOST_SLOTS = 1024
GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"


class Slot:
    """A number from 0 that no other worker of this user on this machine has, until `close`. Raises OSError."""

    def __init__(self) -> None:
        self._folder = own_folder()
        with self._guard():
            for number in range(MOST_SLOTS):
                if (lock := self._taken(number)) is not None:
                    self.number, self._lock = number, lock
                    return
        raise OSError(f"{self._folder}: more than {MOST_SLOTS} workers on this machine")

    def side_by_side(self) -> int:
        """How many slots are taken, this one included."""
        others = 0
        with self._guard():
            numbers = {int(file.stem) for file in self._folder.glob("[0-9]*.lock")}
            for number in numbers - {self.number}:
                lock = self._taken(number)
                others += lock is None
                if lock is not None:
                    lock.release()
        return 1 + others

    def take_a_gpu(self, gpus: int) -> None:
        """Of that many GPUs, workers take one each, unless whoever started this one said which."""
        if gpus > 1 and GPU_VARIABLE not in os.environ:
            os.environ[GPU_VARIABLE] = str(self.number % gpus)

    def close(self) -> None:
        """Let the number go."""
        self._lock.release()

    def _guard(self) -> FileLock:
        """Held while locks are tried, so that a trial is not taken for a worker."""
        return FileLock(self._folder / "guard", timeout=60)

    def _taken(self, number: int) -> FileLock | None:
        lock = FileLock(self._folder / f"{number}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            return None
        return lock


def own_folder() -> Path:
    """A folder of this machine that is this user's alone, for what its workers share; OSError where it cannot be."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"sdx-workers-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode) or (hasattr(os, "getuid") and status.st_uid != user):
        raise OSError(f"{folder}: is not a folder of ours; remove it")
    return folder
