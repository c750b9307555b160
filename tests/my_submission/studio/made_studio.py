"""A studio for tests: what it separates takes no network, and no longer than it is told to."""

import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from my_submission.files.inputs import Recording
from my_submission.files.model import ModelChoice
from my_submission.files.options import FileOptions
from my_submission.files.separate import separate_file
from my_submission.files.workers import Event, Failed, Finished, Logged, Progressed, RunSettings, Started
from my_submission.studio.desk import Desk, Work
from tests.my_submission.files_model import SHARES, KnownShares

TOKEN = "secret"


@dataclass
class Separator:
    """Stands in for `separate_all`, in this process; it waits at half of the work until it may go on."""

    may_go_on: threading.Event = field(default_factory=threading.Event)
    started: list[Path] = field(default_factory=list)
    closed: int = 0
    reason: str = ""  # why all it is given fails
    error: Exception | None = None  # what goes wrong that nobody has thought of

    def __call__(
        self,
        recordings: Sequence[Recording],
        settings: RunSettings,
        processes: int,
        given_up: Callable[[], bool],
    ) -> Generator[Event]:
        (recording,) = recordings
        self.started.append(recording.source)
        try:
            yield Started(recording)
            yield Progressed(recording, 0.5)
            while not self.may_go_on.wait(0.01):
                if given_up():
                    return
            if self.error is not None:
                raise self.error
            if self.reason:
                yield Failed(recording, f"{recording.source}: {self.reason}")
                return
            yield Logged(f"{recording.source}: it is short")
            result = separate_file(
                recording.source, settings.output_dir, model=KnownShares(), options=settings.options
            )
            yield Finished(recording, result)
        finally:
            self.closed += 1


def make_desk(root: Path, separator: Separator, *, keeps: bool = False) -> Desk:
    root.mkdir(exist_ok=True)
    return Desk(
        Work(root, ModelChoice("known"), FileOptions(clipping="scale"), tuple(SHARES), keeps), separator
    )
