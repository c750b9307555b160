"""An album that the workers of an engine separate, a recording each, into one folder that all machines share.

Recordings lie at the same paths everywhere and are compared by hash. So is what determines the estimates: one worker
says it first, and the others must have the same. Each machine writes its own journal, and `--resume` reads them all.
"""

import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from my_submission.files.errors import FileSeparationError, OutputExists
from my_submission.files.inputs import Recording
from my_submission.files.journal import sha256_of
from my_submission.files.model import ModelChoice, identity, open_model
from my_submission.files.options import SeparatedFile
from my_submission.files.placing import remove_temporary
from my_submission.files.separate import separate_recording
from my_submission.files.workers import Event, Failed, Finished, Logged, ModelFailed, RunSettings, Started
from my_submission.weights.required import DOWNLOAD_VARIABLE
from sdx.engines import making
from sdx.engines import recordings as recordings_there
from sdx.engines.address import Address
from sdx.engines.engine import Refused
from sdx.engines.held import HELD, EndedError, UnfitError
from sdx.engines.making import Watcher
from sdx.engines.slots import Slot
from sdx.engines.work import Task

LONGEST = 300  # characters of what a model is, in a sentence
IDENTITY = "the model"  # the key of that piece of work


@dataclass(frozen=True)
class Errand:
    """What all recordings of a run have in common.

    run: part of the names of its unfinished files.
    """

    settings: RunSettings
    identity: Mapping[str, Any]
    run: str


@dataclass(frozen=True)
class Separated:
    """A recording whose stems are written, and what was to be said meanwhile."""

    result: SeparatedFile
    warnings: tuple[str, ...]


def separate_over(
    address: Address,
    seconds: Mapping[Recording, float],
    settings: RunSettings,
    take: Callable[[Event], object],
    tell: Callable[[str], object],
    working: Callable[[str], object],
) -> None:
    """Have an engine's workers separate these recordings, and `take` be told what `workers.separate_all` yields.

    seconds: how much there is to separate in each. tell: takes what happens with the engine, in sentences. working:
    told again and again who is at work. Raises ModelFailed where no worker can load the model, EngineError where
    nobody may do it, or nobody comes.
    """
    folder, told = settings.output_dir, _absolute(settings)
    run = secrets.token_hex(4)
    recordings: dict[str, Recording] = {}
    tasks: list[Task] = []
    for number, recording in enumerate(seconds):
        working(f"checking the recordings, {number} of {len(seconds)}")
        try:
            there = replace(recording, source=recording.source.resolve())
            sha256 = sha256_of(recording.source)
        except OSError as error:
            take(Started(recording))
            take(Failed(recording, f"{recording.source}: {error.strerror}"))
            continue
        key = f"{number:04d} {recording.source.name}"
        recordings[key] = recording
        tasks.append(Task(key, (there, sha256), max(seconds[recording], 1.0)))
    try:
        first = _First(tell)
        with making.opened(address, folder, first.notice) as workshop:
            workshop.make_all(identify, [Task(IDENTITY, (told.model,))], first)
            if first.identity is None:
                raise ModelFailed(first.reason)
            errand = Errand(told, first.identity, run)
            begun = [replace(task, arguments=(errand, *task.arguments)) for task in tasks]
            album = _Album(recordings, settings, take, tell, working)
            workshop.make_all(
                separate_one, begun, album, _changed({task.key: task.arguments for task in tasks})
            )
    finally:
        for recording in seconds:
            remove_temporary(settings.options.targets(recording, settings.stems, folder).values(), run)


def _changed(recordings: Mapping[str, tuple[Recording, str]]) -> Callable[[str], str | None]:
    """Says, by its key, of a recording whose file no longer has the hash that it had, that it has changed."""

    def changed(key: str) -> str | None:
        recording, sha256 = recordings[key]
        if recordings_there.unlike(recording.source, sha256, sha256_of) is None:
            return None
        return recordings_there.changed(recording.source)

    return changed


def _absolute(settings: RunSettings) -> RunSettings:
    """The same for another machine, where all paths begin at the root."""
    choice = settings.model
    preset = str(Path(choice.preset).absolute()) if Path(choice.preset).is_file() else choice.preset
    weights = None if choice.weights_dir is None else choice.weights_dir.resolve()
    model = replace(choice, preset=preset, weights_dir=weights)
    # What is done is known by then; what an attempt before has finished, whose worker then died, is not done again.
    options = replace(settings.options, resume=True)
    return replace(
        settings, model=model, options=options, output_dir=settings.output_dir.resolve(), measure=False
    )


