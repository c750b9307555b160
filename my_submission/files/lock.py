"""One run at a time in an output folder."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from my_submission.files.errors import OutputFailed

LOCK = ".separating.lock"


@contextlib.contextmanager
def sole_run(output_dir: Path) -> Iterator[None]:
    """A folder, which exists, that no other run of this block writes to; the system frees it however this one ends.

    Raises OutputFailed at once if another run does, or if nothing can be written there.
    """
    path = output_dir / LOCK
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
        while not path.exists():  # the run that held it removed it in between
            lock.release()
            lock.acquire()
    except Timeout as error:
        raise OutputFailed(
            f"{output_dir}: another run is writing to this folder; wait until it is done, or choose another --output"
        ) from error
    except OSError as error:
        raise OutputFailed(
            f"{output_dir}: cannot be written: {error.strerror or error}; choose another --output"
        ) from error
    try:
        yield
    finally:
        # While it is held, so that nobody else's is removed. Windows removes no file that is open.
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()
