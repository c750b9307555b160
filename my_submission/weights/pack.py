"""Collecting what a preset needs inside a submission's repository, for a machine without internet."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import WeightsError
from .manifest import DEMO_MANIFEST, WEIGHTS_FOLDER, Checkpoint
from .store import RECORD_FILE, known_copy, record_key, recorded_sha256, verify, write_record

LFS_BYTES = 5_000_000  # the organisers' limit for files outside git-lfs
_LFS = "filter=lfs diff=lfs merge=lfs -text"


@dataclass(frozen=True)
class Packed:
    """What `pack` did: the folder, the files it holds now, and which of them are for git-lfs."""

    folder: Path
    files: tuple[Path, ...]
    lfs_files: tuple[Path, ...]


def pack(rows: tuple[Checkpoint, ...], found: Mapping[str, Path], submission: Path) -> Packed:
    """Copy verified checkpoints into `submission`/weights under the names at which they will be found there.

    rows, found: the checkpoints and their files. Beside them go the manifest (if it is not there), the
    recorded hashes of the copied files, a `.gitattributes` that puts files above LFS_BYTES under git-lfs,
    and a `.gitignore` that lets git see the copied files. Files of weights/demo stay where they are.
    Raises WrongContent before anything is copied; WeightsError for a row of a manifest of one's own, which a
    preset looks for beside itself.
    """
    for row in rows:
        if row.manifest not in (WEIGHTS_FOLDER / "manifest.yaml", DEMO_MANIFEST):
            raise WeightsError(
                f"{row.name} is defined in {row.manifest}: keep that file, its weights and the preset together"
                " inside the submission; pack copies only checkpoints of weights/manifest.yaml"
            )
        verify(row, found[row.name])
    folder = submission / "weights"
    folder.mkdir(parents=True, exist_ok=True)
    _copy(WEIGHTS_FOLDER / "manifest.yaml", folder / "manifest.yaml")
    copied = [row for row in rows if row.manifest != DEMO_MANIFEST]
    targets = [folder / found[row.name].name for row in copied]
    for row, target in zip(copied, targets, strict=True):
        _copy(found[row.name], target)
    _write_record(copied, targets, folder)
    large = [target for target in targets if target.stat().st_size > LFS_BYTES]
    kept = [*(target.name for target in targets), RECORD_FILE, ".gitattributes", ".gitignore"]
    _add_lines(folder / ".gitattributes", [f"{target.name} {_LFS}" for target in large])
    _add_lines(folder / ".gitignore", [f"!{name}" for name in kept])
    return Packed(folder, tuple(targets), tuple(large))


def _copy(source: Path, target: Path) -> None:
    """Copy contents (not links), in one step for whoever looks at `target`."""
    if target.exists() and target.samefile(source) and not target.is_symlink():
        return
    draft = target.with_name(f"{target.name}.draft")
    shutil.copyfile(source, draft)
    os.replace(draft, target)


def _write_record(rows: list[Checkpoint], targets: list[Path], folder: Path) -> None:
    copies = [(row, known_copy(row, target)) for row, target in zip(rows, targets, strict=True)]
    hashes = {record_key(row, copy): recorded_sha256(row, copy) for row, copy in copies}
    recorded = {key: sha256 for key, sha256 in hashes.items() if sha256}
    if recorded:
        write_record(folder / RECORD_FILE, recorded)


def _add_lines(path: Path, lines: list[str]) -> None:
    have = path.read_text().splitlines() if path.exists() else []
    new = [line for line in lines if line not in have]
    if new:
        path.write_text("".join(f"{line}\n" for line in [*have, *new]))