class _First(Watcher):
    """Keeps what the first worker says of the model."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell = tell
        self.identity: Mapping[str, Any] | None = None
        self.reason = ""

    def notice(self, text: str) -> None:
        self._tell(text)

    def made(self, key: str, value: Any) -> None:
        self.identity = value

    def failed(self, key: str, reason: str) -> None:
        self.reason = reason


class _Album(Watcher):
    """Tells of recordings as the children of one machine would."""

    def __init__(
        self,
        recordings: Mapping[str, Recording],
        settings: RunSettings,
        take: Callable[[Event], object],
        tell: Callable[[str], object],
        working: Callable[[str], object],
    ) -> None:
        self._recordings = recordings
        self._settings = settings
        self._take = take
        self._tell = tell
        self._working = working

    def notice(self, text: str) -> None:
        self._tell(text)

    def working(self, words: str) -> None:
        self._working(words)

    def began(self, key: str) -> None:
        self._take(Started(self._recordings[key]))

    def made(self, key: str, value: Any) -> None:
        recording, found = self._recordings[key], value
        for warning in found.warnings:
            self._take(Logged(warning))
        files = self._settings.options.targets(recording, self._settings.stems, self._settings.output_dir)
        self._take(Finished(recording, replace(found.result, source=recording.source, files=files)))

    def failed(self, key: str, reason: str) -> None:
        self._take(Failed(self._recordings[key], reason))


# On a worker


def identify(choice: ModelChoice) -> Mapping[str, Any] | Refused:
    """What of the model determines its estimates on this machine; Refused where it cannot be loaded."""
    return HELD.use(choice, lambda: _Station(choice), lambda station: station.identity, lambda _: True)


def separate_one(errand: Errand, recording: Recording, sha256: str) -> Separated | making.Failed | Refused:
    """Separate a recording whose file has this hash; Refused where this machine has another, or another model.

    Raises OutputExists where another worker is about to finish the same one, and what the model raises.
    """
    choice = errand.settings.model
    return HELD.use(
        choice,
        lambda: _Station(choice),
        lambda station: station.separate(errand, recording, sha256),
        lambda _: True,
    )


class _Station:
    """The model, loaded on a GPU of its own; what is missing of its weights is fetched first, once for a machine."""

    def __init__(self, choice: ModelChoice) -> None:
        self._slot = Slot()
        self._slot.take_a_gpu(torch.cuda.device_count())
        os.environ.setdefault(DOWNLOAD_VARIABLE, "1")
        try:
            self._model = open_model(choice)
            self.identity = identity(self._model)
        except (RuntimeError, ValueError, OSError) as error:
            self._slot.close()
            raise UnfitError(f"cannot load the model: {error}") from None
        self._is_ended = False

    def cancel(self) -> None:
        """From another thread: end the recording that is being separated, at its next step, and any after it."""
        self._is_ended = True

    def close(self) -> None:
        self._slot.close()

    def separate(
        self, errand: Errand, recording: Recording, sha256: str
    ) -> Separated | making.Failed | Refused:
        self._require_same_model(errand)
        if (reason := recordings_there.unlike(recording.source, sha256, sha256_of)) is not None:
            return Refused(reason)  # with the model kept: perhaps the file has changed everywhere
        host = socket.gethostname()
        token = f"{errand.run}-{host}-{os.getpid()}"
        with _warnings() as warnings:
            try:
                result = separate_recording(
                    recording, errand.settings.output_dir, self._model, self.identity, errand.settings.options,
                    self._go_on, token, host,
                )  # fmt: skip
            except OutputExists:
                raise
            except FileSeparationError as error:
                return making.Failed(str(error))
        return Separated(result, tuple(warnings))

    def _require_same_model(self, errand: Errand) -> None:
        if self.identity != errand.identity:
            name = next(key for key in errand.identity if self.identity.get(key) != errand.identity[key])
            found, expected = self.identity.get(name), errand.identity[name]
            raise UnfitError(f"has another model: {name} {_short(found)}, expected {_short(expected)}")

    def _go_on(self, done: float, total: float) -> None:
        if self._is_ended:
            raise EndedError("the work was ended")


def _short(value: object) -> str:
    """A value of an identity, which may be the hashes of many files, for one sentence."""
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


@contextlib.contextmanager
def _warnings() -> Iterator[list[str]]:
    """What is logged meanwhile that a person should know."""
    kept: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: kept.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("my_submission")
    logger.addHandler(handler)
    try:
        yield kept
    finally:
        logger.removeHandler(handler)
