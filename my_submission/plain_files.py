"""Files from outside: opened only if they are regular, read up to a limit, and replaced without following links.

A named pipe holds its reader for ever, a device may have no end, and what is written through a link lands in somebody
else's file.
"""

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
# Windows has neither; there, opening a file does not wait for anybody, and making a link takes a privilege.
_NO_WAITING: int = getattr(os, "O_NONBLOCK", 0)
_NO_LINKS: int = getattr(os, "O_NOFOLLOW", 0)
_BINARY: int = getattr(os, "O_BINARY", 0)


class NotAFile(OSError):  # noqa: N818, the name says it
    """Something other than a regular file, or more of it than is allowed; says what was found and expected."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; links to one are followed. Raises NotAFile, and OSError as `open` does.

    What it is is asked before, since opening a device may have effects, and again of the open file, since something
    else may have taken its place.
    """
    _check_kind(path, path.stat().st_mode)
    descriptor = os.open(path, os.O_RDONLY | _NO_WAITING | _BINARY)
    try:
        _check_kind(path, os.fstat(descriptor).st_mode)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, most_bytes: int) -> bytes:
    """The content of a regular file of at most that many bytes; NotAFile, OSError."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most_bytes:
            raise NotAFile(f"{path} has {size:,} bytes, expected at most {most_bytes:,}")
        return file.read(size)  # no more, should it grow meanwhile


def identity(path: Path) -> tuple[int, ...]:
    """Another one once a file has changed or been replaced; OSError if there is none."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def check_regular(path: Path) -> int:
    """The size of a regular file; NotAFile, and OSError where it cannot be opened."""
    with open_regular(path) as file:
        return os.fstat(file.fileno()).st_size


def open_own(path: Path) -> BinaryIO:
    """Open a file of ours for appending, empty if there is none.

    Whatever else has its name (a link, a second name of another file, a pipe) is removed first, since it leads
    somewhere else; what it leads to is left alone. Raises OSError, for a folder, too.
    """
    if not _is_own(path):
        path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NO_WAITING | _NO_LINKS | _BINARY
    descriptor = os.open(path, flags, 0o666)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise NotAFile(f"{path} was replaced while it was opened, expected a file of its own")
        return os.fdopen(descriptor, "ab")
    except BaseException:
        os.close(descriptor)
        raise


def own_bytes(path: Path) -> int:
    """The size of what `open_own` would continue, 0 if it would begin anew."""
    return path.lstat().st_size if _is_own(path) else 0


def _is_own(path: Path) -> bool:
    """Whether a path is a regular file that has no other name."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def replace_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Give a file new content in one step; a link of that name is replaced, and what it leads to is left alone.

    The draft is new, with a name that nobody can foresee, in the same folder. Raises OSError.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINKS | _BINARY, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _check_kind(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for test, name in _KINDS if test(mode)), "something else")
        raise NotAFile(f"{path} is {kind}, expected a file")
