"""Checks and scores the estimates of one entry: the child in which all that somebody sent is opened.

It lives in the kit's sandbox (isolation/): a root of its own that holds the interpreter, the evaluator, the data and
the entry, read-only; no network; memory and time capped; one folder in memory for the copies of a track. It reads
requests from its standard input, one line of JSON each, and answers each with a line on what was its standard output:

- `look`: which stems there are files of, and what is wrong with the names.
- `check`, with a track's number: its headers against the track, every byte read, the hash of each file.
- `score`, with a track's number: the measures, and which stems are silent or the mixture itself.
- `show`, with a track's number, where references are open: sounds and pictures, as files in the folder for copies.

The scores are those of `run_eval.py --predictions`: copies by running/estimates, measures by running/scoring.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from evaluator.digests import sha256_of_open
from evaluator.measures.catalogue import MEASURES
from evaluator.measures.means import Scores
from evaluator.running import estimates, scoring
from evaluator.running.audio_header import HeaderError
from evaluator.running.dataset import Contents, Dataset, Track
from evaluator.running.estimates import InvalidOutputError
from evaluator.running.predictions import PredictionsError, Survey, look_up
from evaluator.service import shown_tracks
from evaluator.service.archive import Archive
from evaluator.service.task import MOST_PROBLEMS, TASK_FILE, Task

TOGETHER = {"bss_eval_sdr"}  # measures of a stem that depend on the other stems
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
        track, files = self._data.tracks[request["track"]], self._surveyed()
        digests: dict[str, str] = {}
        problems = []
        for stem in files.stems():
            try:
                with files.opened(track, stem) as file:
                    estimates.check_header(file, track, _channels(track))
                    digests[stem] = sha256_of_open(file)
            except (InvalidOutputError, HeaderError) as error:
                problems.append(f"{self._task.called(files.survey, track, stem)}: {error}")
        return _problems(problems) if problems else {"sha256": digests}

    def _score(self, request: Mapping[str, Any]) -> dict[str, Any]:
        track, files = self._data.tracks[request["track"]], self._surveyed()
        stems = files.stems()
        together = TOGETHER & set(self._task.measures)
        groups = [stems] if together else [[stem] for stem in stems]  # one at a time takes less memory
        scores: dict[str, dict[str, float | None]] = {name: {} for name in self._task.measures}
        odd: dict[str, str] = {}
        try:
            for group in groups:
                for name, found in self._measured(files, track, group, odd).items():
                    scores[name] |= found
        except (InvalidOutputError, HeaderError) as error:
            return _problems([f"{track.folder}: {error}"])
        return {"scores": scores, "odd": odd}

    def _measured(
        self, files: Files, track: Track, stems: Sequence[str], odd: dict[str, str]
    ) -> dict[str, Scores]:
        """The measures of some stems of a track, by copies of them; notes which of them are odd."""
        with self._copied(files, track, stems) as (part, copies):
            for stem in stems:
                if kind := _oddity(track, copies / f"{stem}.wav"):
                    odd[stem] = kind
            return _scores(part, copies, self._task.measures)

    @contextmanager
    def _copied(self, files: Files, track: Track, stems: Sequence[str]) -> Iterator[tuple[Track, Path]]:
        """The track with the references of these stems alone, and a folder with copies of the estimates of them."""
        copies = self._room / "copies"
        copies.mkdir()
        try:
            for stem in stems:
                with files.opened(track, stem) as file:
                    estimates.keep(file, track, copies / f"{stem}.wav", _channels(track))
            yield replace(track, references={stem: track.references[stem] for stem in stems}), copies
        finally:
            shutil.rmtree(copies)

    def _show(self, request: Mapping[str, Any]) -> dict[str, Any]:
        track, files = self._data.tracks[request["track"]], self._surveyed()
        with self._copied(files, track, files.stems()) as (part, copies):
            shown_tracks.write(part, copies, self._room)
        return {}


def _scores(track: Track, copies: Path, measures: Sequence[str]) -> dict[str, Scores]:
    quick = [name for name in measures if name in scoring.ENERGY_METRICS]
    found = dict(scoring.score_track(track, copies, ["sdr", *quick]))  # which refuses NaN
    for name in quick:
        if wrong := [stem for stem, value in found[name].items() if not MEASURES[name].can_be(value)]:
            raise InvalidOutputError(f"{', '.join(wrong)}: samples far beyond full scale")
    if costly := scoring.costly(measures):
        found |= scoring.costly_scores(track, copies, costly)
    return {name: found[name] for name in measures}


def _oddity(track: Track, estimate: Path) -> str | None:
    """Whether an estimate is what nobody separates: "silent", or the "mixture"."""
    loudest = furthest = 0.0
    for parts in zip(scoring.blocks(estimate), *map(scoring.blocks, track.mixtures), strict=False):
        block, mixture = parts[0], np.concatenate(parts[1:], axis=1)
        loudest = max(loudest, float(np.max(np.abs(block))))
        furthest = max(furthest, float(np.max(np.abs(block - mixture))))
    if loudest < ZERO:
        return "silent"
    return "mixture" if furthest < SAME else None


def _channels(track: Track) -> tuple[int, ...]:
    return tuple({track.estimate_channels, track.reference_channels})


def _problems(sentences: Sequence[str]) -> dict[str, Any]:
    return {"problems": list(sentences[:MOST_PROBLEMS]), "number": len(sentences)}


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
