"""Opens a checkpoint that no hash vouches for in a process of its own first, under limits of memory and time.

The numbers in a file are checked before anything is made of them (`load.py`, the architectures). But libraries read
the file, and what it costs them, or whether they survive it, no number tells. A process that may be killed finds out:
it opens the file just as this one is about to. Published weights have a hash that vouches for them, and cost nothing.

The process is a fork, as those of torch's data loaders are: it knows all that this one knows, architectures of the
user's own included, and takes milliseconds instead of the seconds in which torch is imported. Only Linux has such
limits and survives such forks; elsewhere the checks of numbers are all there is.
"""

from __future__ import annotations

import ctypes
import faulthandler
import functools
import json
import logging
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch

from ..plain_files import identity
from ..registry import find_architecture
from .checkpoints import Checkpoint
from .errors import UnsafeFile, WeightsError
from .limits import file_bytes
from .load import PICKLES
from .store import is_vouched

log = logging.getLogger(__name__)

CPU_SECONDS, CPU_BYTES_PER_SECOND = 10, 20_000_000
"""What opening a file may take: that long, and a second more for so many bytes."""
WALL_SECONDS = 20
"""On top of that, for a busy machine."""
MEMORY_BYTES, MEMORY_FACTOR = 1 << 30, 12
"""How much memory: that much, and so many times the file's size: float32 of float16, once as a file, once as a
network, once more in the layout that its layers want."""

_CAN_FORK = sys.platform.startswith("linux") and Path("/proc/self/statm").exists()
_ANSWER_BYTES = 1 << 16
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_OUT_OF_MEMORY = (
    "can't allocate memory",
    "bad_alloc",
    "bad allocation",
    "failed to allocate",
    "out of memory",
)


@dataclass(frozen=True)
class Limits:
    """What a process may take; memory_bytes is beyond what it has of its parent."""

    memory_bytes: int
    cpu_seconds: int
    wall_seconds: float


def limits_for(size: int) -> Limits:
    """What opening a file of that many bytes may take."""
    seconds = CPU_SECONDS + size // CPU_BYTES_PER_SECOND
    return Limits(MEMORY_BYTES + MEMORY_FACTOR * size, seconds, seconds + WALL_SECONDS)


def admit(checkpoint: Checkpoint, path: Path | None) -> None:
    """Find out whether a checkpoint's file can be opened, unless a hash vouches for it or this process did so before.

    Raises UnsafeFile if it cannot, or not within limits, and any WeightsError that opening it raises.
    """
    if path is None or is_vouched(checkpoint, path):
        return
    load = find_architecture(checkpoint.architecture).load
    row = (checkpoint.architecture, checkpoint.sources, checkpoint.parameters)
    admit_opening(path, lambda: load(checkpoint, path, torch.device("cpu"), torch.float32, None), repr(row))


def admit_opening(path: Path, opening: Callable[[], object], way: str = "") -> None:
    """`admit` for a file that is opened by a call of its own. way: what else the call depends on."""
    size = file_bytes(path)
    key = _key(path, way)
    if key in _ADMITTED or not _CAN_FORK:
        return
    if path.suffix in (*PICKLES, ".safetensors", ".gz"):
        _import_what_building_takes()
    problem = run_limited(opening, limits_for(size))
    if problem is not None:
        raise problem.error(path)
    _ADMITTED.add(key)


@functools.cache
def _import_what_building_takes() -> None:
    """torch imports a good deal when it first computes on the meta device: here, once, and not in every fork."""
    torch.ones(1, device="meta").mul(1)


_ADMITTED: set[str] = set()
"""What this process has tried. A file that changes has another key."""


def _key(path: Path, way: str) -> str:
    return f"{path} {identity(path)} {way}"


@dataclass(frozen=True)
class Problem:
    """Why a call did not end well: the sentence of its own WeightsError, or what became of its process."""

    sentence: str
    own: bool

    def error(self, path: Path) -> WeightsError:
        return UnsafeFile(self.sentence if self.own else f"{path}: refused: opening it {self.sentence}")


def run_limited(call: Callable[[], object], limits: Limits) -> Problem | None:
    """Run `call` in a fork under limits; what is wrong, if it raises a WeightsError or exceeds a limit.

    Any other error is not for this to judge: the caller meets it again. The fork ends with this process.
    """
    reading, writing = os.pipe()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads; see above
            child = os.fork()
    except OSError as error:
        os.close(reading)
        os.close(writing)
        log.warning("a checkpoint is opened without a trial: no process can be started (%s)", error)
        return None
    if child == 0:
        _in_child(call, limits, writing)
    os.close(writing)
    try:
        answer = _read(reading, limits.wall_seconds)
        if answer is None:
            return Problem(f"takes more than {limits.wall_seconds:.0f} s", own=False)
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if answer:
        said = json.loads(answer)
        return None if said["fine"] else Problem(said["sentence"], said["own"])
    return Problem(_ending(status, limits), own=False)


def _read(pipe: int, seconds: float) -> bytes | None:
    """All that a process writes before it closes its end; None if it has not done so in time."""
    deadline, content = time.monotonic() + seconds, b""
    readable = select.poll()
    readable.register(pipe)
    while len(content) < _ANSWER_BYTES:
        if not readable.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return None
        block = os.read(pipe, _ANSWER_BYTES)
        if not block:
            break
        content += block
    return content


def _ending(status: int, limits: Limits) -> str:
    """What the end of a process without an answer says."""
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if number == signal.SIGXCPU:
        return f"takes more than {limits.cpu_seconds} s of processor time"
    if number in (signal.SIGKILL, 0):
        return "ended the process that tried it (no memory?)"
    return f"crashed the process that tried it ({signal.Signals(number).name})"


def _in_child(call: Callable[[], object], limits: Limits, writing: int) -> NoReturn:
    """The fork's life. Nothing that it inherited runs when it ends."""
    try:
        _confine(limits)
        os.write(writing, json.dumps(_outcome(call, limits)).encode())
    finally:
        os._exit(0)


def _outcome(call: Callable[[], object], limits: Limits) -> dict[str, object]:
    too_large = {
        "fine": False,
        "own": False,
        "sentence": f"needs more than {limits.memory_bytes >> 20:,} MiB",
    }
    try:
        call()
    except WeightsError as error:
        if _is_about_memory(error):
            return too_large
        return {"fine": False, "own": True, "sentence": str(error)[: _ANSWER_BYTES // 8]}
    except MemoryError:
        return too_large
    except Exception as error:  # whatever the architecture of another raises
        if _is_about_memory(error):
            return too_large
    return {"fine": True}


def _is_about_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError) or any(word in str(error).lower() for word in _OUT_OF_MEMORY):
            return True
        error = error.__cause__
    return False


def _confine(limits: Limits) -> None:
    import resource  # there is none on Windows, which never comes here

    faulthandler.disable()  # a crash is told by the parent, in a sentence
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGXCPU, signal.SIGALRM):
        signal.signal(name, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.setitimer(signal.ITIMER_REAL, limits.wall_seconds + 1)  # where the parent died before that
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    logging.disable()
    torch.set_num_threads(1)  # the parent's threads are not here
    pages = int(Path("/proc/self/statm").read_text().split()[0])  # what it has of its parent
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, limits.cpu_seconds),
        (resource.RLIMIT_AS, pages * resource.getpagesize() + limits.memory_bytes),
    ):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
