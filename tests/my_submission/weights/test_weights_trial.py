"""The trial: what no number bounds ends in a process of its own, and only files without a hash pay for it."""

import ctypes
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn, cast

import pytest
import torch

from my_submission.registry import Architecture, Loader
from my_submission.runtime import pool
from my_submission.runtime.devices import resolve_precision
from my_submission.schema import Record
from my_submission.weights import Checkpoint, UnsafeFile, WeightsError, trial
from my_submission.weights.store import record_sha256, sha256_of
from my_submission.weights.trial import Limits, Problem, admit, run_limited
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("trials")

CPU = torch.device("cpu")
AMPLE = Limits(memory_bytes=1 << 30, cpu_seconds=60, wall_seconds=600)


def spin() -> NoReturn:
    while True:
        pass


def grow() -> NoReturn:
    kept = []
    while True:
        kept.append(bytearray(1 << 20))


def refuse() -> NoReturn:
    raise UnsafeFile("x.th: it is odd")


def run_out() -> NoReturn:
    try:
        torch.empty(1 << 50)
    except RuntimeError as error:
        raise WeightsError("x.th: cannot be read") from error
    raise AssertionError


def fail() -> NoReturn:
    raise KeyError("of a network's own")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("call", "limits", "sentence"),
    [
        (spin, replace(AMPLE, cpu_seconds=1), "takes more than 1 s of processor time"),
        (lambda: time.sleep(3600), replace(AMPLE, wall_seconds=0.3), "takes more than 0 s"),
        (grow, replace(AMPLE, memory_bytes=200 << 20), "needs more than 200 MiB"),
        (run_out, AMPLE, "needs more than 1,024 MiB"),
        (lambda: ctypes.string_at(0), AMPLE, "crashed the process that tried it (SIGSEGV)"),
        (os.abort, AMPLE, "crashed the process that tried it (SIGABRT)"),
        (lambda: os._exit(3), AMPLE, "ended the process that tried it (no memory?)"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), AMPLE, "ended the process that tried it (no memory?)"),
    ],
    ids=["processor", "wall", "memory", "torch", "fault", "abort", "exit", "kill"],
)
def test_a_call_that_exceeds_a_limit_ends(call: Callable[[], object], limits: Limits, sentence: str) -> None:
    assert run_limited(call, limits) == Problem(sentence, own=False)


@pytest.mark.thorough
def test_what_ends_well_or_is_not_about_the_file_is_no_problem() -> None:
    assert run_limited(lambda: None, AMPLE) is None
    assert run_limited(fail, AMPLE) is None, "the caller meets it again, with its traceback"


def test_a_files_own_error_keeps_its_sentence() -> None:
    problem = run_limited(refuse, AMPLE)
    assert problem == Problem("x.th: it is odd", own=True)
    assert str(problem.error(Path("x.th"))) == "x.th: it is odd"
    assert str(Problem("needs it all", own=False).error(Path("y"))) == "y: refused: opening it needs it all"


def is_running(pid: int) -> bool:
    """Whether there is such a process; one that has ended and that nobody has asked about is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.thorough
def test_nothing_is_left(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    before, children, fork = open_descriptors(), [], os.fork

    def noting() -> int:
        children.append(child := fork())
        return child

    monkeypatch.setattr(os, "fork", noting)
    for call in (lambda: os.write(1, b"said"), refuse, os.abort):
        run_limited(call, AMPLE)
    run_limited(lambda: time.sleep(3600), replace(AMPLE, wall_seconds=0.1))
    assert open_descriptors() == before
    assert len(children) == 4
    for child in children:
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)
    assert capfd.readouterr() == ("", "")


def test_a_trial_ends_with_the_process_that_waits_for_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"

    def tell() -> None:
        note.with_suffix(".draft").write_text(str(os.getpid()))
        note.with_suffix(".draft").rename(note)
        time.sleep(3600)

    waiting = os.fork()
    if waiting == 0:
        try:
            run_limited(tell, AMPLE)
        finally:
            os._exit(0)
    wait_for(note.exists)
    os.kill(waiting, signal.SIGKILL)
    os.waitpid(waiting, 0)
    wait_for(lambda: not is_running(int(note.read_text())))


def test_nothing_that_the_process_set_is_changed_here() -> None:
    threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGINT)
    run_limited(lambda: torch.set_num_threads(1), AMPLE)
    assert (torch.get_num_threads(), signal.getsignal(signal.SIGINT)) == (threads, handler)


# --- which files are tried ---------------------------------------------------------------------------


MODEL = SimpleNamespace(sources=("vocals",))


class Loads:
    """Loads a file, as an architecture's loader; remembers in which processes."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"

    def __call__(self, checkpoint: Checkpoint, path: Path, *_: object) -> Any:
        with self.log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        if path.read_bytes() == b"odd":
            raise UnsafeFile(f"{path}: it is odd")
        return MODEL

    def elsewhere(self) -> int:
        """How often a process other than this one did it."""
        lines = self.log.read_text().split() if self.log.exists() else []
        return sum(line != str(os.getpid()) for line in lines)


