"""Runs a submission in a child that can be ended: deadline, memory, cores, no network, no references in sight.

`Runner` is the contract; `ProcessRunner` fulfils it with processes of this machine, `ContainerRunner` in a
container. A runner does not judge estimates: it says whether the submission finished in time, or how it failed.
"""

import os
import re
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from evaluator.isolation.launch import WorkerSpec
from evaluator.isolation.limits import Isolation, Limits, effective_memory_bytes, gib
from evaluator.isolation.session import ANSWER_SECONDS, Cancelled, Launcher, SandboxError, Session
from evaluator.isolation.variables import THREAD_VARIABLES
from evaluator.locations import REPOSITORY

__all__ = [
    "OWN_WRAPPER",
    "WORKER",
    "Cancelled",
    "Isolation",
    "Launcher",
    "Limits",
    "Outcome",
    "ProcessRunner",
    "Runner",
    "SandboxError",
    "Session",
    "SessionRunner",
    "Status",
    "Workplace",
    "effective_memory_bytes",
]

Status = Literal["ok", "timeout", "out_of_memory", "crashed", "invalid_output"]

WORKER = Path(__file__).with_name("worker.py")
OWN_WRAPPER = REPOSITORY / "my_submission" / "aicrowd_wrapper.py"

CLOSE_GRACE_SECONDS = 1.0  # between SIGTERM and SIGKILL when nothing is computed, or nobody waits for it
MAX_PROCESSES = 4096
LOCATION_VARIABLES = ("PWD", "OLDPWD", "PYTHONPATH")


@dataclass(frozen=True)
class Outcome:
    """How a piece of work of the submission ended; `seconds` by the evaluator's clock."""

    status: Status
    reason: str | None
    seconds: float
    peak_memory_bytes: int
    log: str
    provenance: Mapping[str, Any] | None = None


class Runner(Protocol):
    """Runs one submission: `start` constructs it, `separate` has it do a track, `close` ends it.

    After an outcome other than ok the submission has been ended and `start` must be called again. `cancel` is for
    another thread: `start` and `separate` stop waiting and raise Cancelled, now and from then on.
    """

    @property
    def isolation(self) -> Isolation | None:
        """What is in force; None before the first start."""

    def start(self) -> Outcome: ...
    def separate(self, folder: str, limit_seconds: float | None) -> Outcome: ...
    def close(self) -> None: ...
    def cancel(self) -> None: ...


@dataclass(frozen=True)
class Workplace:
    """The folders a session is given: mixtures to read, predictions to write, scratch space."""

    root: Path
    number: int = 0  # of the sessions side by side, counted from 0

    @property
    def mixtures(self) -> Path:
        """Staged mixtures, and nothing else."""
        return self.root / "mixtures"

    @property
    def predictions(self) -> Path:
        """Where the wrapper writes; below the folder it is told is shared."""
        return self.root / "predictions"

    @property
    def scratch(self) -> Path:
        """Temporary files."""
        return self.root / "scratch"

    def make(self) -> None:
        """Create the folders."""
        for folder in (self.mixtures, self.predictions, self.scratch):
            folder.mkdir(parents=True, exist_ok=True)


class SessionRunner:
    """The `Runner` of a launcher and what it is to launch."""

    def __init__(self, launcher: Launcher, spec: WorkerSpec, limits: Limits) -> None:
        self._launcher = launcher
        self._spec = spec
        self._limits = limits
        self._isolation: Isolation | None = None
        self._session: Session | None = None
        self._cancelled = threading.Event()

    @property
    def isolation(self) -> Isolation | None:
        """What is in force; None before the first start."""
        return self._isolation

    def start(self) -> Outcome:
        """Import and construct the submission; raises SandboxError if no process can be started."""
        self.close()
        self._session = Session(self._launcher, self._spec)
        self._raise_if_cancelled()  # from here on `cancel` finds the session
        described = self._session.expect("isolation", self._launcher.start_seconds)
        isolation = Isolation(runner=self._launcher.runner, **described)
        self._isolation = replace(isolation, not_in_force=isolation.gaps(self._limits))
        return self._await("ready", self._limits.setup_seconds, "setup")

    def separate(self, folder: str, limit_seconds: float | None) -> Outcome:
        """Have the wrapper read, separate and write the staged track `folder`."""
        self._raise_if_cancelled()
        if self._session is None:
            raise SandboxError("separate was called without a running submission; call start first")
        self._session.send({"op": "separate", "folder": folder})
        return self._await("done", limit_seconds, "track")

    def close(self) -> None:
        """End the submission and everything it started."""
        if self._session is not None:
            self._session.end(min(self._limits.grace_seconds, CLOSE_GRACE_SECONDS))
            self._session = None

    def cancel(self) -> None:
        """From another thread: have `start` or `separate` raise Cancelled; `close` is still to be called."""
        self._cancelled.set()
        if (session := self._session) is not None:
            session.cancel()

    def _raise_if_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled

    def _await(self, awaited: str, limit_seconds: float | None, what: str) -> Outcome:
        """Wait for the worker's event `awaited`; on anything else end it and say what happened."""
        session = self._session
        assert session is not None
        started = time.monotonic()
        event = session.next_event({awaited, "failed", "exited", "broken"}, limit_seconds)
        seconds = time.monotonic() - started
        in_time = limit_seconds is None or seconds <= limit_seconds
        if event is not None and event["event"] == "broken":
            raise SandboxError(event["error"])
        if event is not None and event["event"] == awaited and in_time:
            usage = session.usage()
            if usage is not None and not usage["out_of_memory"]:
                peak = max(usage["peak_memory_bytes"], event.get("peak_memory_bytes", 0))
                log = session.log.take()
                return self._finished(event, seconds, peak, log)
        ended = session.end(self._limits.grace_seconds)
        self._session = None
        status, reason = _verdict(event if in_time else None, ended, what, limit_seconds, self._limits)
        return Outcome(status, reason, seconds, ended["peak_memory_bytes"], session.log.take())

    def _finished(self, event: Mapping[str, Any], seconds: float, peak: int, log: str) -> Outcome:
        nonfinite = event.get("nonfinite", [])
        if nonfinite:
            self.close()
            reason = f"{', '.join(nonfinite)}: NaN or infinite samples"
            return Outcome("invalid_output", reason, seconds, peak, log)
        return Outcome("ok", None, seconds, peak, log, event.get("provenance"))


