"""Folders that a submission may have written to: how much lies in them, and emptying them.

Nothing outside is touched whatever they hold: links are removed, never followed, and no path is longer than one name
below an open folder, so that depth is no problem. Standard library only.
"""

import contextlib
import os
import shutil
import stat
from collections import deque
from dataclasses import dataclass

MOST_ENTRIES = 10_000  # looked at for a size; more are too many
HAS_DESCRIPTORS = os.open in os.supports_dir_fd and os.scandir in os.supports_fd


@dataclass(frozen=True)
class Size:
    """Bytes on disk of the files in a folder, and whether they, or the number of files, exceed a limit."""

    bytes: int
    exceeded: bool


def size(path: str, limit_bytes: int | None) -> Size:
    """How much lies in a folder; looks no further once the limit is exceeded."""
    total = entries = 0
    waiting = deque([path])
    while waiting:
        try:
            with os.scandir(waiting.popleft()) as found:
                for entry in found:
                    entries += 1
                    status = entry.stat(follow_symlinks=False)
                    total += getattr(status, "st_blocks", 0) * 512 or status.st_size
                    if stat.S_ISDIR(status.st_mode):
                        waiting.append(entry.path)
                    if entries > MOST_ENTRIES or (limit_bytes is not None and total > limit_bytes):
                        return Size(total, exceeded=True)
        except OSError:
            continue  # gone in the meantime, or too deep to be named: it is counted where it can be
    return Size(total, exceeded=False)


def clear(path: str) -> None:
    """Remove everything in a folder but not the folder itself; what cannot be removed stays.

    A folder that is not empty is first moved up into `path`, under a number for a name, until there is none.
    """
    if not HAS_DESCRIPTORS:
        for entry in os.scandir(path):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)
        return
    top = _open(path)
    try:
        taken = set(os.listdir(top))
        numbers = (f".{number}" for number in range(1 << 62) if f".{number}" not in taken)
        waiting = deque(name for name in os.listdir(top) if not _remove(top, name))
        while waiting:
            name = waiting.popleft()
            with contextlib.suppress(OSError):
                os.chmod(name, 0o700, dir_fd=top, follow_symlinks=False) if _can_change_modes() else None
            with contextlib.suppress(OSError):
                folder = _open(name, top)
                try:
                    for inner in os.listdir(folder):
                        if not _remove(folder, inner):
                            moved = next(numbers)
                            os.rename(inner, moved, src_dir_fd=folder, dst_dir_fd=top)
                            waiting.append(moved)
                finally:
                    os.close(folder)
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)


def remove(path: str) -> None:
    """Remove a folder with everything in it; nothing happens if there is none."""
    with contextlib.suppress(OSError):
        clear(path)
        os.rmdir(path)


def _open(path: str, folder: int | None = None) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)


def _remove(folder: int, name: str) -> bool:
    """Remove one name; False if it is a folder that is not empty (or cannot be removed)."""
    for call in (os.unlink, os.rmdir):
        with contextlib.suppress(OSError):
            call(name, dir_fd=folder)
            return True
    return False


def _can_change_modes() -> bool:
    return os.chmod in os.supports_dir_fd and os.chmod in os.supports_follow_symlinks
