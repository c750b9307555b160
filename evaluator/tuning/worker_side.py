"""A track's work for `tune`, `ablate` and `table` on a worker of an engine: the same questions and estimator.

The worker's process keeps the estimator, and so the loaded models, between tracks (`held`). Estimates stay in the
cache of the worker's machine; only the answers travel. Data is compared with the run's by hash before anything is
computed, and which weights were used is part of the answer.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from evaluator.isolation import machine
from evaluator.locations import REPOSITORY
from evaluator.running import worker_data, worker_weights
from evaluator.running.dataset import Dataset, Track
from evaluator.tuning.ablate import read_document
from evaluator.tuning.estimator import CACHE, Estimator, EstimatorError, Question, Required
from sdx.engines.engine import Refused
from sdx.engines.held import DISK_FULL, HELD, UnfitError, full_disk
from sdx.engines.scratch import scratch_folder
from sdx.engines.slots import Slot

CACHE_VARIABLE = "SDX_WORKER_CACHE"  # where estimates are kept on this machine, if elsewhere


@dataclass(frozen=True)
class Settings:
    """How members are run; `cache` is None for the worker's own default, `is_kept` says if models stay loaded."""

    cache: str | None
    limit_bytes: int
    device: str
    precision: str
    is_kept: bool


@dataclass(frozen=True)
class Place:
    """Which track of which data, and the hash of its files."""

    data: str
    only: str | None
    challenge: str
    track: str
    sha256: str
    skip_bad: bool = False  # as the run was told


@dataclass(frozen=True)
class PresetText:
    """A preset as it travels. manifest: the path of its own, below the kit's folder if `in_kit`."""

    text: str
    manifest: str | None
    in_kit: bool

    @classmethod
    def of(cls, file: Path) -> "PresetText":
        """What is in this file, which has been checked."""
        document = read_document(file)
        manifest = document.pop("manifest", None)
        in_kit = manifest is not None and Path(manifest).is_relative_to(REPOSITORY)
        if in_kit:
            manifest = Path(manifest).relative_to(REPOSITORY).as_posix()
        return cls(yaml.safe_dump(document, sort_keys=False), manifest, in_kit)

    def write(self, file: Path) -> Path:
        """The preset as a file of this machine; UnfitError where its manifest is not here."""
        document = yaml.safe_load(self.text)
        if self.manifest is not None:
            manifest = REPOSITORY / self.manifest if self.in_kit else Path(self.manifest)
            if not manifest.is_file():
                raise UnfitError(f"has no manifest {manifest}; put it into a folder that all machines share")
            document["manifest"] = str(manifest)
        file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        return file


Asked = Sequence[tuple[PresetText, Question[Any] | None]]
Chosen = Sequence[tuple[str, str]]
"""(checkpoint, dtype): what networks compute in, for those of which it has been chosen."""


@dataclass(frozen=True)
class WorkerAnswer:
    """A track's answers, in the order of the questions, and what they come from.

    weights: {checkpoint: SHA-256}. precisions: {checkpoint: dtype}. device: what ran them, in words.
    """

    answers: tuple[Any, ...]
    weights: Mapping[str, str]
    precisions: Mapping[str, str]
    device: str


def choose_precisions(settings: Settings, presets: Sequence[PresetText]) -> WorkerAnswer | Refused:
    """What these presets' networks compute in here, with no answers."""
    return _at_station(settings, lambda station: station.answer(None, [(text, None) for text in presets], ()))


def answer_track(
    settings: Settings, place: Place, asked: Asked, precisions: Chosen
) -> WorkerAnswer | Refused:
    """A track's answers, the networks computing in these precisions; Refused where this machine may not give them.

    Raises EstimatorError for what another machine may be able to do, such as a GPU whose memory is full.
    """
    return _at_station(settings, lambda station: station.answer(place, asked, precisions))


def _at_station(settings: Settings, do: "Callable[[_Station], WorkerAnswer]") -> WorkerAnswer | Refused:
    return HELD.use(settings, lambda: _Station(settings), do, lambda _: settings.is_kept)


class _Station:
    """An estimator on this machine, in a slot of its own, and the data that was asked about."""

    def __init__(self, settings: Settings) -> None:
        self._data: dict[Place, Dataset] = {}
        self._slot = Slot()
        self._slot.take_a_gpu(machine.number_of_gpus())
        worker_weights.allow_download()
        cache = Path(os.environ.get(CACHE_VARIABLE) or settings.cache or CACHE)
        try:
            self._estimator = Estimator(
                cache, settings.limit_bytes, settings.device, settings.precision
            ).__enter__()
        except EstimatorError as error:
            self._slot.close()
            raise UnfitError(f"cannot run models: {error}") from None

    def cancel(self) -> None:
        self._estimator.cancel()

    def close(self) -> None:
        self._estimator.cancel()  # between two questions, or after an error, there is nothing to wait for
        self._estimator.__exit__(None, None, None)
        self._slot.close()

    def answer(self, place: Place | None, asked: Asked, precisions: Chosen) -> WorkerAnswer:
        """Answers about a track, or none where there is no place."""
        track = None if place is None else self._track(place)
        try:
            with scratch_folder() as folder:
                return self._answer(track, asked, precisions, folder)
        except EstimatorError as error:
            if error.errno in DISK_FULL:
                raise UnfitError(f"{full_disk(None)}: {error}") from None
            raise

    def _answer(self, track: Track | None, asked: Asked, precisions: Chosen, folder: Path) -> WorkerAnswer:
        files: dict[PresetText, Path] = {}
        weights: dict[str, str] = {}
        chosen: dict[str, str] = {}
        for text, _ in asked:
            if text not in files:
                files[text] = text.write(folder / f"{len(files)}.yaml")
                found = self._require(files[text], precisions, track is None)
                weights |= found.weights
                chosen |= found.precisions
        answers = tuple(
            question.at(files[text]).answer(self._estimator, track)
            for text, question in asked
            if question is not None and track is not None
        )
        info = self._estimator.describe(files[asked[0][0]])
        return WorkerAnswer(answers, weights, chosen, self._estimator.where(info))

    def _require(self, preset: Path, precisions: Chosen, chooses: bool) -> Required:
        try:
            return self._estimator.require(preset, dict(precisions), chooses)
        except EstimatorError as error:
            raise UnfitError(f"cannot run the preset: {error}") from None

    def _track(self, place: Place) -> Track:
        whole = replace(place, track="", sha256="")
        if whole not in self._data:
            self._data[whole] = worker_data.load(place.data, place.only, place.challenge, place.skip_bad)
        return worker_data.track_of(self._data[whole], place.track, place.sha256)