@pytest.fixture
def loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loads:
    loads = Loads(tmp_path)
    architecture = Architecture("stub", (".stub",), cast("Loader", loads), lower_precision=False)
    for module in (trial, pool):
        monkeypatch.setattr(module, "find_architecture", lambda _: architecture)
    return loads


@pytest.fixture
def row(tmp_path: Path) -> Checkpoint:
    path = tmp_path / "mine.stub"
    path.write_bytes(b"weights")
    return Checkpoint(
        name="mine", architecture="stub", sources=("vocals",), parameters=Record(), file=path.name, bytes=None,
        about_bytes=None, sha256=None, origins=(), licence=None, manifest=tmp_path / "rows.yaml", path=path,
    )  # fmt: skip


def load(row: Checkpoint) -> object:
    assert row.path
    return pool.load_model(row, row.path, CPU, torch.float32)


def test_a_file_without_a_hash_is_tried_once(loads: Loads, row: Checkpoint) -> None:
    assert [load(row), load(row)] == [MODEL, MODEL]
    assert loads.elsewhere() == 1
    pool.dtype_of(row, row.path, resolve_precision("fp32", CPU))  # type: ignore[arg-type]
    assert loads.elsewhere() == 1


@pytest.mark.thorough
def test_a_file_that_changed_is_tried_again(loads: Loads, row: Checkpoint) -> None:
    assert row.path
    load(row)
    row.path.write_bytes(b"retrained")
    load(row)
    assert loads.elsewhere() == 2
    row.path.write_bytes(b"odd")
    with pytest.raises(UnsafeFile, match=r"mine\.stub: it is odd"):
        load(row)
    assert loads.log.read_text().count(str(os.getpid())) == 2, "it was not opened here"


def test_a_published_hash_vouches_for_a_file(loads: Loads, row: Checkpoint) -> None:
    assert row.path
    load(replace(row, sha256=sha256_of(row.path)))
    assert loads.elsewhere() == 0


@pytest.mark.parametrize("digits", [8, 63])
def test_the_beginning_of_a_hash_does_not(loads: Loads, row: Checkpoint, digits: int) -> None:
    assert row.path
    load(replace(row, sha256=sha256_of(row.path)[:digits]))
    assert loads.elsewhere() == 1


def test_a_recorded_hash_does_not(loads: Loads, row: Checkpoint) -> None:
    """It says that the file has not changed since it came, and not that it was ever opened."""
    assert row.path
    copy = row.copies()[row.file]
    record_sha256(row, copy, sha256_of(row.path))
    load(row)
    assert loads.elsewhere() == 1


def test_where_processes_cannot_be_started_the_file_is_opened(
    loads: Loads, row: Checkpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_fork() -> NoReturn:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", no_fork)
    assert load(row) is MODEL
    assert "opened without a trial: no process can be started" in caplog.text


def test_larger_files_may_take_more() -> None:
    small, large = trial.limits_for(1_000), trial.limits_for(1_000_000_000)
    assert (small.cpu_seconds, small.memory_bytes >> 20) == (trial.CPU_SECONDS, 1024)
    assert large.cpu_seconds == trial.CPU_SECONDS + 50
    assert large.memory_bytes > 10_000_000_000
    assert small.wall_seconds > small.cpu_seconds


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_file_is_not_opened(loads: Loads, row: Checkpoint, kind: str) -> None:
    assert row.path
    row.path.unlink()
    os.mkfifo(row.path) if kind == "pipe" else row.path.mkdir()
    with pytest.raises(UnsafeFile, match=r"mine\.stub is a .*, expected a file"):
        admit(row, row.path)
    assert not loads.log.exists()
