"""Folder layouts of the known data sets -> Tracks in name order, every problem found before anything runs."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

import soundfile

from evaluator import printable
from evaluator.challenge import CHALLENGES, CINEMATIC, MUSIC, STEM_NAME, TAKEN, Challenge, StemSet
from evaluator.digests import sha256_of_file
from evaluator.locations import DEMO
from evaluator.running import reference_files
from evaluator.running.reference_files import DamagedFileError
from evaluator.runs import documents

SUFFIXES = (".wav", ".flac")
SPLITS = ("train", "test", "valid", "tr", "cv", "tt")
BLOCK_FRAMES = reference_files.BLOCK_FRAMES


class DataError(Exception):
    """The data cannot be used; `problems` holds one sentence per problem, each with its path."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class OtherStemsError(DataError):
    """The tracks have other stems than those that are wanted; its one problem begins with the folder."""


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
    """The tracks of one folder, with the stems of a challenge or any others; `notes` says what was ignored."""

    path: Path
    challenge: StemSet
    tracks: tuple[Track, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """File names (without suffix) of a known data set; `{folder}` stands for the track folder's name."""

    name: str
    challenge: StemSet
    mixtures: tuple[tuple[str, ...], ...]  # alternatives; the first that is there counts
    stems: Mapping[str, str]


FoundTrack = tuple[str, Path, Layout]
"""A track's name, its folder, and the layout of most of its files."""

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


def load(path: Path, only: str | None = None, wanted: StemSet | None = None) -> Dataset:
    """Find and check the tracks below `path`, in name order.

    only: keep the tracks whose name or folder name matches this glob pattern.
    wanted: the stems to score, of all that the tracks have; by default those of the challenge they are laid out for.
    Raises DataError with every problem: no tracks, mixed layouts, a stem missing, unreadable or empty files,
    unequal lengths, rates or channel counts; OtherStemsError where no track has all the stems that are wanted.
    """
    if not path.is_dir():
        raise DataError([f"{path}: not a folder; expected the folder that holds the track folders"])
    own = _layouts_of(wanted)
    notes: list[str] = []
    found = sorted(_track_folders(path, own, notes), key=lambda entry: entry[0])
    if not found:
        raise DataError([f"{path}: no tracks found; expected {_describe((*own[:1], *LAYOUTS))}"])
    if only is not None:
        found = [entry for entry in found if fnmatch(entry[0], only) or fnmatch(entry[1].name, only)]
        if not found:
            raise DataError([f"{path}: no track matches --only {only!r}"])
    _require_stems(path, found, wanted)
    challenges = {layout.challenge.name: folder for _, folder, layout in found}
    if len(challenges) > 1:
        raise DataError([f"{folder}: a {name} track beside others" for name, folder in challenges.items()])
    problems = _name_problems(path, found)
    tracks = [_load_track(name, folder, layout, problems) for name, folder, layout in found]
    if problems:
        raise DataError(problems)
    challenge = found[0][2].challenge
    return Dataset(path, challenge, tuple(track for track in tracks if track is not None), tuple(notes))


@dataclass(frozen=True)
class Contents:
    """What a data folder holds by the names in it, before anything is read.

    folders: the name of each track's folder below the data folder -> the folder name under which estimates lie.
    """

    folders: Mapping[str, str]
    stems: frozenset[str]


def contents(path: Path) -> Contents:
    """The tracks below `path`, and every stem that one of them has; DataError if it is no folder."""
    if not path.is_dir():
        raise DataError([f"{path}: not a folder; expected the folder that holds the track folders"])
    folders: dict[str, str] = {}
    stems: set[str] = set()
    for name, folder, layout in _track_folders(path, (), []):
        folders[name] = _seen_as(name, folder)
        known = {file.format(folder=folder.name): stem for stem, file in layout.stems.items()}
        mixtures = {file.format(folder=folder.name) for files in layout.mixtures for file in files}
        names = {known.get(file, file) for file in _audio_names(folder) - mixtures - {"mixture", "mix"}}
        stems |= {stem for stem in names if STEM_NAME.fullmatch(stem) and stem not in TAKEN}
    return Contents(folders, frozenset(stems))


def _seen_as(name: str, folder: Path) -> str:
    """The folder name under which a track is seen, which names its split, too."""
    return name.replace("/", "__") if "/" in name else folder.name


def demo_folder(wanted: StemSet, demo: Path = DEMO) -> Path:
    """The demo tracks that have these stems; DataError if none do."""
    for challenge in CHALLENGES.values():
        if set(wanted.stems) <= set(challenge.stems):
            return demo / challenge.name
    raise DataError(
        [f"{demo}: the demo has no tracks with {wanted.words}; name a folder that has, with --data"]
    )


def _layouts_of(wanted: StemSet | None) -> tuple[Layout, ...]:
    """Where stems that are no challenge's may be: one file per stem, or among a challenge's files."""
    if wanted is None or isinstance(wanted, Challenge):
        return ()
    own = Layout("one file per stem", wanted, (("mixture",),), {stem: stem for stem in wanted.stems})
    among = (
        replace(layout, challenge=wanted, stems={stem: layout.stems[stem] for stem in wanted.stems})
        for layout in LAYOUTS
        if set(wanted.stems) <= set(layout.stems)
    )
    return (own, *among)


def _name_problems(path: Path, found: Sequence[FoundTrack]) -> list[str]:
    """One sentence for each name that no result may hold, since it would not be shown as what it is."""
    problems = []
    if (wrong := printable.fault(str(path.resolve()))) is not None:
        problems.append(
            f"{path}: its path has the character {wrong}, which no name may have; give it another name"
        )
    for name, folder, _ in found:
        try:
            documents.track_name(name)
        except ValueError as error:
            problems.append(f"{folder}: {error}; give the folder another name")
    return problems


def _require_stems(path: Path, found: Sequence[FoundTrack], wanted: StemSet | None) -> None:
    """OtherStemsError where no track has all the stems that are wanted, or those of a challenge but others."""
    complete = [layout.challenge for _, folder, layout in found if not _missing(folder, layout)]
    if wanted in complete or (wanted is None and complete):
        return
    usual = {layout.challenge: layout for _, folder, _ in found if (layout := _layout_of(folder))}
    if all((layout := _layout_of(folder)) and not _missing(folder, layout) for _, folder, _ in found):
        held = " and ".join(f"{challenge.name} tracks ({challenge.listed})" for challenge in usual)
        raise OtherStemsError([f"{path} holds {held}"])
    common = set.intersection(*(_audio_names(folder) for _, folder, _ in found))
    stems = sorted(common - {"mixture", "mix"})
    held = f"{path} holds tracks with {', '.join(stems) or 'no stem in common'}"
    if wanted is not None:
        raise OtherStemsError([held])
    if list(usual) == [MUSIC] and set(stems) - set(MUSIC.stems):
        raise OtherStemsError([f"{held}, which are no challenge's stems"])


def _describe(layouts: Sequence[Layout]) -> str:
    described = []
    for layout in layouts:
        names = [*layout.mixtures[0], *layout.stems.values()]
        described.append(
            f"TRACK/{{{','.join(name.format(folder='TRACK') for name in names)}}} ({layout.name})"
        )
    return "; or ".join(described) + f"; as {' or '.join(SUFFIXES)}"


def _track_folders(root: Path, own: Sequence[Layout], notes: list[str]) -> Iterator[FoundTrack]:
    """Yield (name, folder, layout) of each track folder; `notes` gets what is passed over."""
    for entry in sorted(root.iterdir()):
        if entry.name.startswith("."):
            notes.append(f"{entry}: hidden, ignored")
        elif not entry.is_dir():
            notes.append(f"{entry}: not a folder, ignored")
        elif entry.name in SPLITS and _layout_of(entry, own) is None:
            for name, folder, inner in _track_folders(entry, own, notes):
                yield f"{entry.name}/{name}", folder, inner
        elif (layout := _layout_of(entry, own)) is None:
            notes.append(f"{entry}: holds no files of a known layout, ignored")
        else:
            yield entry.name, entry, layout


def _layout_of(folder: Path, own: Sequence[Layout] = ()) -> Layout | None:
    """The layout of `own`, else the known one, most of whose files are in `folder`; None if it has no such file."""
    present = _audio_names(folder)

    def matches(layout: Layout) -> int:
        mixtures = [name.format(folder=folder.name) for names in layout.mixtures for name in names]
        return 2 * (len(layout.stems) - _missing(folder, layout)) + any(name in present for name in mixtures)

    for layouts in (own, LAYOUTS):
        best = max(layouts, key=matches, default=None)
        if best is not None and matches(best):
            return best
    return None


def _audio_names(folder: Path) -> set[str]:
    """Names, without suffix, of the audio files in a folder."""
    return {entry.stem for entry in folder.iterdir() if entry.suffix.lower() in SUFFIXES}


def _missing(folder: Path, layout: Layout) -> int:
    """How many stems of a layout have no file in `folder`."""
    present = _audio_names(folder)
    return sum(name.format(folder=folder.name) not in present for name in layout.stems.values())


def _load_track(name: str, folder: Path, layout: Layout, problems: list[str]) -> Track | None:
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
    estimate_channels = max(channels, len(mixtures), len(layout.challenge.mixture_files))
    complete = {stem: path for stem, path in references.items() if path is not None}
    return Track(
        name, _seen_as(name, folder), tuple(mixtures), complete, frames, rate_hz, channels, estimate_channels
    )


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
        return reference_files.read_header(path)
    except DamagedFileError as error:
        problems.append(f"{path}: {error}")
        return None


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

    `progress` is called after each track. Raises DataError for files that end early, hold NaN or infinity, or decode
    to other samples than were written.
    """
    total = hashlib.sha256()
    problems: list[str] = []
    with ThreadPoolExecutor(1, "hashing") as hashing:  # beside decoding, which takes about as long
        for track in tracks:
            mixtures = {f"mixture{i}": path for i, path in enumerate(track.mixtures)}
            files = sorted((mixtures | dict(track.references)).items())
            digests = hashing.map(sha256_of_file, [path for _, path in files])
            for _, path in files:
                try:
                    reference_files.check_content(path, track.frames)
                except DamagedFileError as error:
                    problems.append(f"{path}: {error}")
            for (part, _), digest in zip(files, digests, strict=True):
                total.update(f"{track.name}\n{part}\n{digest}\n".encode())
            progress(track)
    if problems:
        raise DataError(problems)
    return total.hexdigest()
