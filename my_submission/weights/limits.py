"""What a checkpoint's file may be, before anything in it is a tensor."""

from __future__ import annotations

from pathlib import Path

from ..plain_files import NotAFile, check_regular
from .errors import UnsafeFile

MOST_TENSORS = 20_000
"""In a file."""


def file_bytes(path: Path) -> int:
    """The size of a checkpoint's file; UnsafeFile if it is no regular file, FileNotFoundError."""
    try:
        return check_regular(path)
    except NotAFile as error:
        raise UnsafeFile(str(error)) from error