SUPERVISOR = Launcher("process", (sys.executable, "-m", "evaluator.isolation.supervisor"), ANSWER_SECONDS)


class ProcessRunner(SessionRunner):
    """The submission in a process tree of its own, looked after by a supervisor process (see supervisor.py).

    `hidden` are files and folders the submission must not find; `protected` may be read but not written; `stems` are
    those to be made where they are no challenge's.
    """

    def __init__(
        self,
        submission: Path,
        workplace: Workplace,
        limits: Limits,
        environment: Mapping[str, str],
        hidden: Sequence[Path],
        protected: Sequence[Path] = (),
        without: Sequence[str] = (),
        stems: Sequence[str] = (),
    ) -> None:
        cores = _cores(limits.cpus, workplace.number)
        threads = limits.cpus if cores is None else len(cores)
        spec = WorkerSpec(
            command=[
                sys.executable,
                "-P",
                str(WORKER),
                *map(str, (submission, workplace.mixtures, workplace.predictions, OWN_WRAPPER)),
                *stems,
            ],
            environment=_environment(environment, workplace, threads, hidden),
            folder=str(submission),
            cpus=cores,
            memory_bytes=effective_memory_bytes(limits),
            max_processes=MAX_PROCESSES,
            hidden=[str(path) for path in hidden],
            read_only=[str(path) for path in (*protected, workplace.mixtures)],
            writable=[str(workplace.predictions), str(workplace.scratch)],
            without=list(without),
        )
        super().__init__(SUPERVISOR, spec, limits)


def _verdict(
    event: Mapping[str, Any] | None,
    ended: Mapping[str, Any],
    what: str,
    limit_seconds: float | None,
    limits: Limits,
) -> tuple[Status, str]:
    """Status and reason of work that went wrong; no event in time is a timeout."""
    if ended["out_of_memory"]:
        cap = effective_memory_bytes(limits)
        return "out_of_memory", f"{what} used more than {'its cap' if cap is None else gib(cap)} of memory"
    if event is None:
        return "timeout", f"{what} took longer than {limit_seconds or 0:.1f} s"
    if event["event"] == "failed":
        return ("out_of_memory" if event["out_of_memory"] else "crashed"), event["error"]
    if ended["signal"] is not None:
        return "crashed", f"ended by {ended['signal']} during {what}"
    return "crashed", f"exited with code {ended['code']} during {what}"


def _cores(count: int | None, number: int) -> list[int] | None:
    """The cores of a session: the first `count` of ours for session 0, the next for 1, and so on, in a circle.

    None if the system has no affinity, or no limit is set.
    """
    if count is None or not hasattr(os, "sched_getaffinity"):
        return None
    ours = sorted(os.sched_getaffinity(0))
    return sorted({ours[(number * count + index) % len(ours)] for index in range(count)})


def _environment(
    extra: Mapping[str, str], workplace: Workplace, threads: int | None, hidden: Sequence[Path]
) -> dict[str, str]:
    """The submission's environment: ours without what points at hidden paths, plus the organisers' variables."""
    ours = {name: value for name, value in os.environ.items() if name not in LOCATION_VARIABLES}
    kept = {name: value for name, value in ours.items() if not _names_any(value, hidden)}
    scratch = str(workplace.scratch)
    return {
        **kept,
        **({} if threads is None else dict.fromkeys(THREAD_VARIABLES, str(threads))),
        **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), scratch),
        "AICROWD_DATASET_DIR": str(workplace.mixtures),
        "AICROWD_PUBLIC_SHARED_DIR": str(workplace.root),
        **extra,
    }


def _names_any(text: str, paths: Sequence[Path]) -> bool:
    """Whether one of these paths, or something below it, is part of `text`."""
    return any(re.search(rf"(?<![\w./-]){re.escape(str(path))}(?![\w.-])", text) for path in paths)
