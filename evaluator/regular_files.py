"""Files that others made: opened only if they are regular files, and never read beyond a limit.

A pipe, a device or a file without end in the place of a file would otherwise hold us for good.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

BLOCK_BYTES = 1 << 20
# Opening a pipe does not wait for its other end, nor does a terminal become ours. Only Windows has O_BINARY.
_FLAGS = os.O_RDONLY
for _name in ("O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY"):
    _FLAGS |= getattr(os, _name, 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


class IrregularFileError(OSError):
    """There is something else in the place of a file, or it is larger than it may be."""


@contextmanager
def opened(path: Path, links: bool = True) -> Iterator[BinaryIO]:
    """A regular file, open for reading; OSError for anything else, without `links` also for a link."""
    descriptor = os.open(path, _FLAGS | (0 if links else _NO_LINK))
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise IrregularFileError("not a regular file")
        yield file


def read(path: Path, most_bytes: int, links: bool = True) -> bytes:
    """The content of a regular file of `most_bytes` at most; OSError for anything else."""
    with opened(path, links) as file:
        content = file.read(most_bytes + 1)
    if content is None:  # a file of /proc that waits for its next line
        raise IrregularFileError("has no end")
    if len(content) > most_bytes:
        raise IrregularFileError(f"larger than {size_words(most_bytes)}")
    return content


def is_replaceable(path: Path) -> bool:
    """Whether another file may take the place of this one: a regular file, or none yet.

    A pipe or a device, such as /dev/stdout, which root could replace, is written to, and stays.
    """
    try:
        is_regular = stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return True
    return is_regular and not {Path("/dev"), Path("/proc")} & {*path.absolute().parents}


def sha256_of(path: Path, most_bytes: int, links: bool = True) -> tuple[str, int]:
    """SHA-256 in hexadecimal, and size in bytes, of a regular file of `most_bytes` at most; else OSError."""
    digest, size = sha256(), 0
    with opened(path, links) as file:
        if os.fstat(file.fileno()).st_size > most_bytes:
            raise IrregularFileError(f"larger than {size_words(most_bytes)}")
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            size += len(block)
            if size > most_bytes:
                raise IrregularFileError(f"larger than {size_words(most_bytes)}")
    return digest.hexdigest(), size


def size_words(size_bytes: int) -> str:
    """A size in words: "64 MiB"."""
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size_bytes >= 1 << shift:
            return f"{size_bytes / (1 << shift):.4g} {unit}"
    return f"{size_bytes} bytes"
