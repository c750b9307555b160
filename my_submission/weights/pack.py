"""Collecting what a preset needs inside a submission's repository, for a machine without internet."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import WeightsError
from .manifest import DEMO_MANIFEST, MANIFEST, Checkpoint
from .store import RECORD_FILE, known_copy, record_key, recorded_sha256, verify, write_record

LFS_BYTES = 5_000_000  # the organisers' limit for files outside git-lfs
_KEPT = (RECORD_FILE, ".gitattributes", ".gitignore")
_LFS = "filter=lfs diff=lfs merge=lfs -text"


@dataclass(frozen=True)
class Packed:
    """What `pack` did: the folder, the files it holds now, and which of them are for git-lfs."""

    folder: Path
    files: tuple[Path, ...]
    lfs_files: tuple[Path, ...]


def pack(rows: tuple[Checkpoint, ...], found: Mapping[str, Path], submission: Path) -> Packed:
    """Copy verified checkpoints into `submission`/weights under the names at which they will be found there.

    rows, found: the checkpoints and their files. With them go their manifests, the recorded hashes of the
    copied files, a `.gitattributes` that puts files above LFS_BYTES under git-lfs, and a `.gitignore` that
    lets git see the copied files. The demo models go to weights/demo.
    Raises WrongContent before anything is copied; WeightsError for a row of a manifest of one's own, which a
    preset looks for beside itself.
    """
    for row in rows:
        if row.manifest not in (MANIFEST, DEMO_MANIFEST):
            raise WeightsError(
                f"{row.name} is defined in {row.manifest}: keep that file, its weights and the preset together"
                " inside the submission; pack copies only checkpoints of weights/manifest.yaml"
            )
        verify(row, found[row.name])
    folder = submission / "weights"
    targets = {
        row.name: folder / row.folder.relative_to(MANIFEST.parent) / found[row.name].name for row in rows
    }
    for manifest in {MANIFEST, *(row.manifest for row in rows)}:
        _copy(manifest, folder / manifest.relative_to(MANIFEST.parent))
    for name, target in targets.items():
        _copy(found[name], target)
    _write_records(rows, targets)
    files = tuple(targets.values())
    large = tuple(file for file in files if file.stat().st_size > LFS_BYTES)
    kept = [f"!{file.relative_to(folder)}" for file in files]
    _add_lines(folder / ".gitattributes", [f"{file.relative_to(folder)} {_LFS}" for file in large])
    _add_lines(folder / ".gitignore", [*kept, *(f"!{name}" for name in _KEPT), ".locks/"])
    return Packed(folder, files, large)


def _copy(source: Path, target: Path) -> None:
    """Copy contents (not links), in one step for whoever looks at `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and target.samefile(source) and not target.is_symlink():
        return
    draft = target.with_name(f"{target.name}.draft")
    shutil.copyfile(source, draft)
    os.replace(draft, target)


def _write_records(rows: tuple[Checkpoint, ...], targets: Mapping[str, Path]) -> None:
    for row in rows:
        copy = known_copy(row, targets[row.name])
        recorded = recorded_sha256(row, copy)
        if recorded:
            write_record(targets[row.name].parent / RECORD_FILE, {record_key(row, copy): recorded})


def _add_lines(path: Path, lines: list[str]) -> None:
    have = path.read_text().splitlines() if path.exists() else []
    new = [line for line in lines if line not in have]
    if new:
        path.write_text("".join(f"{line}\n" for line in [*have, *new]))
