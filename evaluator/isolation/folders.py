"""Folders that a submission may have written to: how much lies in them, and emptying them.

Nothing outside is touched whatever they hold: links are removed, never followed, and no path is longer than one name
below an open folder, so that depth is no problem. Standard library only.
"""

import contextlib
import itertools
import os
import shutil
import stat
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

MOST_ENTRIES, MOST_DEPTH = 10_000, 200  # looked at for a size; more are too many
HAS_DESCRIPTORS = os.open in os.supports_dir_fd and os.scandir in os.supports_fd


@dataclass(frozen=True)
class Size:
    """Bytes on disk of the files in a folder, and whether they, or the number of files, exceed a limit."""

    bytes: int
    exceeded: bool


def size(path: str, limit_bytes: int | None) -> Size:
    """How much lies in a folder; looks no further once the limit is exceeded.

    What is too deep, or cannot be looked at since its rights were taken away, is too much as well: else anything
    could be kept there.
    """
    total = entries = 0
    waiting = deque([(path, 0)])
    while waiting:
        folder, depth = waiting.popleft()
        try:
            with os.scandir(folder) as found:
                for entry in found:
                    entries += 1
                    if (status := _status(entry)) is None:
                        continue
                    total += status.st_blocks * 512 if hasattr(status, "st_blocks") else status.st_size
                    if stat.S_ISDIR(status.st_mode):
                        waiting.append((entry.path, depth + 1))
                    is_larger = limit_bytes is not None and total > limit_bytes
                    if is_larger or entries > MOST_ENTRIES or depth > MOST_DEPTH:
                        return Size(total, exceeded=True)
        except (FileNotFoundError, NotADirectoryError):
            continue  # gone in the meantime
        except OSError:
            if sys.platform != "win32":  # which refuses to open a folder that is just being removed
                return Size(total, exceeded=True)
    return Size(total, exceeded=False)


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    """None for what is gone in the meantime."""
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None


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
    _make_ours(path)
    top = _open(path)
    try:
        names = os.listdir(top)
        free = _free_names(set(names))
        waiting = deque(name for name in names if not _remove(top, name))
        while waiting:
            name = waiting.popleft()
            with contextlib.suppress(OSError):
                waiting += _move_up(top, name, free)
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)


def _move_up(top: int, name: str, free: Iterator[str]) -> list[str]:
    """Remove what can be removed of a folder in `top`, and move all else up, under free names, which are returned."""
    _make_ours(name, top)
    folder = _open(name, top)
    moved = []
    try:
        for inner in os.listdir(folder):
            if not _remove(folder, inner):
                _make_ours(inner, folder)  # else it could not be moved
                new = next(free)
                with contextlib.suppress(OSError):
                    os.rename(inner, new, src_dir_fd=folder, dst_dir_fd=top)
                    moved.append(new)
    finally:
        os.close(folder)
    return moved


def _free_names(taken: set[str]) -> Iterator[str]:
    return (name for name in map(".{}".format, itertools.count()) if name not in taken)


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


def _make_ours(path: str, folder: int | None = None) -> None:
    """Give ourselves what rights to a folder we lack, if it is ours; nothing happens to what a link points to."""
    with contextlib.suppress(OSError):
        if hasattr(os, "O_PATH"):  # Linux, whose chmod follows links
            flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            found = os.open(path, flags, dir_fd=folder)
            try:
                mode = os.fstat(found).st_mode
                if mode & stat.S_IRWXU != stat.S_IRWXU:
                    os.chmod(f"/proc/self/fd/{found}", stat.S_IMODE(mode) | stat.S_IRWXU)
            finally:
                os.close(found)
        elif os.chmod in os.supports_dir_fd and os.chmod in os.supports_follow_symlinks:
            mode = os.stat(path, dir_fd=folder, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                os.chmod(path, stat.S_IMODE(mode) | stat.S_IRWXU, dir_fd=folder, follow_symlinks=False)
