"""Checks and scores the estimates of one entry: the child in which all that somebody sent is opened.

It lives in the kit's sandbox (isolation/): a root of its own that holds the interpreter, the evaluator, the data and
the entry, read-only; no network; memory and time capped; one folder in memory for the copies of a track. It reads
requests from its standard input, one line of JSON each, and answers each with a line on what was its standard output:

- `look`: which stems there are files of, and what is wrong with the names.
- `check`, with numbers of tracks: their headers against the tracks, every byte read, the hash of each file.
- `score`, with numbers of tracks: the measures, and which stems are silent or the mixture itself.
- `show`, with a track's number, where references are open: sounds and pictures, as files in the folder for copies.

The scores are those of `run_eval.py --predictions`: copies by running/estimates, measures by running/scoring.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile

from evaluator.digests import sha256_of_open
from evaluator.measures.means import Scores
from evaluator.running import estimates, scoring
from evaluator.running.audio_header import HeaderError
from evaluator.running.dataset import Contents, Dataset, Track
from evaluator.running.estimates import InvalidOutputError
from evaluator.running.parts import blocks
from evaluator.running.predictions import PredictionsError, Survey, look_up
from evaluator.service import deriving, shown_tracks
from evaluator.service.archive import Archive
from evaluator.service.task import MOST_PROBLEMS, SENTENCE_CHARACTERS, TASK_FILE, VOCALS, Task

LOUDEST = float(1 << 15)  # floats on the scale of 16 bits; measures/catalogue.py counts on no more
LINE_CHARACTERS = 48 << 10  # of problems; the supervisor takes a line of 64 KiB
SAME = 1.5 / (1 << 15)  # of full scale: the mixture itself, but for rounding to 16 bits
ZERO = 0.5 / (1 << 15)


@dataclass(frozen=True)
class Files:
    """What a survey found, and how to open one of its files as a regular file of its own."""

    survey: Survey
    opened: Callable[[Track, str], Any]

    def stems(self) -> list[str]:
        """The stems that there are files of."""
        return sorted(self.survey.stems)


class Judge:
    """Answers requests about the entry in one folder; `room` is the folder for copies."""

    def __init__(self, entry: Path, room: Path) -> None:
        self._entry = entry
        self._room = room
        self._task = Task.read(entry / TASK_FILE)
        self._data: Dataset = self._task.load_data()
        self._files: Files | None = None

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one request."""
        operation = {"look": self._look, "check": self._check, "score": self._score, "show": self._show}[
            request["op"]
        ]
        return operation(request)

    def _look(self, request: Mapping[str, Any]) -> dict[str, Any]:
        try:
            files = self._surveyed()
        except PredictionsError as error:
            return _problems(error.problems)
        stems, problems = self._task.settle(files.survey)
        if problems:
            return _problems(problems)
        return {"stems": stems}

    def _surveyed(self) -> Files:
        """The names, looked up once."""
        if self._files is None:
            self._files = self._zipped() if self._task.zip else self._side_by_side()
        return self._files

    def _zipped(self) -> Files:
        archive = Archive(self._entry / self._task.zip, self._task.names[self._task.zip], self._contents())

        @contextmanager
        def opened(track: Track, stem: str) -> Iterator[BinaryIO]:
            (parts,) = archive.survey.files[track.name, stem]
            copy = self._room / "unpacked"
            try:
                archive.write(parts, track, max(_channels(track)), copy)
                with estimates.opened_file(self._room, copy.name) as file:
                    yield file
            finally:
                copy.unlink(missing_ok=True)

        return Files(archive.survey, opened)

    def _side_by_side(self) -> Files:
        stored = {given: name for name, given in self._task.names.items()}
        survey = look_up(self._entry, [tuple(given.split("/")) for given in stored], self._contents())

        @contextmanager
        def opened(track: Track, stem: str) -> Iterator[BinaryIO]:
            (parts,) = survey.files[track.name, stem]
            with estimates.opened_file(self._entry, stored["/".join(parts)]) as file:
                yield file

        return Files(survey, opened)

    def _contents(self) -> Contents:
        return Contents(
            {track.name: track.folder for track in self._data.tracks}, frozenset(self._task.stems)
        )

    def _check(self, request: Mapping[str, Any]) -> dict[str, Any]:
        problems: list[str] = []
        digests = [self._digests(self._data.tracks[index], problems) for index in request["tracks"]]
        return _problems(problems) if problems else {"sha256": digests}

    def _digests(self, track: Track, problems: list[str]) -> dict[str, str]:
        """The hash of each file of a track by stem; adds what is wrong with any to `problems`."""
        files = self._surveyed()
        digests: dict[str, str] = {}
        for stem in files.stems():
            try:
                with files.opened(track, stem) as file:
                    estimates.check_header(file, track, _channels(track))
                    digests[stem] = sha256_of_open(file)
            except (InvalidOutputError, HeaderError) as error:
                problems.append(f"{self._task.called(files.survey, track, stem)}: {error}")
        return digests

    def _score(self, request: Mapping[str, Any]) -> dict[str, Any]:
        tracks = [self._data.tracks[index] for index in request["tracks"]]
        scores, odd = [], []
        for track in tracks:
            try:
                found, strange = self._scores_of(track)
            except (InvalidOutputError, HeaderError) as error:
                return _problems([f"{track.folder}: {error}"])
            scores.append(found)
            odd.append(strange)
        return {"scores": scores, "odd": odd}

    def _scores_of(self, track: Track) -> tuple[dict[str, dict[str, float | None]], dict[str, str]]:
        """The measures of all stems of a track, and which of them are odd."""
        files = self._surveyed()
        stems = self._scored(files)
        together = scoring.BSS_EVAL.keys() & set(self._task.measures)
        groups = [stems] if together else [[stem] for stem in stems]  # one at a time takes less memory
        scores: dict[str, dict[str, float | None]] = {name: {} for name in self._task.measures}
        odd: dict[str, str] = {}
        for group in groups:
            for name, found in self._measured(files, track, group, odd).items():
                scores[name] |= found
        return scores, odd

    def _measured(
        self, files: Files, track: Track, stems: Sequence[str], odd: dict[str, str]
    ) -> dict[str, Scores]:
        """The measures of some stems of a track, by copies of them; notes which of them are odd."""
        with self._copied(files, track, stems) as (part, copies):
            for stem in stems:
                if kind := _oddity(track, stem, copies / f"{stem}.wav"):
                    odd[stem] = kind
            return _scores(part, copies, self._task.measures)

    @contextmanager
    def _copied(self, files: Files, track: Track, stems: Sequence[str]) -> Iterator[tuple[Track, Path]]:
        """The track with the references of these stems alone, and a folder with copies of the estimates of them."""
        copies = self._room / "copies"
        copies.mkdir()
        try:
            for stem in stems:
                self._copy(files, track, stem, copies / f"{stem}.wav")
            yield replace(track, references={stem: track.references[stem] for stem in stems}), copies
        finally:
            shutil.rmtree(copies)

    def _scored(self, files: Files) -> list[str]:
        """The stems that are scored: those uploaded, and what is derived from them."""
        given = files.stems()
        return sorted([*given, *self._task.derived(given)])

    def _copy(self, files: Files, track: Track, stem: str, target: Path) -> None:
        """A copy of an estimate under a header of ours; what is derived is made of such copies of others."""
        if stem in files.stems():
            with files.opened(track, stem) as file:
                estimates.keep(file, track, target, _channels(track))
            return
        with tempfile.TemporaryDirectory(dir=self._room) as place:
            copies = {part: Path(place) / part for part in self._task.parts(files.stems())}
            for part, copy in copies.items():
                self._copy(files, track, part, copy)
            if VOCALS in copies:
                deriving.minus_vocals(track, copies[VOCALS], target)
            else:
                deriving.sum_of(track, list(copies.values()), target)

    def _show(self, request: Mapping[str, Any]) -> dict[str, Any]:
        track, files = self._data.tracks[request["track"]], self._surveyed()
        with self._copied(files, track, self._scored(files)) as (part, copies):
            shown_tracks.write(part, copies, self._room)
        return {}


