"""The record of what was separated, from which a later run knows what is done.

One JSON line per recording, in a hidden file of the output folder: the recording's hash, the settings, and the size
and hash of every output. A recording is done if all of these still hold.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

JOURNAL = ".separated.jsonl"


@dataclass(frozen=True)
class Entry:
    """One separated recording.

    settings: everything that determines the outputs, JSON types only.
    outputs: stem -> {path, sha256, bytes}, the path relative to the output folder.
    summary: what the run reported, for a later run that skips the recording.
    """

    source: str
    source_sha256: str
    settings: Mapping[str, Any]
    outputs: Mapping[str, Mapping[str, Any]]
    summary: Mapping[str, Any]


def write_entry(
    output_dir: Path,
    source: Path,
    settings: Mapping[str, Any],
    files: Mapping[str, Path],
    summary: Mapping[str, Any],
) -> None:
    """Record a recording whose files are all in place."""
    outputs = {
        stem: {
            "path": os.path.relpath(path, output_dir),
            "sha256": sha256_of(path),
            "bytes": path.stat().st_size,
        }
        for stem, path in files.items()
    }
    entry = Entry(str(source), sha256_of(source), settings, outputs, summary)
    line = json.dumps(entry.__dict__, ensure_ascii=False) + "\n"
    # One write at the end of the file: lines of several processes do not mix.
    descriptor = os.open(output_dir / JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def find_done(
    output_dir: Path, source: Path, settings: Mapping[str, Any], files: Mapping[str, Path]
) -> Entry | None:
    """The entry that proves that these files were made with these settings and are unchanged, or None."""
    wanted = {stem: os.path.relpath(path, output_dir) for stem, path in files.items()}
    alike = [
        entry
        for entry in _entries(output_dir)
        if entry.settings == settings
        and {stem: output["path"] for stem, output in entry.outputs.items()} == wanted
    ]
    if not alike or not all(path.is_file() for path in files.values()):
        return None
    source_sha256 = sha256_of(source)
    found = {stem: sha256_of(path) for stem, path in files.items()}
    for entry in alike:
        recorded = {stem: output["sha256"] for stem, output in entry.outputs.items()}
        if entry.source_sha256 == source_sha256 and recorded == found:
            return entry
    return None


def _entries(output_dir: Path) -> list[Entry]:
    path = output_dir / JOURNAL
    if not path.is_file():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(Entry(**json.loads(line)))
        except (json.JSONDecodeError, TypeError):
            continue  # cut off by a crash, or from another version: it proves nothing, so its recording is not done
    return entries


def sha256_of(path: Path) -> str:
    """The hash of a file's content, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
