"""One program at a time where two would undo each other's work."""

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["Timeout", "held"]

_WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
"""What a file system says that has none, as those of clusters often are mounted."""


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, whose folder exists, for this block; the system frees it however the block ends.

    On a file system without locks, nothing is held. Raises Timeout at once if somebody else holds it, OSError if
    nothing can be written there.
    """
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _WITHOUT_LOCKS:
            raise
    while lock.is_locked and not path.exists():  # who held it removed it in between
        lock.release()
        lock.acquire()
    try:
        yield
    finally:
        # While it is held, so that nobody else's is removed. Windows removes no file that is open.
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()
