"""Which recordings the inputs mean, and which files each of them becomes."""

import glob
import hashlib
import os
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from my_submission.files.journal import written_here

_AUDIO = (
    "wav w64 rf64 bw64 flac ogg oga opus mp3 mp2 aif aiff aifc au snd caf m4a m4b m4r aac ac3 eac3 dts amr ape mka "
    "spx tta wma wv tak mpc voc dsf dff oma"
)
_VIDEO = "mp4 m4v mkv webm mov avi mpg mpeg vob m2ts mts wmv flv ogv 3gp"
AUDIO_SUFFIXES = frozenset(f".{name}" for name in f"{_AUDIO} {_VIDEO}".split())
"""What is taken from a folder; a file that is named directly is tried whatever its extension."""

TEMPLATE = "{folder}/{track}/{stem}.{ext}"
_RESERVED = frozenset(
    ("CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10)))
)
_LONGEST_NAME = 255  # bytes, of nearly every file system
_FIELDS = {
    "track": "the recording's file name without its extension, or more of it where two have the same",
    "name": "the recording's file name with its extension",
    "folder": "where the recording is inside the folder given on the command line",
    "stem": "vocals, drums, …",
    "ext": "the extension of the output format",
}


@dataclass(frozen=True)
class Recording:
    """A file to separate.

    folder: where it is inside the folder that was asked for, or ".". track: what its stems are filed under, if that
    is not its name without the extension (see `told_apart`).
    """

    source: Path
    folder: Path = Path()
    track: str = ""


@dataclass(frozen=True)
class Found:
    """What a list of inputs stands for: the recordings in order, the names that lead nowhere and why, and how many
    files in folders were left out because of their extension."""

    recordings: tuple[Recording, ...]
    missing: tuple[tuple[str, str], ...]
    left_out: int


def find_recordings(inputs: Iterable[str], output_dir: Path) -> Found:
    """Files, folders and globs as recordings, each once.

    Of a folder, all audio and video in it and below: not hidden files, nor output_dir, nor what the kit wrote there.
    Folders that are links are followed, each folder once.
    """
    recordings: dict[str, Recording] = {}
    missing: list[tuple[str, str]] = []
    left_out = 0
    for text in inputs:
        paths = [Path(text)] if os.path.lexists(text) else sorted(map(Path, glob.glob(text, recursive=True)))
        if not paths:
            missing.append((text, "no such file or folder, and as a pattern it matches nothing"))
        for path in paths:
            if not path.is_dir():
                recordings.setdefault(os.path.realpath(path), Recording(path))
                continue
            inside, closed = _files_in(path, output_dir)
            missing += closed
            audio = [file for file in inside if file.suffix.lower() in AUDIO_SUFFIXES]
            left_out += len(inside) - len(audio)
            if not audio and not closed:
                missing.append((str(path), f"no audio among the {len(inside)} files in this folder"))
            for file in audio:
                recordings.setdefault(os.path.realpath(file), Recording(file, file.relative_to(path).parent))
    return Found(tuple(recordings.values()), tuple(missing), left_out)


def _files_in(folder: Path, output_dir: Path) -> tuple[list[Path], list[tuple[str, str]]]:
    """Its files in order of their paths, and the folders that cannot be read, with the reason."""
    output, written = os.path.realpath(output_dir), written_here(output_dir)
    seen: set[str] = set()
    inside: list[Path] = []
    closed: list[tuple[str, str]] = []

    def cannot_read(error: OSError) -> None:
        closed.append((str(error.filename), f"this folder cannot be read: {error.strerror}"))

    for here, folders, files in os.walk(folder, onerror=cannot_read, followlinks=True):
        place = os.path.realpath(here)
        if place in seen or (place == output and Path(here) != folder):
            folders.clear()
            continue
        seen.add(place)
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(here, name) for name in files if not name.startswith(".")]
        # A link that leads nowhere is listed: whoever made it expects a recording there.
        listed = (path for path in paths if path.is_file() or (path.is_symlink() and not path.exists()))
        inside += [path for path in listed if os.path.realpath(path) not in written]
    return sorted(inside), closed


