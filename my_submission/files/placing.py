"""Where output files lie while they are written, and the folders that are made for them."""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from my_submission.files.errors import OutputFailed


def exists_message(path: Path) -> str:
    """What to say if a file is in the way."""
    return f"{path} already exists; --overwrite replaces it, --resume skips what is done"


def temporary_path(target: Path, token: str) -> Path:
    """The name of a target while it is written: hidden, in the same folder, with the writing process's `token`.

    It is short, so that every name that a file system allows can be written.
    """
    digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
    return target.with_name(f".{digest}.{token}.part")


def remove_temporary(targets: Iterable[Path], run: str) -> None:
    """Remove what is left of targets that a run's workers did not finish: tokens that begin with `run` and a dash."""
    for target in targets:
        own = temporary_path(target, f"{run}-*")
        for left in own.parent.glob(own.name):
            left.unlink(missing_ok=True)


@contextlib.contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """A folder that exists inside the block; afterwards it, and folders created above it, are removed if empty.

    Raises OutputFailed if it cannot be created.
    """
    missing = missing_folders(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputFailed(
            f"{folder}: the folder cannot be created: {error.strerror}; choose another --output"
        ) from error
    try:
        yield
    finally:
        remove_empty(missing)


def missing_folders(folder: Path) -> list[Path]:
    """Those of the folder and its parents that do not exist, the innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders, the innermost first, up to the first that is not empty."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return
