"""Recordings at the same paths on all machines, compared by hash: what is said where one is not as it was."""

from collections.abc import Callable
from pathlib import Path

from sdx.engines.engine import SHORT


def unlike(recording: Path, sha256: str, sha256_of: Callable[[Path], str]) -> str | None:
    """Why a recording here is not the one with this hash, in words of a worker; None if it is.

    sha256_of: how it is hashed; an OSError of it is told, too.
    """
    try:
        found = sha256_of(recording)
    except OSError as error:
        return f"has no such recording: {recording}: {error.strerror or error}"
    if found == sha256:
        return None
    return f"has another recording: {recording} has {found[:SHORT]}, expected {sha256[:SHORT]}"


def changed(recording: Path) -> str:
    """What is said where a recording is no longer what it was where the work began."""
    return f"{recording}: changed, or gone, since the run began"
