"""What a model needs at construction: all its files, verified, or one message that says what to do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from . import store
from .errors import MissingWeights
from .manifest import Checkpoint
from .store import find


def require(
    checkpoints: Iterable[Checkpoint],
    *,
    weights_dir: Path | None = None,
    preset: str | None = None,
    download: bool | None = None,
    verify: bool = True,
) -> dict[str, Path]:
    """The file of every checkpoint by name.

    preset: named in the advice of an error. verify: compare sizes and hashes first.
    Raises MissingWeights listing all missing files, their sizes and the command that fetches them.
    """
    rows = tuple(checkpoints)
    found, missing = locate(rows, weights_dir)
    if missing:
        raise MissingWeights(_advice(missing, preset))
    if verify:
        for row in rows:
            store.verify(row, found[row.name])
    return found


def locate(
    checkpoints: Iterable[Checkpoint], weights_dir: Path | None
) -> tuple[dict[str, Path], tuple[Checkpoint, ...]]:
    """(the files that are here, the checkpoints whose file is not)."""
    found: dict[str, Path] = {}
    missing = []
    for checkpoint in checkpoints:
        try:
            found[checkpoint.name] = find(checkpoint, weights_dir)
        except MissingWeights:
            missing.append(checkpoint)
    return found, tuple(missing)


def _advice(missing: tuple[Checkpoint, ...], preset: str | None) -> str:
    lines = [f"  {row.file}  {size_text(row.about_bytes)}  ({row.name})" for row in missing]
    wanted = preset or " ".join(row.name for row in missing)
    title = f"preset {preset}: " if preset else ""
    return "\n".join(
        [
            f"{title}{len(missing)} weights file{'s are' if len(missing) > 1 else ' is'} missing:",
            *lines,
            f"fetch them with: python -m my_submission weights fetch {wanted}",
        ]
    )


def size_text(size: int | None) -> str:
    """A size in MB (10⁶ bytes), as people read it."""
    return "size unknown" if size is None else f"{size / 1e6:.1f} MB"