def check_template(template: str) -> None:
    """ValueError unless the template is a relative path with {stem}, {ext} and known fields only."""
    try:
        parsed = [part for part in string.Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise ValueError(f"template: {template!r} cannot be read: {error}") from error
    for _, name, form, conversion in parsed:
        if form or conversion:  # a width could ask for any amount of memory
            raise ValueError(
                f"template: found a format for {{{name}}}, expected the bare field in {template!r}"
            )
    fields = {str(name) for _, name, _, _ in parsed}
    if unknown := fields - _FIELDS.keys():
        allowed = "; ".join(f"{{{name}}}: {meaning}" for name, meaning in _FIELDS.items())
        raise ValueError(f"template: found {{{sorted(unknown)[0]}}}; allowed: {allowed}")
    if not {"stem", "ext"} <= fields or not template.endswith(".{ext}"):
        raise ValueError(f"template: expected {{stem}} somewhere and .{{ext}} at the end, found {template!r}")
    if Path(template).is_absolute() or ".." in Path(template).parts:
        raise ValueError(f"template: expected a path inside the output folder, found {template!r}")


def targets(
    recording: Recording,
    stems: Iterable[str],
    output_dir: Path,
    template: str,
    extension: str,
    part: str = "",
) -> dict[str, Path]:
    """The file of each stem of a recording, by a template that `check_template` accepts.

    part: which part of it, if not all; then it is in the name.
    """
    beside = f" ({part})" if part else ""
    fields = {
        "track": _inside(recording.track or recording.source.stem, beside),
        "name": _inside(recording.source.name, beside),
        "folder": recording.folder,
        "ext": extension,
    }
    return {
        stem: output_dir.joinpath(*(part.format(**fields, stem=stem) for part in template.split("/")))
        for stem in stems
    }


def _inside(name: str, beside: str) -> str:
    """A name, and what is said beside it, that can be a folder's, and leads to no other: not `.` or `..`, nor what
    Windows reserves. One that would be too long ends with a hash of all of it."""
    room, encoded = _LONGEST_NAME - len(os.fsencode(beside)), os.fsencode(name)
    if len(encoded) > room:
        digest = hashlib.sha256(encoded).hexdigest()[:8]
        name = f"{encoded[: room - len(digest) - 1].decode('utf-8', 'ignore')}~{digest}"
    name += beside
    if os.name == "nt":
        name = name.rstrip(" .") + "_" * (len(name) - len(name.rstrip(" .")))
        if name.split(".")[0].upper() in _RESERVED:
            return f"_{name}"
    return name if name.strip(".") else "_" * len(name)


def told_apart(recordings: Sequence[Recording], target: Callable[[Recording], Path]) -> list[Recording]:
    """The recordings, with longer names for those of the same name: `song.flac` and `song.mp3`, `cd 1 - song`, ….

    target: one of a recording's files. Names that differ in nothing but capitals are the same for many file systems.
    Those that differ in nothing else are numbered. Where a template leaves the name out, they stay the same.
    """
    levels = [0] * len(recordings)
    while True:
        named = [
            replace(recording, track=_track(recording.source, level))
            for recording, level in zip(recordings, levels, strict=True)
        ]
        places = [place_key(target(recording)) for recording in named]
        counts = Counter(places)
        raised = [
            index
            for index, recording in enumerate(recordings)
            if counts[places[index]] > 1 and levels[index] < 2 * len(recording.source.absolute().parts)
        ]
        if not raised:
            return _numbered(named, places)
        for index in raised:
            levels[index] += 1


def _numbered(recordings: Sequence[Recording], places: Sequence[str]) -> list[Recording]:
    """Those that differ in capitals alone, or in nothing that makes a name, by numbers from the second on."""
    seen, numbered = Counter[str](), []
    for recording, place in zip(recordings, places, strict=True):
        seen[place] += 1
        track = recording.track if seen[place] == 1 else f"{recording.track} ({seen[place]})"
        numbered.append(replace(recording, track=track))
    return numbered


def _track(source: Path, level: int) -> str:
    """Names of growing length: without the extension, with it, then with one folder more, without and with it, …."""
    folders = source.absolute().parent.parts[1:]
    more, with_extension = divmod(level, 2)
    own = source.name if with_extension else source.stem
    return " - ".join([*folders[len(folders) - min(more, len(folders)) :], own])


def place_key(path: Path) -> str:
    """The same for two paths that are one file on some file system."""
    return unicodedata.normalize("NFC", os.path.realpath(path)).casefold()


def collisions(all_targets: Mapping[Recording, Mapping[str, Path]]) -> dict[Recording, str]:
    """The recordings that would become a file that another one becomes, or overwrite a recording; with the reason."""
    owners: dict[str, Recording] = {}
    sources = {place_key(recording.source): recording.source for recording in all_targets}
    reasons: dict[Recording, str] = {}
    for recording, files in all_targets.items():
        for path in files.values():
            place = place_key(path)
            if place in sources:
                reasons[recording] = (
                    f"a stem of it would overwrite the recording {sources[place]}; choose another output folder"
                )
            elif place in owners:
                reasons[recording] = (
                    f"{owners[place].source} and this one would both become {path}; tell them apart with {{track}} "
                    f"in the --template"
                )
        if recording not in reasons:
            owners |= dict.fromkeys(map(place_key, files.values()), recording)
    return reasons
