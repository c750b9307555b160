"""Folder layouts of the known data sets -> Tracks in name order, every problem found before anything runs."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

from evaluator import printable
from evaluator.challenge import CHALLENGES, MUSIC, STEM_NAME, TAKEN, StemSet
from evaluator.locations import DEMO
from evaluator.running import layouts, parts, stem_files
from evaluator.running.layouts import LAYOUTS, SUFFIXES, Found
from evaluator.running.parts import Part, Piece, Shape, Stream
from evaluator.running.reference_files import BLOCK_FRAMES, DamagedFileError
from evaluator.runs import documents
from evaluator.runs.records import LeftOut

__all__ = ["BLOCK_FRAMES", "SUFFIXES"]  # and all that is public below
MOST_SPOKEN_OF = 3  # problems of one track in the reason why it is left out


class DataError(Exception):
    """The data cannot be used; `problems` holds one sentence per problem, each with its path."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class OtherStemsError(DataError):
    """The tracks have other stems than those that are wanted; its one problem begins with the folder."""


class BadTracksError(DataError):
    """Some tracks cannot be used, and others can: `tracks` names those that might be left out."""

    def __init__(self, problems: Sequence[str], tracks: Sequence[str]) -> None:
        super().__init__(problems)
        self.tracks = tuple(tracks)


@dataclass(frozen=True)
class Track:
    """One recording: its mixture (one part, or left and right channel) and a reference for every stem."""

    name: str  # path below the data folder, "/" between a split and its track
    folder: str  # the folder name under which the submission sees it
    mixtures: tuple[Part, ...]
    references: Mapping[str, Part]
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
    """The tracks of one folder, with the stems of a challenge or any others.

    notes: what was ignored, and what there is to know. left_out: the tracks that cannot be used, if they may be left
    out.
    """

    path: Path
    challenge: StemSet
    tracks: tuple[Track, ...]
    notes: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()


def load(
    path: Path, only: str | None = None, wanted: StemSet | None = None, skip_bad: bool = False
) -> Dataset:
    """Find and check the tracks below `path`, in name order.

    only: keep the tracks whose name or folder name matches this glob pattern.
    wanted: the stems to score, of all that the tracks have; by default those of the challenge they are laid out for.
    skip_bad: leave out the tracks that have problems, unless all have.
    Raises DataError with every problem: no tracks, mixed layouts, a stem missing, unreadable or empty files,
    unequal lengths, rates or channel counts; OtherStemsError where no track has all the stems that are wanted.
    """
    if not path.is_dir():
        raise DataError([f"{path}: not a folder; expected the folder that holds the track folders"])
    notes: list[str] = []
    found = _find(path, wanted, notes)
    if not found:
        own = layouts.own_layouts(wanted)
        raise DataError([f"{path}: no tracks found; expected {layouts.describe((*own[:1], *LAYOUTS))}"])
    if only is not None:
        found = [each for each in found if fnmatch(each.name, only) or fnmatch(each.short, only)]
        if not found:
            raise DataError([f"{path}: no track matches --only {only!r}"])
    _require_stems(path, found, wanted)
    challenges = {each.challenge.name: each.place for each in found}
    if len(challenges) > 1:
        raise DataError([f"{place}: a {name} track beside others" for name, place in challenges.items()])
    named = _name_problems(path, found)
    tracks, bad = [], {}
    for each in found:
        if path in named or each.place in named:  # it may be a name with which nothing can be opened
            continue
        own_problems: list[str] = []
        track = _load_track(each, own_problems)
        if track is None:
            bad[each.name] = own_problems
        else:
            tracks.append(track)
    if named:  # which cannot be left out, since no result may hold the name
        raise DataError([*named.values(), *(problem for own in bad.values() for problem in own)])
    if any(isinstance(part, Stream) for track in tracks for part in track.mixtures):
        notes.append(f"{path}: {stem_files.NOTE}")
    challenge = found[0].challenge
    return Dataset(path, challenge, tuple(tracks), tuple(notes), _left_out(path, bad, len(tracks), skip_bad))


def _find(path: Path, wanted: StemSet | None, notes: list[str]) -> list[Found]:
    """The tracks by the names below `path`; DataError where a folder cannot be read, and may hold some."""
    try:
        return layouts.find(path, wanted, notes)
    except OSError as error:
        raise DataError([f"{error.filename or path}: cannot be read ({error.strerror or error})"]) from None


