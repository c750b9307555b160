"""Estimates that were made elsewhere: a folder of anybody's files -> which file is which stem of which track.

Known are a folder per track (TRACK/STEM.wav, TRACK/TRACK_STEM.wav, with the split above it or before its name, as
runs of the kit keep them) and files side by side (TRACK_STEM.wav, as MVSep takes them in a zip); .wav or .flac. Names
are looked up among the data's, never joined to a path of ours, and what they name is opened as a submission's
estimates are: one folder after the other, without following links. All that is wrong is found before anything is
scored.
"""

import hashlib
import os
import shutil
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from evaluator import printable
from evaluator.challenge import StemSet, of_stems
from evaluator.digests import sha256_of_open
from evaluator.running.audio_header import HeaderError
from evaluator.running.dataset import SUFFIXES, Contents, Track
from evaluator.running.estimates import InvalidOutputError, check_header, keep, opened_file, opened_folder
from evaluator.runs.records import ESTIMATES, GivenEstimates

# What others call a stem. The last two are DnR's own names, where the data has them as the challenge does.
ALIASES = {"instrum": "instrumental", "speech": "dialog", "sfx": "effect"}
DEEPEST = 3  # SPLIT/TRACK/FILE
MOST_FILES = 100_000
PASSED_OVER = ("__MACOSX",)  # and what is hidden
MOST_NAMED = 20  # stems in one sentence

Parts = tuple[str, ...]
"""A path below the folder."""


class PredictionsError(Exception):
    """The estimates do not fit the data; `problems` holds one sentence for each file at fault."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Survey:
    """The sound files below a folder by name: those of a track, by (track, stem), and those of none.

    `flat`: whether they lie side by side, which decides how a missing one would be called.
    """

    root: Path
    files: Mapping[tuple[str, str], tuple[Parts, ...]]
    strangers: tuple[Parts, ...]
    flat: bool

    @property
    def stems(self) -> set[str]:
        """Every stem that there is a file of."""
        return {stem for _, stem in self.files}

    def expected(self, track: Track, stem: str) -> str:
        """How the file of a stem is called in such a folder."""
        return f"{track.folder}_{stem}.wav" if self.flat else f"{track.folder}/{stem}.wav"


@dataclass(frozen=True)
class Predictions:
    """One file for every stem of every track, with headers that fit."""

    identity: GivenEstimates
    root: Path
    files: Mapping[tuple[str, str], Parts]

    def collect(self, track: Track, destination: Path) -> None:
        """Copy the samples of a track's files to `destination`/{stem}.wav, as `estimates.collect` does.

        InvalidOutputError for what no header shows, such as FLAC that does not decode.
        """
        shutil.rmtree(destination, ignore_errors=True)
        destination.mkdir(parents=True)
        problems = []
        for stem in track.references:
            parts = self.files[track.name, stem]
            try:
                with _opened(self.root, parts) as file:
                    keep(file, track, destination / f"{stem}.wav", _channels(track))
            except (InvalidOutputError, HeaderError) as error:
                problems.append(f"{stem}: {error}")
        if problems:
            shutil.rmtree(destination, ignore_errors=True)
            raise InvalidOutputError("; ".join(problems))


def survey(folder: Path, data: Contents) -> Survey:
    """Look up the names below `folder` among the data's tracks; a run's folder stands for its estimates.

    PredictionsError if it is no folder or holds too much.
    """
    root = folder / ESTIMATES if (folder / ESTIMATES).is_dir() and ESTIMATES not in data.folders else folder
    if not root.is_dir():
        raise PredictionsError([f"{root}: not a folder; expected the folder that holds the estimates"])
    try:
        every = list(islice(_sound_files(root), MOST_FILES + 1))
    except OSError as error:
        raise PredictionsError([f"{error.filename}: cannot be read ({error.strerror})"]) from None
    if len(every) > MOST_FILES:
        raise PredictionsError(
            [f"{root}: more than {MOST_FILES} files, expected one for each stem of a track"]
        )
    return look_up(root, every, data)


def look_up(root: Path, names: Iterable[Parts], data: Contents) -> Survey:
    """What files of these names below `root` are estimates of; nothing is read."""
    tracks = _by_any_name(data)
    files: dict[tuple[str, str], tuple[Parts, ...]] = {}
    strangers: list[Parts] = []
    for parts in names:
        found = _meaning(parts, tracks, data.stems)
        if found is None:
            strangers.append(parts)
        else:
            files[found] = (*files.get(found, ()), parts)
    deep = [parts for several in files.values() for parts in several if len(parts) > 1]
    return Survey(root, files, tuple(strangers), flat=bool(files) and not deep)


def _by_any_name(data: Contents) -> dict[str, str]:
    """The tracks by their names, by those under which they are seen, and by those without a split, if only one is."""
    short = [name.rpartition("/")[2] for name in data.folders]
    found = {each: name for each, name in zip(short, data.folders, strict=True) if short.count(each) == 1}
    found |= {each: name for name, seen in data.folders.items() for each in (seen, name)}
    return {_composed(each): name for each, name in found.items()}


def _composed(name: str) -> str:
    """A name with its accents as parts of their letters: some systems take them apart, and zips carry that on."""
    return unicodedata.normalize("NFC", name)


def is_passed_over(name: str) -> bool:
    """Whether nobody means a file or folder of this name to be an estimate."""
    return name.startswith(".") or name in PASSED_OVER


def _sound_files(folder: Path, above: Parts = ()) -> Iterator[Parts]:
    """Files, and links, that are called like sound; and links in place of folders, which nobody follows."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        parts = (*above, entry.name)
        if is_passed_over(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False):
            if len(parts) < DEEPEST:
                yield from _sound_files(Path(entry.path), parts)
            continue
        if entry.name.lower().endswith(SUFFIXES) or (entry.is_symlink() and entry.is_dir()):
            yield parts


