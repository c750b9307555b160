"""Copies what a preset needs into a submission's repository, for a machine without internet."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..plain_files import open_regular, read_regular, replace_file
from ..schema import read_document
from .checkpoints import Checkpoint
from .errors import ManifestError, WeightsError
from .manifest import DEMO_MANIFEST, MANIFEST, load_manifest
from .store import RECORD_FILE, known_copy, record_key, recorded_sha256, sha256_of, verify, write_record

LFS_BYTES = 5_000_000  # the organisers' limit for files outside git-lfs
PRESETS = Path("my_submission") / "presets"
LARGEST_BESIDE_BYTES = 16 << 20
"""Of a file that lies beside a manifest, such as a query."""
_KEPT = (RECORD_FILE, ".gitattributes", ".gitignore")
_BLOCK_BYTES = 1 << 22
_LARGEST_LIST_BYTES = 1 << 20  # of .gitattributes and .gitignore
_LFS = "filter=lfs diff=lfs merge=lfs -text"


@dataclass(frozen=True)
class Packed:
    """What `pack` did: the folder, the files now in it, which of them are for git-lfs, the preset's files."""

    folder: Path
    files: tuple[Path, ...]
    lfs_files: tuple[Path, ...]
    preset_files: tuple[Path, ...] = ()


def pack(
    rows: tuple[Checkpoint, ...], found: Mapping[str, Path], submission: Path, preset: Path | None = None
) -> Packed:
    """Copy verified checkpoints into `submission`/weights, under the names by which they are found there.

    rows, found: the checkpoints and their files. The project's manifests are copied, too, with the recorded hashes of
    the copied files, a `.gitattributes` that puts files above LFS_BYTES under git-lfs, and a `.gitignore` that lets
    git see the copied files. The demo models go to weights/demo.
    preset: the file of a user's own preset. It goes to `submission`/my_submission/presets, as NAME.yaml, by which
    user_config.py finds it; with its manifest, whose rows then name the copied files, with sizes and hashes, instead
    of where they are on this machine; and with the files that lie beside that for its rows (`Checkpoint.beside`).
    Raises, before anything is copied, WrongContent; and WeightsError if two files have the same name, if `submission`
    is not a submission, or has other files under the preset's names, and if it cannot be written.
    """
    folder = submission / "weights"
    targets = {row.name: folder / _place(row) / found[row.name].name for row in rows}
    for row in rows:
        verify(row, found[row.name])
        twins = [other for other in rows if targets[other.name] == targets[row.name]]
        if len({found[twin.name].resolve() for twin in twins}) > 1:
            raise WeightsError(
                f"{' and '.join(twin.name for twin in twins)} are different files with the same name,"
                f" {targets[row.name].name}; rename one of them"
            )
    presets = _preset_copies(preset, rows, found, submission) if preset else {}
    beside = _beside_copies(rows, submission / PRESETS) if preset else {}
    try:
        return _write_all(rows, found, targets, folder, presets, beside)
    except OSError as error:
        raise WeightsError(f"cannot pack into {submission}: {error}; make it writable") from error


def _write_all(
    rows: tuple[Checkpoint, ...],
    found: Mapping[str, Path],
    targets: Mapping[str, Path],
    folder: Path,
    presets: Mapping[Path, tuple[Path, Any]],
    beside: Mapping[Path, Path],
) -> Packed:
    manifests = {MANIFEST, *(row.manifest for row in rows if not is_own(row))}
    for manifest in manifests:
        _copy(manifest, folder / manifest.relative_to(MANIFEST.parent))
    for name, target in targets.items():
        _copy(found[name], target)
    _write_records([row for row in rows if not is_own(row)], targets)
    files = tuple(targets.values())
    large = tuple(file for file in files if file.stat().st_size > LFS_BYTES)
    kept = [f"!{_pattern(file, folder)}" for file in files]
    _add_lines(folder / ".gitattributes", [f"{_quoted(_pattern(file, folder))} {_LFS}" for file in large])
    _add_lines(folder / ".gitignore", [*kept, *(f"!{name}" for name in _KEPT), ".locks/"])
    for target, (source, content) in presets.items():
        _write_document(target, source, content)
    for target, source in beside.items():
        _copy(source, target)
    return Packed(folder, files, large, (*presets, *beside))


def _preset_copies(
    preset: Path, rows: tuple[Checkpoint, ...], found: Mapping[str, Path], submission: Path
) -> dict[Path, tuple[Path, Any]]:
    """Where a preset and its manifest go -> the file that each comes from, and the document to write."""
    folder = submission / PRESETS
    if not folder.parent.is_dir():
        raise WeightsError(f"{submission}: expected a submission's folder, found no my_submission/ in it")
    document = read_document(preset, ManifestError)
    own = folder / f"{preset.stem}.yaml"
    copies = {own: (preset, document)}
    if named := document.get("manifest"):
        manifest = preset.parent / named
        if folder / manifest.name == own:
            raise WeightsError(
                f"{preset} and its manifest, {manifest}, would both be {own.name} in {folder}; rename one of the two"
            )
        copies = {own: (preset, {**document, "manifest": manifest.name})}
        copies[folder / manifest.name] = (manifest, _pinned(manifest, rows, found))
    for target, (source, content) in copies.items():
        if target.exists() and target.samefile(source):
            _check_in_place(source, rows)
        elif target.exists() and read_document(target, ManifestError) != content:
            raise WeightsError(f"{target} already exists and differs from {source}; rename one of the two")
    return copies