def _left_out(
    path: Path, bad: Mapping[str, Sequence[str]], usable: int, skip_bad: bool
) -> tuple[LeftOut, ...]:
    """The tracks with problems, and why, without the path to the data; DataError unless they may be left out."""
    if not bad:
        return ()
    if skip_bad and usable:
        return tuple(LeftOut(name, _reason(path, problems)) for name, problems in bad.items())
    every = [problem for problems in bad.values() for problem in problems]
    raise BadTracksError(every, list(bad)) if usable else DataError(every)


def _reason(path: Path, problems: Sequence[str]) -> str:
    """Why a track is left out, on any machine."""
    more = [f"and {len(problems) - MOST_SPOKEN_OF} more"] if len(problems) > MOST_SPOKEN_OF else []
    said = "; ".join([*problems[:MOST_SPOKEN_OF], *more])
    return printable.plain(said.replace(f"{path}/", "").replace(f"{path.resolve()}/", ""))


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
    found = _find(path, None, [])
    stems = {stem for each in found for stem in each.held}
    known = frozenset(stem for stem in stems if STEM_NAME.fullmatch(stem) and stem not in TAKEN)
    return Contents({each.name: _seen_as(each) for each in found}, known)


def _seen_as(found: Found) -> str:
    """The folder name under which a track is seen, which names its split, too."""
    return found.name.replace("/", "__")


def demo_folder(wanted: StemSet, demo: Path = DEMO) -> Path:
    """The demo tracks that have these stems; DataError if none do."""
    for challenge in CHALLENGES.values():
        if set(wanted.stems) <= set(challenge.stems):
            return demo / challenge.name
    raise DataError(
        [f"{demo}: the demo has no tracks with {wanted.words}; name a folder that has, with --data"]
    )


def _name_problems(path: Path, found: Sequence[Found]) -> dict[Path, str]:
    """A sentence for each place whose name no result may hold: not shown as what it is, or that of two tracks."""
    problems = {}
    if (wrong := printable.fault(str(path.resolve()))) is not None:
        problems[path] = (
            f"{path}: its path has the character {wrong}, which no name may have; give it another name"
        )
    for each in found:
        try:
            documents.track_name(each.name)
        except ValueError as error:
            problems[each.place] = f"{each.place}: {error}; give it another name"
    places: dict[str, Path] = {}
    for each in found:
        if (other := places.setdefault(_seen_as(each), each.place)) != each.place:
            problems[each.place] = (
                f"{each.place}: its estimates would be in the folder {_seen_as(each)}, and so would those of {other};"
                " give one of them another name, or move it away"
            )
    return problems


def _require_stems(path: Path, found: Sequence[Found], wanted: StemSet | None) -> None:
    """OtherStemsError where no track has all the stems that are wanted, or those of a challenge but others."""
    complete = [each.challenge for each in found if not each.missing]
    if wanted in complete or (wanted is None and complete):
        return
    usual = {each.usual for each in found}
    if known := [challenge for challenge in usual if challenge is not None and None not in usual]:
        held = " and ".join(f"{challenge.name} tracks ({challenge.listed})" for challenge in known)
        raise OtherStemsError([f"{path} holds {held}"])
    stems = sorted(frozenset.intersection(*(each.held for each in found)))
    held = f"{path} holds tracks with {', '.join(stems) or 'no stem in common'}"
    if wanted is not None:
        raise OtherStemsError([held])
    if {each.challenge for each in found} == {MUSIC} and set(stems) - set(MUSIC.stems):
        raise OtherStemsError([f"{held}, which are no challenge's stems"])


def _load_track(found: Found, problems: list[str]) -> Track | None:
    """Check one track; None if there are problems, which are appended."""
    mixtures, references = found.parts(problems)
    shapes: dict[Part, Shape] = {}
    for part in (*mixtures, *references.values()):
        try:
            shapes[part] = parts.shape(part)
        except DamagedFileError as error:
            problems.append(f"{part}: {error}")
    if problems:
        return None
    described = _describe_shape(shapes, mixtures, problems)
    if described is None:
        return None
    frames, rate_hz, channels = described
    estimate_channels = max(channels, len(mixtures), len(found.challenge.mixture_files))
    return Track(
        found.name, _seen_as(found), tuple(mixtures), references, frames, rate_hz, channels, estimate_channels
    )


