"""Folder layouts of the known data sets -> Tracks in name order, every problem found before anything runs."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import soundfile

from evaluator.challenge import CINEMATIC, MUSIC, Challenge
from evaluator.digests import sha256_of_file

SUFFIXES = (".wav", ".flac")
SPLITS = ("train", "test", "valid", "tr", "cv", "tt")
BLOCK_FRAMES = 1 << 16


class DataError(Exception):
    """The data cannot be used; `problems` holds one sentence per problem, each with its path."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Track:
    """One recording: its mixture (one file, or left and right channel) and a reference for every stem."""

    name: str  # path below the data folder, "/" between a split and its track
    folder: str  # the folder name under which the submission sees it
    mixtures: tuple[Path, ...]
    references: Mapping[str, Path]
    frames: int
    rate_hz: int
    reference_channels: int
    estimate_channels: int  # those of the mixture as the submission sees it

    @property
    def seconds(self) -> float:
        """Duration of the mixture in seconds."""
        return self.frames / self.rate_hz


@dataclass(frozen=True)
class Dataset:
    """The tracks of one folder; `notes` says what in the folder was ignored."""

    path: Path
    challenge: Challenge
    tracks: tuple[Track, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """File names (without suffix) of a known data set; `{folder}` stands for the track folder's name."""

    name: str
    challenge: Challenge
    mixtures: tuple[tuple[str, ...], ...]  # alternatives; the first that is there counts
    stems: Mapping[str, str]


LAYOUTS = (
    Layout("music challenge or MUSDB18-HQ", MUSIC, (("mixture",),), {stem: stem for stem in MUSIC.stems}),
    Layout(
        "cinematic challenge",
        CINEMATIC,
        (("{folder}_mixture_Lt", "{folder}_mixture_Rt"), ("{folder}_mixture",), ("mixture",), ("mix",)),
        {stem: f"{{folder}}_{stem}" for stem in CINEMATIC.stems},
    ),
    Layout("DnR", CINEMATIC, (("mix",),), {"dialog": "speech", "effect": "sfx", "music": "music"}),
)


def load(path: Path, only: str | None = None) -> Dataset:
    """Find and check the tracks below `path`, in name order.

    `only` keeps the tracks whose name or folder name matches this glob pattern.
    Raises DataError with every problem: no tracks, mixed layouts, a stem missing, unreadable or empty files,
    unequal lengths, rates or channel counts.
    """
    if not path.is_dir():
        raise DataError([f"{path}: not a folder; expected the folder that holds the track folders"])
    notes: list[str] = []
    found = sorted(_track_folders(path, notes), key=lambda entry: entry[0])
    if not found:
        raise DataError([f"{path}: no tracks found; expected {_describe_layouts()}"])
    if only is not None:
        found = [entry for entry in found if fnmatch(entry[0], only) or fnmatch(entry[1].name, only)]
        if not found:
            raise DataError([f"{path}: no track matches --only {only!r}"])
    challenges = {layout.challenge.name: folder for _, folder, layout in found}
    if len(challenges) > 1:
        raise DataError([f"{folder}: a {name} track beside others" for name, folder in challenges.items()])
    problems: list[str] = []
    tracks = [
        _load_track(name, folder, layout, problems, in_split="/" in name) for name, folder, layout in found
    ]
    if problems:
        raise DataError(problems)
    return Dataset(
        path, found[0][2].challenge, tuple(track for track in tracks if track is not None), tuple(notes)
    )


def _describe_layouts() -> str:
    described = []
    for layout in LAYOUTS:
        names = [*layout.mixtures[0], *layout.stems.values()]
        described.append(
            f"TRACK/{{{','.join(name.format(folder='TRACK') for name in names)}}} ({layout.name})"
        )
    return "; or ".join(described) + f"; as {' or '.join(SUFFIXES)}"


def _track_folders(root: Path, notes: list[str]) -> Iterator[tuple[str, Path, Layout]]:
    """Yield (name, folder, layout) of each track folder; `notes` gets what is passed over."""
    for entry in sorted(root.iterdir()):
        if entry.name.startswith("."):
            notes.append(f"{entry}: hidden, ignored")
        elif not entry.is_dir():
            notes.append(f"{entry}: not a folder, ignored")
        elif entry.name in SPLITS and _layout_of(entry) is None:
            for name, folder, inner in _track_folders(entry, notes):
                yield f"{entry.name}/{name}", folder, inner
        elif (layout := _layout_of(entry)) is None:
            notes.append(f"{entry}: holds no files of a known layout, ignored")
        else:
            yield entry.name, entry, layout


def _layout_of(folder: Path) -> Layout | None:
    """The layout most of whose files are in `folder`; None if there are no files of any layout."""
    present = {entry.stem for entry in folder.iterdir() if entry.suffix.lower() in SUFFIXES}

    def matches(layout: Layout) -> int:
        stems = [name.format(folder=folder.name) for name in layout.stems.values()]
        mixtures = [name.format(folder=folder.name) for names in layout.mixtures for name in names]
        return 2 * sum(stem in present for stem in stems) + any(name in present for name in mixtures)

    best = max(LAYOUTS, key=matches)
    return best if matches(best) else None


def _load_track(name: str, folder: Path, layout: Layout, problems: list[str], in_split: bool) -> Track | None:
    """Check one track folder; None if there are problems, which are appended."""
    before = len(problems)
    mixtures = _find_mixtures(folder, layout, problems)
    references = {
        stem: _find(folder, file.format(folder=folder.name), problems) for stem, file in layout.stems.items()
    }
    paths = [*mixtures, *(path for path in references.values() if path is not None)]
    infos = {path: info for path in paths if (info := _info(path, problems)) is not None}
    if len(problems) > before:
        return None
    described = _describe_shape(infos, mixtures, problems)
    if described is None:
        return None
    frames, rate_hz, channels = described
    estimate_channels = max(channels, len(layout.challenge.mixture_files))
    folder_name = name.replace("/", "__") if in_split else folder.name
    complete = {stem: path for stem, path in references.items() if path is not None}
    return Track(name, folder_name, tuple(mixtures), complete, frames, rate_hz, channels, estimate_channels)


def _find_mixtures(folder: Path, layout: Layout, problems: list[str]) -> list[Path]:
    for names in layout.mixtures:
        formatted = [name.format(folder=folder.name) for name in names]
        if any((folder / f"{name}{suffix}").exists() for name in formatted for suffix in SUFFIXES):
            return [path for name in formatted if (path := _find(folder, name, problems)) is not None]
    _find(folder, layout.mixtures[0][0].format(folder=folder.name), problems)
    return []


def _find(folder: Path, stem: str, problems: list[str]) -> Path | None:
    """The one file `folder/stem.wav` or `.flac`; a problem if there is neither, or both."""
    present = [path for suffix in SUFFIXES if (path := folder / f"{stem}{suffix}").exists()]
    if len(present) == 1:
        return present[0]
    if present:
        problems.append(f"{folder}: both {present[0].name} and {present[1].name}; remove one")
    else:
        problems.append(f"{folder / stem}{SUFFIXES[0]}: missing (or the same as {SUFFIXES[1]})")
    return None


def _info(path: Path, problems: list[str]) -> "soundfile._SoundFileInfo | None":
    try:
        info = soundfile.info(path)
    except (soundfile.LibsndfileError, OSError) as error:
        problems.append(f"{path}: cannot be read as audio ({error})")
        return None
    if info.frames == 0:
        problems.append(f"{path}: holds no samples")
        return None
    return info


def _describe_shape(
    infos: "Mapping[Path, soundfile._SoundFileInfo]", mixtures: Sequence[Path], problems: list[str]
) -> tuple[int, int, int] | None:
    """(frames, rate in Hz, channels of the references) where all files agree, else None and the problems.

    A mixture in two files has one channel in each; its references may then have one or two channels.
    """
    first, info = next(iter(infos.items()))
    before = len(problems)
    for path, other in infos.items():
        for what, expected, got in (
            ("samples", info.frames, other.frames),
            ("Hz", info.samplerate, other.samplerate),
        ):
            if got != expected:
                problems.append(f"{path}: {got} {what}, but {first.name} has {expected} {what}")
    pair = len(mixtures) == 2
    reference_channels = {other.channels for path, other in infos.items() if path not in mixtures}
    for path, other in infos.items():
        if path in mixtures and pair:
            if other.channels != 1:
                problems.append(f"{path}: {other.channels} channels, expected 1 (one channel per file)")
        elif path not in mixtures and pair:
            if other.channels > 2 or len(reference_channels) > 1:
                problems.append(
                    f"{path}: {other.channels} channels, expected all references to have 1 or all 2"
                )
        elif other.channels != info.channels:
            problems.append(f"{path}: {other.channels} channels, but {first.name} has {info.channels}")
        elif other.channels > 2:
            problems.append(f"{path}: {other.channels} channels, expected 1 or 2")
    if len(problems) > before:
        return None
    return info.frames, info.samplerate, next(iter(reference_channels))


def content_hash(tracks: Sequence[Track], progress: Callable[[Track], None] = lambda track: None) -> str:
    """Hash names and contents of `tracks` (hexadecimal SHA-256), and check what no header shows.

    `progress` is called after each track. Raises DataError for files that end early or hold NaN or infinity.
    """
    total = hashlib.sha256()
    problems: list[str] = []
    for track in tracks:
        files = {f"mixture{i}": path for i, path in enumerate(track.mixtures)} | dict(track.references)
        for part, path in sorted(files.items()):
            total.update(f"{track.name}\n{part}\n{sha256_of_file(path)}\n".encode())
            problems += _content_problems(path, track.frames)
        progress(track)
    if problems:
        raise DataError(problems)
    return total.hexdigest()


def _content_problems(path: Path, frames: int) -> list[str]:
    """Problems that only decoding shows. Uncompressed integers cannot have any, so they are not decoded."""
    info = soundfile.info(path)
    if info.format != "FLAC" and info.subtype not in ("FLOAT", "DOUBLE"):
        return []
    read = 0
    try:
        for block in soundfile.blocks(path, blocksize=BLOCK_FRAMES, dtype="float32", always_2d=True):
            read += len(block)
            if not np.isfinite(block).all():
                return [f"{path}: holds NaN or infinite samples"]
    except soundfile.LibsndfileError as error:
        return [f"{path}: cannot be decoded beyond sample {read} ({error})"]
    return [] if read == frames else [f"{path}: ends after {read} of {frames} samples"]