def _beside_copies(rows: tuple[Checkpoint, ...], folder: Path) -> dict[Path, Path]:
    """Where the files that lie beside users' manifests for these rows and their forms go -> where they are."""
    copies: dict[Path, Path] = {}
    for manifest in {row.manifest for row in rows if is_own(row)}:
        wanted = {row.row for row in rows if row.manifest == manifest}
        for row in load_manifest(manifest).checkpoints.values():
            if row.manifest == manifest and row.row in wanted:
                copies |= {folder / file.name: file for file in row.beside}
    for target, source in copies.items():
        try:
            content = read_regular(source, LARGEST_BESIDE_BYTES)
            other = target.exists() and read_regular(target, LARGEST_BESIDE_BYTES) != content
        except OSError as error:
            raise WeightsError(f"cannot pack {source}: {error}") from error
        if other:
            raise WeightsError(f"{target} already exists and differs from {source}; rename one of the two")
    return copies


def _write_document(target: Path, source: Path, content: Any) -> None:
    """Write a document; an unchanged one is copied with its comments, and an existing one is right already."""
    if target.exists():
        return
    target.parent.mkdir(exist_ok=True)
    if content == read_document(source, ManifestError):
        _copy(source, target)
    else:
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        replace_file(target, lambda file: file.write(text.encode()))


def _pinned(manifest: Path, rows: tuple[Checkpoint, ...], found: Mapping[str, Path]) -> dict[str, Any]:
    """The manifest's document, with rows that name their files as they are in weights/."""
    document: dict[str, Any] = read_document(manifest, ManifestError)
    if "checkpoints" not in document:
        return document  # bags of the project's checkpoints
    checkpoints = dict(document["checkpoints"])
    for row in rows:
        if row.manifest == manifest.resolve():
            file = found[row.name]
            kept = {
                key: value for key, value in checkpoints[row.row].items() if key not in ("path", "origins")
            }
            what = {"file": file.name, "bytes": file.stat().st_size, "sha256": sha256_of(file)}
            checkpoints[row.row] = kept | what
    return {**document, "checkpoints": checkpoints}


def _check_in_place(manifest: Path, rows: tuple[Checkpoint, ...]) -> None:
    """Check a manifest that is already in the submission: it stays as it is, so it must fit the copied files."""
    for row in rows:
        if row.manifest == manifest.resolve() and row.path:
            raise WeightsError(
                f"{manifest}: checkpoints.{row.row}: give 'file: {row.file}' instead of 'path', so that the copy"
                " in weights/ is found"
            )


def is_own(row: Checkpoint) -> bool:
    """Whether a row comes from a manifest other than the project's."""
    return row.manifest not in (MANIFEST, DEMO_MANIFEST)


def _place(row: Checkpoint) -> Path:
    """The folder in weights/ in which a checkpoint's file is looked for."""
    return Path() if is_own(row) else row.folder.relative_to(MANIFEST.parent)


def _copy(source: Path, target: Path) -> None:
    """Copy contents (not links); `target` appears in one step."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and target.samefile(source) and not target.is_symlink():
        return
    with open_regular(source) as original:
        replace_file(target, lambda copy: shutil.copyfileobj(original, copy, _BLOCK_BYTES))


def _write_records(rows: list[Checkpoint], targets: Mapping[str, Path]) -> None:
    for row in rows:
        copy = known_copy(row, targets[row.name])
        recorded = recorded_sha256(row, copy)
        if recorded:
            write_record(targets[row.name].parent / RECORD_FILE, {record_key(row, copy): recorded})


def _pattern(file: Path, folder: Path) -> str:
    """What git takes for this file alone, in .gitignore; *, ? and [ stand for others elsewhere."""
    return re.sub(r"([\\*?\[])", r"\\\1", file.relative_to(folder).as_posix())


def _quoted(pattern: str) -> str:
    """A pattern in .gitattributes, where it ends at a space unless it is in quotes."""
    if not re.search(r"[\s\"#!]", pattern):
        return pattern
    escaped = pattern.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _add_lines(path: Path, lines: list[str]) -> None:
    have = read_regular(path, _LARGEST_LIST_BYTES).decode().splitlines() if path.exists() else []
    new = [line for line in lines if line not in have]
    if new:
        text = "".join(f"{line}\n" for line in [*have, *new])
        replace_file(path, lambda file: file.write(text.encode()))
