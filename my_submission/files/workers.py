"""Separates recordings in child processes, which can be stopped at any moment without leaving anything behind.

The parent never computes. It hands out recordings one by one and receives progress. If it is interrupted, or a child
dies (of memory, say), it removes the child's temporary files, whose paths follow from the recording.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

from my_submission.files.children import take_child
from my_submission.files.inputs import Recording
from my_submission.files.model import ModelChoice
from my_submission.files.options import FileOptions, SeparatedFile
from my_submission.files.placing import missing_folders, remove_empty, temporary_path

_ASK_SECONDS = 0.25
_LEAVE_SECONDS = 2.0


@dataclass(frozen=True)
class RunSettings:
    """What all recordings of a run have in common.

    stems: the names of what is written. measure: spend a little time to find out how long everything will take.
    """

    model: ModelChoice
    options: FileOptions
    stems: tuple[str, ...]
    output_dir: Path
    measure: bool = False


@dataclass(frozen=True)
class Started:
    """A child has started on a recording."""

    recording: Recording


@dataclass(frozen=True)
class Progressed:
    """fraction: of the recording's work that is done."""

    recording: Recording
    fraction: float


@dataclass(frozen=True)
class Finished:
    """A recording is separated, or was already."""

    recording: Recording
    result: SeparatedFile


@dataclass(frozen=True)
class Failed:
    """A recording cannot be separated; `reason` is for people."""

    recording: Recording
    reason: str


@dataclass(frozen=True)
class Logged:
    """A warning from a child."""

    message: str


Event = Started | Progressed | Finished | Failed | Logged


class ModelFailed(RuntimeError):  # noqa: N818, the name says it
    """No child can load the model; the message says why."""


@dataclass(frozen=True)
class Ready:
    """The model is loaded."""


@dataclass(frozen=True)
class NoModel:
    """The model cannot be loaded; `reason` is for people."""

    reason: str


def separate_all(
    recordings: Iterable[Recording],
    settings: RunSettings,
    processes: int,
    given_up: Callable[[], bool] = lambda: False,
) -> Generator[Event]:
    """Separate recordings in up to `processes` children at a time, and yield events as they happen.

    Every recording ends as one Finished or Failed, unless `given_up`, which is asked several times a second, says
    yes: then it ends where it is. Raises ModelFailed if the model cannot be loaded. However the iteration ends (close
    it!), even by an interrupt, the children are killed and their unfinished files removed.
    """
    waiting = list(recordings)
    free_cores = share_cores(processes)
    children: list[_Child] = []
    try:
        while waiting or any(child.recording for child in children):
            idle = sum(child.recording is None for child in children)
            for _ in range(min(processes - len(children), len(waiting) - idle)):
                children.append(_Child(settings, free_cores.pop()))
            for child in children:
                if child.is_ready and child.recording is None and waiting:
                    yield child.give(waiting.pop(0))
            wait([child.connection for child in children], _ASK_SECONDS)
            if given_up():
                return
            for child in list(children):
                yield from child.news()
                if child.has_ended:
                    children.remove(child)
                    free_cores.append(child.cores)
    finally:
        for child in children:
            child.kill()


def share_cores(processes: int) -> list[tuple[int, ...]]:
    """The cores for each of several processes; empty for a single one, or if the system cannot bind to cores."""
    if processes == 1 or not hasattr(os, "sched_getaffinity"):
        return [()] * processes
    cores = sorted(os.sched_getaffinity(0))
    return [tuple(cores[place::processes]) or (cores[place % len(cores)],) for place in range(processes)]


class _Child:
    """A child process with a model, and the recording that it is working on."""

    def __init__(self, settings: RunSettings, cores: tuple[int, ...]) -> None:
        self.cores = cores
        self.recording: Recording | None = None
        self.is_ready = False
        self.has_ended = False
        self._settings = settings
        self._new_folders: list[Path] = []
        self._temporaries: list[Path] = []
        child = take_child()
        self._process, self.connection = child.process, child.connection
        self._send((settings, cores))

    def _send(self, message: object) -> None:
        with contextlib.suppress(ConnectionError):  # `news` says how it has ended
            self.connection.send(message)

    def give(self, recording: Recording) -> Started:
        """Give it a recording to start on; it must be ready and idle."""
        self.recording = recording
        settings = self._settings
        files = settings.options.targets(recording, settings.stems, settings.output_dir).values()
        self._temporaries = [temporary_path(path, str(self._process.pid)) for path in files]
        folders = {folder for path in files for folder in missing_folders(path.parent)}
        self._new_folders = sorted(folders, key=lambda folder: len(folder.parts), reverse=True)
        self._send(recording)
        return Started(recording)

    def news(self) -> Iterator[Event]:
        """The events it has sent since the last call, or its death."""
        try:
            while self.connection.poll():
                message = self.connection.recv()
                if isinstance(message, Ready):
                    self.is_ready = True
                elif isinstance(message, NoModel):
                    raise ModelFailed(message.reason)
                else:
                    if isinstance(message, Finished | Failed):
                        self.recording = None
                    yield message
        except (EOFError, OSError):  # on Windows `poll` raises it, too
            self.has_ended = True
            recording, end = self.recording, self._describe_end()
            self.kill()
            if recording is None:
                raise ModelFailed(f"the process that loads the model {end}") from None
            yield Failed(recording, f"the process that separated it {end}")

    def _describe_end(self) -> str:
        self._process.join()
        code = self._process.exitcode or 0
        if code < 0 and signal.Signals(-code).name == "SIGKILL":
            return (
                "was killed by the system, probably because memory ran out; try --jobs 1 or a smaller preset"
            )
        return f"ended with {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"

    def kill(self) -> None:
        """End it at once and remove its unfinished files."""
        self.connection.close()
        if self.recording is None:
            self._process.join(timeout=_LEAVE_SECONDS)  # it leaves by itself once the connection is closed
        self._process.kill()
        self._process.join()
        if self.recording is not None:
            for path in self._temporaries:
                path.unlink(missing_ok=True)
            remove_empty(self._new_folders)
            self.recording = None
