"""MoisesDB: a folder a song, with `data.json`, and in it a folder for each stem with one file for each take.

`data.json` says which takes there are, and each is `NAME/FILE.wav`:

    {"stems": [{"stemName": NAME, "tracks": [{"id": FILE, "extension": "wav"}]}]}

A stem is the sum of its takes, and the mixture, of which there is no file, that of all.

The stems of the music challenge are those that the authors' package makes of its eleven: bass, drums and vocals are
called so, and all the rest (percussion, too) is other. Where other stems are wanted, `other` is what they leave.

Takes may well differ in length. The authors' package cuts stems to the shortest take, but not the mixture; here a
take that ends is silent from there on, so that nothing is lost and the stems add up to the mixture. Where a song has
no take of a stem, its reference would be silence, against which an SDR says nothing of a separation: that is
a problem.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from evaluator import printable, schema, strict_json
from evaluator.challenge import MUSIC, Challenge, StemSet
from evaluator.running.parts import Part, Takes, whole_of_takes

DESCRIPTION = "data.json"
OTHER = "other"
MOST_TAKES = 200  # of a song, which are all open at once


def _file_name(text: str) -> str:
    """A name that joins to nothing but a file in its folder."""
    if text in (".", "..") or any(character in text for character in "/\\:\0"):
        raise ValueError(f"found {schema.found(text)}, expected the name of a file or folder")
    return text


FileName = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_file_name)]


class _Take(schema.Document):
    id: FileName
    extension: FileName = "wav"


class _Stem(schema.Document):
    stemName: FileName  # noqa: N815, theirs
    tracks: Annotated[tuple[_Take, ...], Field(max_length=MOST_TAKES)]


class _Song(schema.Document):
    stems: Annotated[tuple[_Stem, ...], Field(min_length=1, max_length=MOST_TAKES)]


def is_one(folder: Path) -> bool:
    """Whether a folder is laid out so."""
    description = folder / DESCRIPTION
    if not description.is_file():
        return False
    return any(entry.is_dir() and not entry.name.startswith(".") for entry in folder.iterdir())


@dataclass(frozen=True)
class Song:
    """A track of MoisesDB (`layouts.Found`).

    takes: files by the stem's name in small letters; problem: why they are not known.
    """

    name: str
    place: Path
    wanted: StemSet | None
    takes: Mapping[str, tuple[Path, ...]] = field(repr=False)
    problem: str | None = None

    @property
    def short(self) -> str:
        return self.place.name

    @property
    def challenge(self) -> StemSet:
        if self.wanted is None or isinstance(self.wanted, Challenge):
            return MUSIC
        return self.wanted if any(map(self._takes_of, self.wanted.stems)) else MUSIC

    @property
    def usual(self) -> StemSet | None:
        return MUSIC if all(map(self._takes_of, MUSIC.stems)) else None

    @property
    def held(self) -> frozenset[str]:
        every = {*self.takes, OTHER} if self._takes_of(OTHER) else self.takes
        return frozenset(every)

    @property
    def missing(self) -> int:
        if self.problem is not None:  # which is told when it is read
            return 0
        return sum(not self._takes_of(stem) for stem in self.challenge.stems)

    def _takes_of(self, stem: str) -> tuple[Path, ...]:
        if stem != OTHER:
            return self.takes.get(stem.casefold(), ())
        wanted = () if self.wanted is None else self.wanted.stems
        named = {*MUSIC.stems, *(name.casefold() for name in wanted)} - {OTHER}
        return tuple(file for name, files in self.takes.items() if name not in named for file in files)

    def notes(self) -> list[str]:
        """Sound files that the description does not name, which are not used."""
        known = {file for files in self.takes.values() for file in files}
        beside = (
            file
            for folder in sorted(self.place.iterdir())
            if folder.is_dir()
            for file in sorted(folder.iterdir())
            if file.suffix.lower() in (".wav", ".flac") and file not in known
        )
        return [f"{file}: {DESCRIPTION} does not name it, ignored" for file in beside]

    def parts(self, problems: list[str]) -> tuple[list[Part], dict[str, Part]]:
        if self.problem is not None:
            problems.append(self.problem)
            return [], {}
        lacking = [stem for stem in self.challenge.stems if not self._takes_of(stem)]
        problems += [
            f"{self.place}: the song has no {stem}, so there is nothing to score it by" for stem in lacking
        ]
        every = tuple(file for files in self.takes.values() for file in files)
        absent = [file for file in every if not file.exists()]
        problems += [f"{file}: missing, though {DESCRIPTION} names it" for file in absent]
        whole = whole_of_takes([file for file in every if file not in absent], problems)
        if whole is None or problems:
            return [], {}
        references: dict[str, Part] = {
            stem: Takes(self._takes_of(stem), self.place, whole) for stem in self.challenge.stems
        }
        return [Takes(every, self.place, whole)], references


def found(name: str, folder: Path, wanted: StemSet | None) -> Song:
    """The song in a folder, by its description."""
    path = folder / DESCRIPTION
    try:
        song = _Song.model_validate_json(json.dumps(strict_json.read_object(path)))
    except (OSError, strict_json.JsonError) as error:
        return Song(name, folder, wanted, {}, f"{path}: {error}")
    except ValidationError as error:
        return Song(name, folder, wanted, {}, schema.sentence(str(path), error))
    takes: dict[str, tuple[Path, ...]] = {}
    for stem in song.stems:
        files = tuple(folder / stem.stemName / f"{take.id}.{take.extension}" for take in stem.tracks)
        called = stem.stemName.casefold()
        takes[called] = (*takes.get(called, ()), *files)
    every = [file for files in takes.values() for file in files]
    if len(every) > MOST_TAKES:
        return Song(
            name, folder, wanted, {}, f"{path}: names {len(every)} takes, expected at most {MOST_TAKES}"
        )
    if len(set(every)) < len(every):
        twice = next(file for file in every if every.count(file) > 1)
        return Song(name, folder, wanted, {}, f"{path}: names {printable.plain(str(twice))} twice")
    return Song(name, folder, wanted, {stem: files for stem, files in takes.items() if files})
