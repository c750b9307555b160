"""Runs a submission in a child that can be ended: deadline, memory, cores, no network, no references in sight.

`Runner` is the contract; `ProcessRunner` keeps it with processes of this machine, a container may do so too.
A runner judges nothing about estimates: it says whether the submission finished in time, and how it failed.
"""

import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from evaluator import machine
from evaluator.launch import WorkerSpec
from evaluator.output_log import OutputLog

Status = Literal["ok", "timeout", "out_of_memory", "crashed", "invalid_output"]

REPOSITORY = Path(__file__).resolve().parent.parent
WORKER = REPOSITORY / "evaluator" / "worker.py"
OWN_WRAPPER = REPOSITORY / "my_submission" / "aicrowd_wrapper.py"

GRACE_SECONDS = 5.0  # between SIGTERM and SIGKILL
CLOSE_GRACE_SECONDS = 1.0  # the same where nothing is being computed, or nobody waits for it any more
ANSWER_SECONDS = 10.0  # for the keeper, which has nothing else to do
END_SECONDS = 20.0  # beyond the grace period, for the kernel to end everything
MAX_PROCESSES = 4096
SAFE_SHARE = 0.9  # of the machine's memory
EVENT_BYTES = 1 << 20
LOCATION_VARIABLES = ("PWD", "OLDPWD", "PYTHONPATH")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class SandboxError(Exception):
    """The sandbox itself failed; says nothing about the submission."""


@dataclass(frozen=True)
class Limits:
    """The organisers' limits; None is no limit."""

    time_factor: float | None = 1.57  # of a track's duration
    setup_seconds: float | None = 900.0
    cpus: int | None = 4
    memory_bytes: int | None = 16 << 30
    grace_seconds: float = GRACE_SECONDS

    def track_seconds(self, audio_seconds: float) -> float | None:
        """How long a track of this duration may take."""
        return None if self.time_factor is None else self.time_factor * audio_seconds


@dataclass(frozen=True)
class Isolation:
    """What is in force for a run; every field that says no, or None, is a limit the system does not offer."""

    runner: str
    network_off: bool
    references_hidden: bool
    process_namespace: bool
    orphans_ended: bool  # descendants that left the worker's session end with it
    memory: str | None  # how the cap is held: "cgroup v1", "cgroup v2", "watched", "container"
    cpus: int | None
    process_limit: int | None

    def gaps(self, limits: Limits) -> tuple[str, ...]:
        """One phrase for each limit of `limits`, or part of the isolation, that is not in force."""
        cores = os.cpu_count() or 1
        cap = effective_memory_bytes(limits)
        gaps = []
        if not self.network_off:
            gaps.append("the network could not be cut off")
        if not self.references_hidden:
            gaps.append("the references could not be hidden from the file system")
        if not self.orphans_ended:
            gaps.append("descendants that leave the worker's session may outlive it")
        if limits.memory_bytes is not None and self.memory is None:
            gaps.append("memory is not capped")
        if limits.memory_bytes is not None and self.memory == "watched":
            gaps.append("memory is watched rather than capped by the kernel")
        if cap is not None and limits.memory_bytes is not None and cap < limits.memory_bytes:
            gaps.append(f"this machine has memory for {_gib(cap)} of the {_gib(limits.memory_bytes)}")
        if limits.cpus is not None and self.cpus is None:
            gaps.append("cores are limited by thread settings only")
        if limits.cpus is not None and cores < limits.cpus:
            gaps.append(f"this machine has {cores} of the {limits.cpus} cores")
        if self.process_limit is None:
            gaps.append("the number of processes is not capped")
        return tuple(gaps)


