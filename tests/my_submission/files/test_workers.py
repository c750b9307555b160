"""The parent's side of a child: whenever one ends, that is news of it, and nothing else."""

from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from my_submission.files import workers
from my_submission.files.inputs import Recording
from my_submission.files.model import ModelChoice
from my_submission.files.options import FileOptions
from my_submission.files.workers import Failed, Ready, RunSettings


class Process:
    """One that has ended."""

    pid, exitcode = 7, 3

    def join(self, timeout: float | None = None) -> None:
        pass

    def kill(self) -> None:
        pass


@pytest.fixture
def ends() -> Iterator[tuple[Connection, Connection]]:
    ours, theirs = Pipe()
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.mark.parametrize("is_windows", [False, True])
def test_a_child_that_ended_while_it_had_nothing_to_do_fails_what_it_is_given(
    is_windows: bool, ends: tuple[Connection, Connection], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Taken:
        process, connection = Process(), ends[0]

    monkeypatch.setattr(workers, "take_child", Taken)
    settings = RunSettings(ModelChoice("any"), FileOptions(("bass",)), ("bass",), tmp_path)
    child = workers._Child(settings, ())
    ends[1].send(Ready())
    assert list(child.news()) == []
    assert child.is_ready
    ends[1].close()
    if is_windows:
        monkeypatch.setattr(ends[0], "poll", _broken)
    recording = Recording(tmp_path / "song.wav")
    child.give(recording)
    assert list(child.news()) == [Failed(recording, "the process that separated it ended with exit code 3")]
    assert child.has_ended


def _broken(timeout: float = 0.0) -> bool:
    """What `poll` does on Windows once the other end is closed; elsewhere it leaves that to `recv`."""
    raise BrokenPipeError