def _describe_shape(
    infos: Mapping[Part, Shape], mixtures: Sequence[Part], problems: list[str]
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
                problems.append(f"{path}: {got} {what}, but {_short(first)} has {expected} {what}")
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
            problems.append(f"{path}: {other.channels} channels, but {_short(first)} has {info.channels}")
        elif other.channels > 2:
            problems.append(f"{path}: {other.channels} channels, expected 1 or 2")
    if len(problems) > before:
        return None
    return info.frames, info.samplerate, next(iter(reference_channels))


def _short(part: Part) -> str:
    """A part as it is called in a sentence on another one."""
    return part.name if isinstance(part, Path) else str(part)


@dataclass(frozen=True)
class ContentHashes:
    """SHA-256 over names and contents, hexadecimal: of all tracks, and of each by its name."""

    total: str
    tracks: Mapping[str, str]


def content_hash(tracks: Sequence[Track], progress: Callable[[Track], None] = lambda track: None) -> str:
    """The total of `content_hashes`."""
    return content_hashes(tracks, progress).total


def content_hashes(
    tracks: Sequence[Track], progress: Callable[[Track], None] = lambda track: None
) -> ContentHashes:
    """Hash names and contents of `tracks`, and check what no header shows.

    `progress` is called after each track. Raises DataError for files that end early, hold NaN or infinity, or decode
    to other samples than were written.
    """
    hashes, bad = _read_all(tracks, progress)
    _left_out(Path(), bad, len(hashes.tracks), skip_bad=False)
    return hashes


def checked(
    data: Dataset, progress: Callable[[Track], None] = lambda track: None, skip_bad: bool = False
) -> tuple[Dataset, ContentHashes]:
    """The data and its hashes; tracks in which `content_hashes` finds problems are left out if they may be."""
    hashes, bad = _read_all(data.tracks, progress)
    left_out = _left_out(data.path, bad, len(hashes.tracks), skip_bad)
    tracks = tuple(track for track in data.tracks if track.name in hashes.tracks)
    every = sorted((*data.left_out, *left_out), key=lambda each: each.name)
    return replace(data, tracks=tracks, left_out=tuple(every)), hashes


def _read_all(
    tracks: Sequence[Track], progress: Callable[[Track], None]
) -> tuple[ContentHashes, dict[str, list[str]]]:
    """The hashes of the tracks without problems, and the problems of the others."""
    total = hashlib.sha256()
    each: dict[str, str] = {}
    bad: dict[str, list[str]] = {}
    with ThreadPoolExecutor(1, "hashing") as hashing:  # beside decoding, which takes about as long
        for track in tracks:
            lines = hashing.submit(_content_lines, track)
            problems = [
                f"{piece}: {error}" for piece in _pieces(track) if (error := _damage(piece)) is not None
            ]
            if problems:
                bad[track.name] = problems
                lines.exception()
            else:
                total.update(lines.result())
                each[track.name] = hashlib.sha256(lines.result()).hexdigest()
            progress(track)
    return ContentHashes(total.hexdigest(), each), bad


def _damage(piece: Piece) -> DamagedFileError | None:
    try:
        parts.check_content(piece)
    except DamagedFileError as error:
        return error
    return None


def quick_hash(tracks: Sequence[Track]) -> str:
    """The total of `content_hashes`; nothing is decoded, or checked. OSError for what cannot be read."""
    total = hashlib.sha256()
    for track in tracks:
        total.update(_content_lines(track))
    return total.hexdigest()


def track_hash(track: Track) -> str:
    """What `content_hashes` says of a track; nothing is decoded. OSError for what cannot be read."""
    return hashlib.sha256(_content_lines(track)).hexdigest()


def _pieces(track: Track) -> list[Piece]:
    """What a track is decoded from, each once."""
    return list(dict.fromkeys(piece for part in _parts(track).values() for piece in parts.pieces(part)))


def _parts(track: Track) -> dict[str, Part]:
    """The parts of a track by what they are, in the order of these names."""
    mixtures = {f"mixture{i}": part for i, part in enumerate(track.mixtures)}
    return dict(sorted((mixtures | dict(track.references)).items()))


def _content_lines(track: Track) -> bytes:
    """What a track adds to the hash of its data."""
    return "".join(
        f"{track.name}\n{name}\n{parts.content_sha256(part)}\n" for name, part in _parts(track).items()
    ).encode()