def effective_memory_bytes(limits: Limits) -> int | None:
    """The cap that is put on memory: that of `limits`, or less where the machine itself would run out before."""
    physical = machine.memory_bytes()
    if limits.memory_bytes is None or physical is None:
        return limits.memory_bytes
    return min(limits.memory_bytes, int(physical * SAFE_SHARE))


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 30):.3g} GiB"


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

    After an outcome other than ok the submission has been ended and `start` must be called again.
    """

    @property
    def isolation(self) -> Isolation | None:
        """What is in force; None before the first start."""

    def start(self) -> Outcome: ...
    def separate(self, folder: str, limit_seconds: float | None) -> Outcome: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Workplace:
    """The folders a submission is given: mixtures to read, predictions to write, scratch space."""

    root: Path

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


@dataclass(frozen=True)
class Launcher:
    """The process that looks after a worker (see `Session`), and how long it may take to have one started."""

    runner: str  # its name in results
    command: tuple[str, ...]
    start_seconds: float


class SessionRunner:
    """The `Runner` of a launcher and what it is to launch."""

    def __init__(self, launcher: Launcher, spec: WorkerSpec, limits: Limits) -> None:
        self._launcher = launcher
        self._spec = spec
        self._limits = limits
        self._isolation: Isolation | None = None
        self._session: Session | None = None

    @property
    def isolation(self) -> Isolation | None:
        """What is in force; None before the first start."""
        return self._isolation

    def start(self) -> Outcome:
        """Import and construct the submission; raises SandboxError where not even a process can be had."""
        self.close()
        self._session = Session(self._launcher, self._spec)
        described = self._session.expect("isolation", self._launcher.start_seconds)
        self._isolation = Isolation(runner=self._launcher.runner, **described)
        return self._await("ready", self._limits.setup_seconds, "setup")

    def separate(self, folder: str, limit_seconds: float | None) -> Outcome:
        """Have the wrapper read, separate and write the staged track `folder`."""
        if self._session is None:
            raise SandboxError("separate was called without a running submission; call start first")
        self._session.send({"op": "separate", "folder": folder})
        return self._await("done", limit_seconds, "track")

    def close(self) -> None:
        """End the submission and everything it started."""
        if self._session is not None:
            self._session.end(min(self._limits.grace_seconds, CLOSE_GRACE_SECONDS))
            self._session = None

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


KEEPER = Launcher("process", (sys.executable, "-m", "evaluator.keeper"), ANSWER_SECONDS)


class ProcessRunner(SessionRunner):
    """The submission in a process tree of its own, looked after by a keeper process (see keeper.py).

    `hidden` are files and folders the submission must not find; `protected` may be read but not written.
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
    ) -> None:
        cores = _cores(limits.cpus)
        threads = limits.cpus if cores is None else len(cores)
        spec = WorkerSpec(
            command=[
                sys.executable,
                "-P",
                str(WORKER),
                *map(str, (submission, workplace.mixtures, workplace.predictions, OWN_WRAPPER)),
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
        super().__init__(KEEPER, spec, limits)


def _verdict(
    event: Mapping[str, Any] | None,
    ended: Mapping[str, Any],
    what: str,
    limit_seconds: float | None,
    limits: Limits,
) -> tuple[Status, str]:
    """Status and reason of a piece of work that was not done as it should; no event in time is a timeout."""
    if ended["out_of_memory"]:
        cap = effective_memory_bytes(limits)
        return "out_of_memory", f"{what} used more than {'its cap' if cap is None else _gib(cap)} of memory"
    if event is None:
        return "timeout", f"{what} took longer than {limit_seconds or 0:.1f} s"
    if event["event"] == "failed":
        return ("out_of_memory" if event["out_of_memory"] else "crashed"), event["error"]
    if ended["signal"] is not None:
        return "crashed", f"ended by {ended['signal']} during {what}"
    return "crashed", f"exited with code {ended['code']} during {what}"


class Session:
    """One keeper with its worker, from start to end.

    A keeper is told the specification and then requests on its standard input and answers with events on its
    standard output, a line of JSON each (see keeper.py); what the worker prints comes on its standard error.
    """

    def __init__(self, launcher: Launcher, spec: WorkerSpec) -> None:
        self._keeper = subprocess.Popen(
            launcher.command,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C at the terminal is the evaluator's to handle
        )
        assert self._keeper.stdout is not None
        assert self._keeper.stderr is not None
        self._events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._exited: dict[str, Any] | None = None
        self.log = OutputLog(os.dup(self._keeper.stderr.fileno()))
        self._keeper.stderr.close()
        threading.Thread(target=self._read_events, daemon=True).start()
        self.send(asdict(spec))

    def _read_events(self) -> None:
        assert self._keeper.stdout is not None
        while line := self._keeper.stdout.readline(EVENT_BYTES):
            with suppress(ValueError):  # a line that a submission forged; ours are JSON objects
                event = json.loads(line)
                if isinstance(event, dict) and "event" in event:
                    self._events.put(event)
        self._events.put(None)

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one request; that the keeper has gone shows at the next event."""
        assert self._keeper.stdin is not None
        with suppress(BrokenPipeError):
            self._keeper.stdin.write(json.dumps(message).encode() + b"\n")
            self._keeper.stdin.flush()

    def next_event(self, names: set[str], timeout_seconds: float | None) -> dict[str, Any] | None:
        """The next event of one of these names, or None when the time is over; SandboxError without a keeper."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            remaining = None if deadline is None else max(deadline - time.monotonic(), 0)
            try:
                event = self._events.get(timeout=remaining)
            except queue.Empty:
                return None
            if event is None:
                self._events.put(None)  # so that this shows whenever an event is waited for
                raise SandboxError(f"the keeper process ended unexpectedly: {self.log.take()[-2000:]}")
            if event["event"] == "exited":
                self._exited = event
            if event["event"] in names:
                return event

    def expect(self, name: str, timeout_seconds: float) -> dict[str, Any]:
        """The fields of the next event `name`; SandboxError where something else comes or nothing."""
        event = self.next_event({name, "broken"}, timeout_seconds)
        if event is None or event["event"] == "broken":
            reason = "no answer" if event is None else event["error"]
            raise SandboxError(f"the submission's process could not be started: {reason}")
        return {key: value for key, value in event.items() if key != "event"}

    def usage(self) -> dict[str, Any] | None:
        """Peak memory since the last request and whether anything was killed for it; None if it has ended."""
        self.send({"op": "usage"})
        event = self.next_event({"usage", "exited"}, ANSWER_SECONDS)
        return event if event is not None and event["event"] == "usage" else None

    def end(self, grace_seconds: float) -> dict[str, Any]:
        """End the worker and its descendants, and the keeper; returns the "exited" event, or what is like it."""
        if self._exited is None:
            self.send({"op": "end", "grace_seconds": grace_seconds})
            with suppress(SandboxError):  # the keeper has gone, and its worker with it
                self.next_event({"exited"}, grace_seconds + END_SECONDS)
        assert self._keeper.stdin is not None
        with suppress(BrokenPipeError):
            self._keeper.stdin.close()
        try:
            self._keeper.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
        self.log.close()
        lost = {"code": None, "signal": "SIGKILL", "peak_memory_bytes": 0, "out_of_memory": False}
        return self._exited or lost


def _cores(count: int | None) -> list[int] | None:
    """The first `count` of the cores we may use; None where the system has no affinity, or no limit is set."""
    if count is None or not hasattr(os, "sched_getaffinity"):
        return None
    return sorted(os.sched_getaffinity(0))[:count]


def _environment(
    extra: Mapping[str, str], workplace: Workplace, threads: int | None, hidden: Sequence[Path]
) -> dict[str, str]:
    """The submission's environment: ours, less what points at hidden paths, plus the organisers' variables."""
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
    """Whether `text` holds one of these paths or something below it, among whatever else."""
    return any(re.search(rf"(?<![\w./-]){re.escape(str(path))}(?![\w.-])", text) for path in paths)
