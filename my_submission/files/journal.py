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
    host: str = "",
) -> None:
    """Record a recording whose files are all in place.

    host: a machine of several that write to this folder, each to a file of its own, since no file of a shared folder
    takes lines of several machines.
    """
    outputs = {
        stem: {
            "path": os.path.relpath(path, output_dir),
            "sha256": sha256_of(path),
            "bytes": path.stat().st_size,
        }
        for stem, path in files.items()
    }
    entry = Entry(str(source), sha256_of(source), settings, outputs, summary)
    line = json.dumps(entry.__dict__) + "\n"  # ASCII: a name need not be UTF-8
    # One write at the end of the file: lines of several processes do not mix.
    descriptor = os.open(output_dir / _journal(host), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
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


def written_here(output_dir: Path) -> set[str]:
    """The real paths of everything that was ever written to an output folder as a stem."""
    return {
        os.path.realpath(output_dir / output["path"])
        for entry in _entries(output_dir)
        for output in entry.outputs.values()
    }


def _journal(host: str) -> str:
    name, dot, ending = JOURNAL.rpartition(".")
    return f"{name}{'-' * bool(host)}{host}{dot}{ending}"


def _entries(output_dir: Path) -> list[Entry]:
    journals = sorted(path for path in output_dir.glob(_journal("*")) if path.is_file())
    if (output_dir / JOURNAL).is_file():
        journals.insert(0, output_dir / JOURNAL)
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in journals]
    lines = [line for text in texts for line in text.splitlines()]
    return [entry for line in lines if (entry := _entry(line)) is not None]


def _entry(line: str) -> Entry | None:
    """What a line says; None if it is cut off by a crash, from another version, or somebody's own.

    Such a line proves nothing, so its recording is not done. A name need not be UTF-8, which no schema library takes.
    """
    try:
        entry = Entry(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
    mappings = [entry.settings, entry.outputs, entry.summary]
    if not all(isinstance(each, dict) for each in mappings):
        return None
    outputs = entry.outputs.values()
    is_known = all(isinstance(each, dict) and {"path", "sha256"} <= each.keys() for each in outputs)
    paths = [each["path"] for each in outputs] if is_known else [None]
    return entry if all(isinstance(path, str) and "\0" not in path for path in paths) else None


def sha256_of(path: Path) -> str:
    """The hash of a file's content, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
