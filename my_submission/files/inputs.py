"""Which recordings the inputs mean, and which files each of them becomes."""

import glob
import os
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_AUDIO = (
    "wav w64 rf64 flac ogg oga opus mp3 mp2 aif aiff aifc au snd caf m4a m4b aac ac3 eac3 dts amr ape mka spx"
)
_VIDEO = "mp4 m4v mkv webm mov avi mpg mpeg wmv flv 3gp"
AUDIO_SUFFIXES = frozenset(f".{name}" for name in f"{_AUDIO} tta wma wv {_VIDEO}".split())
"""What is taken from a folder; a file that is named directly is tried whatever its extension."""

TEMPLATE = "{track}/{stem}.{ext}"
_FIELDS = {
    "track": "the recording's file name without its extension",
    "name": "the recording's file name with its extension",
    "folder": "where the recording is inside the folder given on the command line",
    "stem": "vocals, drums, …",
    "ext": "the extension of the output format",
}


@dataclass(frozen=True)
class Recording:
    """A file to separate. folder: where it is inside the folder that was asked for, or "."."""

    source: Path
    folder: Path = Path()


@dataclass(frozen=True)
class Found:
    """What a list of inputs stands for: the recordings in order, the names that lead nowhere and why, and how many
    files in folders were left out because of their extension."""

    recordings: tuple[Recording, ...]
    missing: tuple[tuple[str, str], ...]
    left_out: int


def find_recordings(inputs: Iterable[str], output_dir: Path) -> Found:
    """Files, folders (all audio and video in them, except hidden files and output_dir) and globs as recordings."""
    recordings: dict[Path, Recording] = {}
    missing: list[tuple[str, str]] = []
    left_out = 0
    for text in inputs:
        paths = [Path(text)] if os.path.lexists(text) else sorted(map(Path, glob.glob(text, recursive=True)))
        if not paths:
            missing.append((text, "no such file or folder, and as a pattern it matches nothing"))
        for path in paths:
            if not path.is_dir():
                recordings.setdefault(path.resolve(), Recording(path))
                continue
            inside = _files_in(path, output_dir)
            audio = [file for file in inside if file.suffix.lower() in AUDIO_SUFFIXES]
            left_out += len(inside) - len(audio)
            if not audio:
                missing.append((str(path), f"no audio among the {len(inside)} files in this folder"))
            for file in audio:
                recordings.setdefault(file.resolve(), Recording(file, file.relative_to(path).parent))
    return Found(tuple(recordings.values()), tuple(missing), left_out)


def _files_in(folder: Path, output_dir: Path) -> list[Path]:
    output = output_dir.resolve()
    inside = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") for part in parts)
        written = output != folder.resolve() and path.resolve().is_relative_to(output)
        if path.is_file() and not hidden and not written:
            inside.append(path)
    return inside


def check_template(template: str) -> None:
    """ValueError unless the template is a relative path with {stem}, {ext} and known fields only."""
    try:
        fields = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise ValueError(f"template: {template!r} cannot be read: {error}") from error
    if unknown := fields - _FIELDS.keys():
        allowed = "; ".join(f"{{{name}}}: {meaning}" for name, meaning in _FIELDS.items())
        raise ValueError(f"template: found {{{sorted(unknown)[0]}}}; allowed: {allowed}")
    if not {"stem", "ext"} <= fields or not template.endswith(".{ext}"):
        raise ValueError(f"template: expected {{stem}} somewhere and .{{ext}} at the end, found {template!r}")
    if Path(template).is_absolute() or ".." in Path(template).parts:
        raise ValueError(f"template: expected a path inside the output folder, found {template!r}")


def targets(
    recording: Recording, stems: Iterable[str], output_dir: Path, template: str, extension: str
) -> dict[str, Path]:
    """The file of each stem of a recording, by a template that `check_template` accepts."""
    return {
        stem: output_dir.joinpath(
            *(
                part.format(
                    track=recording.source.stem,
                    name=recording.source.name,
                    folder=recording.folder,
                    stem=stem,
                    ext=extension,
                )
                for part in template.split("/")
            )
        )
        for stem in stems
    }


def check_collisions(all_targets: Sequence[tuple[Recording, dict[str, Path]]]) -> None:
    """ValueError if two recordings would become one file, or a stem would overwrite a recording."""
    owners = {recording.source.resolve(): recording for recording, _ in all_targets}
    sources = set(owners)
    for recording, files in all_targets:
        for path in files.values():
            place = path.resolve()
            if place in sources:
                raise ValueError(
                    f"{path}: this recording would be overwritten by a stem; choose another output folder"
                )
            if place in owners:
                raise ValueError(
                    f"{owners[place].source} and {recording.source} would both become {path}; tell them apart with "
                    f"--template '{{folder}}/{{name}}/{{stem}}.{{ext}}', or separate them into different folders"
                )
            owners[place] = recording
