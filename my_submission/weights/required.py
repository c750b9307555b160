"""What a model needs at construction: all its files, verified; or one message that says what to do."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from ..locations import command
from . import store
from .checkpoints import Checkpoint
from .errors import MissingWeights, WeightsError
from .fetch import fetch
from .licences import refuse

log = logging.getLogger(__name__)

DOWNLOAD_VARIABLE = "SDX_DOWNLOAD"
ORGANISERS_VARIABLE = "AICROWD_DATASET_DIR"  # set on the organisers' machine


def require(
    checkpoints: Iterable[Checkpoint],
    *,
    weights_dir: Path | None = None,
    preset: str | None = None,
    download: bool | None = None,
    verify: bool = True,
) -> dict[str, Path]:
    """The file of every checkpoint that has one, by name.

    weights_dir: a folder to search first. preset: what to call it in error messages, as a command takes it.
    download: fetch what is missing; None asks the environment (`download_allowed`).
    verify: compare sizes and hashes first.
    Raises MissingWeights listing all missing files, their sizes and the command that fetches them; DownloadError;
    LicenceNotAccepted, since nobody is asked here; WrongContent.
    """
    rows = tuple(row for row in checkpoints if row.has_file)
    found, missing = locate(rows, weights_dir)
    if missing and (download_allowed() if download is None else download):
        found |= fetch(
            missing, weights_dir=weights_dir, agree=partial(refuse, wanted=[preset] if preset else [])
        )
    elif missing:
        raise MissingWeights(_advice(missing, preset))
    if verify:
        for row in rows:
            if store.verify(row, found[row.name]).against == "nothing":
                log.warning("%s: no hash of %s is known; it is used unverified", row.name, found[row.name])
    return found


def download_allowed() -> bool:
    """Whether constructing a model may download: if SDX_DOWNLOAD=1, but never on the organisers' machine."""
    value = os.environ.get(DOWNLOAD_VARIABLE, "")
    if value not in ("", "0", "1"):
        raise WeightsError(f"{DOWNLOAD_VARIABLE}: found {value!r}, allowed: 1 (download what is missing), 0")
    return value == "1" and ORGANISERS_VARIABLE not in os.environ


def locate(
    checkpoints: Iterable[Checkpoint], weights_dir: Path | None
) -> tuple[dict[str, Path], tuple[Checkpoint, ...]]:
    """(the files that are here, by name; the checkpoints whose files are missing)."""
    found: dict[str, Path] = {}
    missing = []
    for checkpoint in checkpoints:
        try:
            found[checkpoint.name] = store.find(checkpoint, weights_dir)
        except MissingWeights:
            missing.append(checkpoint)
    return found, tuple(missing)


def _advice(missing: tuple[Checkpoint, ...], preset: str | None) -> str:
    own = [row for row in missing if not row.origins]
    names = {row.name: str(store.own_place(row)) if row in own else row.file for row in missing}
    width = max(map(len, names.values()))
    lines = [
        f"  {names[row.name]:{width}}  {size_text(row.about_bytes):>12}  ({row.name})" for row in missing
    ]
    title = f"preset {preset}: " if preset else ""
    files = "weights files are" if len(missing) > 1 else "weights file is"
    return "\n".join([f"{title}{len(missing)} {files} missing:", *lines, *_what_to_do(missing, own, preset)])


def _what_to_do(
    missing: Iterable[Checkpoint], own: Sequence[Checkpoint], preset: str | None
) -> Iterator[str]:
    """A line for what can be fetched, one for what only the user has, one for what an evaluation hides."""
    if fetched := [row.name for row in missing if row.origins]:
        yield f"fetch with: {command('weights fetch', *([preset] if preset else fetched))}"
    # An evaluation shows the submission's own folder only.
    hidden = [row for row in own if row.path and ORGANISERS_VARIABLE in os.environ]
    if put := ", ".join(row.name for row in own if row not in hidden):
        yield f"nothing is known to fetch {put} from (no origins): put your own there"
    if folders := dict.fromkeys(row.path.parent for row in hidden if row.path):
        shown = " ".join(f"--readable {shlex.quote(str(folder))}" for folder in folders)
        yield f"files outside the submission's folder are not in sight; evaluate with: {shown}"


def size_text(size: int | None) -> str:
    """A size in MB (10⁶ bytes), as people read it."""
    return "unknown size" if size is None else f"{size / 1e6:.1f} MB"
