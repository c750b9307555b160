"""Folders that appear complete or not at all, whoever else makes the same ones."""

import contextlib
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path

PARTIAL = ".partial"


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Has `write` fill a temporary folder beside `folder`, then renames it; what somebody made first stays."""
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}{PARTIAL}")
    temporary.mkdir(parents=True)
    try:
        write(temporary)
        temporary.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_partial(root: Path, name: str = "*", older_seconds: float = 0.0) -> None:
    """Remove what somebody who was killed left of such folders, of this name, directly below `root`.

    older_seconds: what has changed since then may still be written.
    """
    for left in root.glob(f".{name}.*{PARTIAL}"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime >= older_seconds:
                shutil.rmtree(left, ignore_errors=True)