def _scores(track: Track, copies: Path, measures: Sequence[str]) -> dict[str, Scores]:
    quick = [name for name in measures if name in scoring.ENERGY_METRICS]
    found = dict(scoring.score_track(track, copies, ["sdr", *quick]))  # which refuses NaN
    if costly := scoring.costly(measures):
        found |= scoring.costly_scores(track, copies, costly)
    return {name: found[name] for name in measures}


def _oddity(track: Track, stem: str, estimate: Path) -> str | None:
    """Whether an estimate is what nobody separates: "silent", or the "mixture"; most soon are seen to be neither.

    InvalidOutputError for samples beyond all scales, whatever the reference is: a refusal, which costs no score, must
    tell nothing of it.
    """
    _refuse_loud(stem, estimate)
    is_silent = is_mixture = True
    for found in zip(blocks(estimate), *map(blocks, track.mixtures), strict=False):
        block, mixture = found[0], np.concatenate(found[1:], axis=1)
        is_silent = is_silent and bool(np.max(np.abs(block)) < ZERO)
        is_mixture = is_mixture and bool(np.max(np.abs(block - mixture)) < SAME)
        if not (is_silent or is_mixture):
            return None
    return "silent" if is_silent else "mixture"


def _refuse_loud(stem: str, estimate: Path) -> None:
    """InvalidOutputError for samples far beyond full scale, which only floats can be."""
    if soundfile.info(estimate).subtype not in ("FLOAT", "DOUBLE"):
        return
    if any(np.max(np.abs(block)) > LOUDEST for block in blocks(estimate)):
        raise InvalidOutputError(f"{stem}: samples far beyond full scale")


def _channels(track: Track) -> tuple[int, ...]:
    return tuple({track.estimate_channels, track.reference_channels})


def _problems(sentences: Sequence[str]) -> dict[str, Any]:
    """As many of these as one line takes; names are the sender's, and JSON is longer than they are."""
    told = [sentence[:SENTENCE_CHARACTERS] for sentence in sentences[:MOST_PROBLEMS]]
    while len(json.dumps(told)) > LINE_CHARACTERS:
        told.pop()
    return {"problems": told, "number": len(sentences)}


def main(entry: str, room: str) -> None:
    """Answer requests until there are none."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    judge: Judge | None = None
    for line in sys.stdin:
        judge = judge or Judge(Path(entry), Path(room))
        print(json.dumps(judge.answer(json.loads(line)), allow_nan=False), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