def _meaning(parts: Parts, tracks: Mapping[str, str], stems: frozenset[str]) -> tuple[str, str] | None:
    """(track, stem) of a file by its name; None for one of no track."""
    *folders, file = map(_composed, parts)
    name, dot, _ = file.rpartition(".")
    if not dot:
        return None
    if folders:
        track = tracks.get("/".join(folders))
        stem = name.removeprefix(f"{folders[-1]}_")
        return None if track is None else (track, _stem(stem, stems))
    cuts = [index for index, character in enumerate(name) if character == "_"]
    # The longest name first, since a track may be called as the beginning of another.
    for cut in reversed(cuts):
        if name[:cut] in tracks:
            return tracks[name[:cut]], _stem(name[cut + 1 :], stems)
    return None


def _stem(name: str, stems: frozenset[str]) -> str:
    """What we call a stem that is called so."""
    if name in stems:
        return name
    lower = name.lower()
    alike = [stem for stem in sorted(stems) if stem.lower() == lower]  # the data may have it in capitals
    return alike[0] if alike else ALIASES.get(lower, lower)


def stems_to_score(found: Survey, data: Contents, folder: Path) -> StemSet:
    """Those that there are files of, and that the data has references of; PredictionsError if there is none."""
    common = found.stems & data.stems
    if not common:
        has = (
            f"files of {_listed(found.stems)}" if found.stems else "no sound file that is named after a track"
        )
        raise PredictionsError(
            [
                f"{found.root}: {has}; expected TRACK/STEM.wav or TRACK_STEM.wav (or .flac), with the tracks of "
                f"{folder}, such as {min(data.folders.values(), default='-')}, and stems of {_listed(data.stems)}"
            ]
        )
    return of_stems(common)


def _listed(names: set[str] | frozenset[str]) -> str:
    """Names of others in a sentence."""
    return ", ".join(map(printable.plain, printable.listed(sorted(names), MOST_NAMED))) or "none"


def described(track: str, stem: str, sha256: str) -> bytes:
    """What one file adds to the hash of a set of estimates: its place and its content, and not its name."""
    return f"{track}\n{stem}\n{sha256}\n".encode()


def check(found: Survey, tracks: tuple[Track, ...], data: Contents, all_stems: bool) -> Predictions:
    """Exactly one file for every stem of every track, each with a header that fits it, and no other.

    all_stems: whether files of stems that are not scored are a fault. Files of tracks of the data that are not among
    `tracks` are passed over. PredictionsError with one sentence for every file at fault.
    """
    problems = [f"{_name(parts)}: {_stranger(found.root.joinpath(*parts))}" for parts in found.strangers]
    chosen: dict[tuple[str, str], Parts] = {}
    digest = hashlib.sha256()
    for track in tracks:
        for stem in track.references:
            several = found.files.get((track.name, stem), ())
            if len(several) != 1:
                problems.append(_number_fault(found, track, stem, several))
                continue
            chosen[track.name, stem] = several[0]
            try:
                with _opened(found.root, several[0]) as file:
                    check_header(file, track, _channels(track))
                    digest.update(described(track.name, stem, sha256_of_open(file)))
            except (InvalidOutputError, HeaderError) as error:
                problems.append(f"{_name(several[0])}: {error}")
    if all_stems:
        problems += _extra(found, tracks, data)
    if problems:
        raise PredictionsError(problems)
    return Predictions(GivenEstimates(str(found.root.resolve()), digest.hexdigest()), found.root, chosen)


def _stranger(path: Path) -> str:
    if path.is_symlink():
        return "is a link, expected the files themselves"
    return "extra; it is named after no track of the data"


def _number_fault(found: Survey, track: Track, stem: str, several: tuple[Parts, ...]) -> str:
    if not several:
        return f"{found.expected(track, stem)}: missing (or the same as .flac)"
    names = " and ".join(map(_name, several))
    return f"{names}: found {len(several)} files for {stem} of {track.name}, expected one"


def _extra(found: Survey, tracks: tuple[Track, ...], data: Contents) -> list[str]:
    """Files of those tracks whose stem is not scored, since the data has no reference of it."""
    stems = {track.name: track.references for track in tracks}
    return [
        f"{_name(parts)}: extra; found the stem {printable.plain(stem)}, expected one of {_listed(data.stems)}"
        for (name, stem), several in found.files.items()
        if name in stems and stem not in stems[name]
        for parts in several
    ]


def _channels(track: Track) -> tuple[int, ...]:
    """How many channels an estimate may have: those of the mixture, or of a mono recording its one."""
    return tuple({track.estimate_channels, track.reference_channels})


def _name(parts: Parts) -> str:
    return printable.plain("/".join(parts))


@contextmanager
def _opened(root: Path, parts: Parts) -> Iterator[BinaryIO]:
    """A file below `root`; InvalidOutputError for links, in whichever part of its path, and all that is no file."""
    *folders, name = parts
    with ExitStack() as stack:
        folder: int | Path = root
        for each in folders:
            folder = stack.enter_context(opened_folder(folder, each))
        yield stack.enter_context(opened_file(folder, name))
