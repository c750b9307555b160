"""Runs a submission in a child that can be ended: deadline, memory, cores, no network, nothing in sight.

`Runner` is the contract; `ProcessRunner` (process_runner.py) fulfils it with processes of this machine,
`ContainerRunner` in a container. A runner does not judge estimates: it says whether the submission finished in time,
or how it failed.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from evaluator.isolation import folders, said
from evaluator.isolation.limits import Isolation, Limits, effective_memory_bytes, gib
from evaluator.isolation.root import Room
from evaluator.isolation.said import Described, Done, Failed, Listed, Ready, Said, UnreadableLineError
from evaluator.isolation.session import (
    Cancelled,
    Launcher,
    SandboxError,
    Session,
    WorkerGoneError,
)
from evaluator.isolation.worker_spec import WorkerSpec

__all__ = [
    "Cancelled",
    "Isolation",
    "Launcher",
    "Limits",
    "Outcome",
    "Runner",
    "SandboxError",
    "Session",
    "SessionRunner",
    "Status",
    "WorkerGoneError",
    "Workplace",
    "effective_memory_bytes",
]

Status = Literal["ok", "timeout", "out_of_memory", "out_of_disk", "crashed", "invalid_output"]

CLOSE_GRACE_SECONDS = 1.0  # between SIGTERM and SIGKILL when nothing is computed, or nobody waits for it
STOP_SECONDS = 20.0  # for the supervisor to stop what runs
MOST_PREDICTIONS = 1024  # files and folders of one track
DESCRIBE_SECONDS, LIST_SECONDS = 120.0, 300.0


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

    Before each track, `make_room` gives it fresh folders: the first for the mixture, which `stage` writes there. It
    raises WorkerGoneError if the submission has ended by itself since the last track.
    After `separate` the submission stands still, or has been ended, until the next call, so that its estimates lie in
    `predictions` as they are. After an outcome other than ok it has been ended and `start` must be called again.
    `cancel` is for another thread: `start` and `separate` stop waiting and raise Cancelled, now and from then on.
    """

    @property
    def isolation(self) -> Isolation | None:
        """What is in force; None before the first start."""

    @property
    def predictions(self) -> int | Path:
        """The folder of the present track's estimates: an open one, or a path."""

    def start(self) -> Outcome: ...
    def make_room(self, predictions_bytes: int, stage: Callable[[Path], object]) -> None: ...
    def separate(self, folder: str, limit_seconds: float | None) -> Outcome: ...
    def close(self) -> None: ...
    def cancel(self) -> None: ...


@dataclass(frozen=True)
class Workplace:
    """Folders for a session that can have no root of its own: its supervisor makes and removes them."""

    root: Path
    number: int = 0  # of the sessions side by side, counted from 0

    @property
    def mixtures(self) -> Path:
        """Staged mixtures, and nothing else."""
        return self.root / "mixtures"

    @property
    def shared(self) -> Path:
        """The folder that the wrapper is told is shared."""
        return self.root / "shared"

    @property
    def predictions(self) -> Path:
        """Where the wrapper writes."""
        return self.shared / "predictions"

    @property
    def scratch(self) -> Path:
        """Temporary files."""
        return self.root / "scratch"


class SessionRunner:
    """The `Runner` of a launcher and what it is to launch.

    accept: is told what is in force before anything of the submission runs; what it raises is raised.
    """

    def __init__(
        self,
        launcher: Launcher,
        spec: WorkerSpec,
        limits: Limits,
        workplace: Workplace,
        accept: Callable[[Isolation], object] = lambda isolation: None,
    ) -> None:
        self._launcher = launcher
        self._spec = spec
        self._limits = limits
        self._workplace = workplace
        self._accept = accept
        self._isolation: Isolation | None = None
        self._session: Session | None = None
        self._room: Room | None = None
        self._cancelled = threading.Event()

    @property
    def isolation(self) -> Isolation | None:
        """What is in force; None before the first start."""
        return self._isolation

    @property
    def predictions(self) -> int | Path:
        """The folder of the present track's estimates: an open one, or a path."""
        return self._workplace.predictions if self._room is None else self._room.predictions

    def start(self) -> Outcome:
        """Import and construct the submission; raises SandboxError if no process can be started."""
        self._launch()
        return self._ask({"op": "construct"}, Ready, self._limits.setup_seconds, "setup")[0]

    def describe(self) -> Described | Outcome:
        """What the submission says it makes: imports it, and ends. An Outcome, if it cannot be asked."""
        outcome, answer = self._inquire("describe", Described, DESCRIBE_SECONDS)
        return answer if isinstance(answer, Described) else outcome

    def list_weights(self) -> tuple[Outcome, Listed | None]:
        """What it says of the weights that it would use, which it hashes; None, if it cannot be asked."""
        outcome, answer = self._inquire("list_weights", Listed, LIST_SECONDS)
        return outcome, answer if isinstance(answer, Listed) else None

    def _inquire(self, about: str, awaited: type[Said], seconds: float) -> tuple[Outcome, Said | None]:
        self._launch()
        try:
            return self._ask({"op": about}, awaited, seconds, "import")
        finally:
            self.close()

    def _launch(self) -> None:
        self.close()
        self._session = Session(self._launcher, self._spec)
        self._raise_if_cancelled()  # from here on `cancel` finds the session
        described = self._session.expect("isolation", self._launcher.start_seconds)
        isolation = Isolation(runner=self._launcher.runner, **described)
        self._isolation = replace(isolation, not_in_force=isolation.gaps(self._limits))
        try:
            self._accept(self._isolation)
        except BaseException:
            self.close()
            raise

    def make_room(self, predictions_bytes: int, stage: Callable[[Path], object]) -> None:
        """Give the next track its folders and have `stage` write the mixture into the one that it is given."""
        self._raise_if_cancelled()
        session = self._running()
        self._forget_room()
        self._room = session.make_room(predictions_bytes, MOST_PREDICTIONS)
        if self._room is not None and self._room.mixtures is not None:
            mixtures = Path(f"/proc/self/fd/{self._room.mixtures}")
        else:
            mixtures = self._workplace.mixtures
            folders.clear(str(mixtures))
        stage(mixtures)

    def separate(self, folder: str, limit_seconds: float | None) -> Outcome:
        """Have the wrapper read, separate and write the staged track `folder`."""
        self._raise_if_cancelled()
        self._running()
        return self._ask({"op": "separate", "folder": folder}, Done, limit_seconds, "track")[0]

    def _running(self) -> Session:
        if self._session is None:
            raise SandboxError("there is no running submission; call start first")
        return self._session

    def close(self) -> None:
        """End the submission and everything it started."""
        if self._session is not None:
            self._session.end(min(self._limits.grace_seconds, CLOSE_GRACE_SECONDS))
            self._session = None
        self._forget_room()

    def _forget_room(self) -> None:
        """Close the folders of a track, which are gone with that."""
        if self._room is not None:
            self._room.close()
            self._room = None

    def cancel(self) -> None:
        """From another thread: have `start` or `separate` raise Cancelled; `close` is still to be called."""
        self._cancelled.set()
        if (session := self._session) is not None:
            session.cancel()

    def _raise_if_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled

    def _ask(
        self, request: Mapping[str, Any], awaited: type[Said], limit_seconds: float | None, what: str
    ) -> tuple[Outcome, Said | None]:
        """Send a request and wait for the worker's answer; on any other than `awaited` end it and say what happened.

        The clock stops when the answer comes; then the submission is stopped, and only after that is the answer read.
        """
        session = self._running()
        started = time.monotonic()
        session.send(request)
        event = session.next_event({"worker", "exited", "broken"}, limit_seconds)
        seconds = time.monotonic() - started if event is None else max(event["at"] - started, 0.0)
        in_time = limit_seconds is None or seconds <= limit_seconds
        if event is not None and event["event"] == "broken":
            raise SandboxError(event["error"])
        answer: Said | None = None
        problem: str | None = None
        if event is not None and event["event"] == "worker" and in_time:
            stopped = session.next_event({"frozen", "exited"}, STOP_SECONDS)
            answer, problem = _read(event["line"], request, awaited)
            if stopped is not None and stopped["event"] == "frozen" and isinstance(answer, awaited):
                fine = stopped["held"] and not (stopped["out_of_memory"] or stopped["out_of_disk"])
                if fine or awaited in (Described, Listed):  # it has ended
                    own_peak = answer.peak_memory_bytes if isinstance(answer, Done) else 0
                    peak = max(stopped["peak_memory_bytes"], own_peak)
                    return self._finished(answer, seconds, peak, session.log.take()), answer
        ended = session.end(self._limits.grace_seconds)
        self._session = None
        status, reason = _verdict(
            answer, problem, ended, in_time and event is not None, what, limit_seconds, self._limits
        )
        return Outcome(status, reason, seconds, ended["peak_memory_bytes"], session.log.take()), answer

    def _finished(self, answer: Said, seconds: float, peak: int, log: str) -> Outcome:
        nonfinite = answer.nonfinite if isinstance(answer, Done) else []
        if nonfinite:
            self.close()
            reason = f"{', '.join(nonfinite)}: NaN or infinite samples"
            return Outcome("invalid_output", reason, seconds, peak, log)
        return Outcome("ok", None, seconds, peak, log, getattr(answer, "provenance", None))


def _read(line: str, request: Mapping[str, Any], awaited: type[Said]) -> tuple[Said | None, str | None]:
    """The answer to a request in a worker's line, or what is wrong with it."""
    try:
        answer = said.parse(line)
    except UnreadableLineError as error:
        return None, f"the submission sent {error}"
    if not isinstance(answer, awaited | Failed):
        return None, f"the submission sent {answer.event!r}, which nobody asked for"
    if isinstance(answer, Done) and answer.folder != request.get("folder"):
        return None, "the submission answered for another track than the one it was asked for"
    return answer, None


def _verdict(
    answer: Said | None,
    problem: str | None,
    ended: Mapping[str, Any],
    in_time: bool,
    what: str,
    limit_seconds: float | None,
    limits: Limits,
) -> tuple[Status, str]:
    """Status and reason of work that went wrong."""
    if ended["out_of_memory"]:
        cap = effective_memory_bytes(limits)
        return "out_of_memory", f"{what} used more than {'its cap' if cap is None else gib(cap)} of memory"
    if ended["out_of_disk"]:
        return "out_of_disk", f"{what} wrote more than its files may hold (see --scratch)"
    if not in_time:
        return "timeout", f"{what} took longer than {_shown(limit_seconds or 0.0)} s"
    if problem is not None:
        return "crashed", problem
    if isinstance(answer, Failed):
        return ("out_of_memory" if answer.out_of_memory else "crashed"), answer.error
    if answer is not None:
        return "crashed", f"the submission could not be stopped after {what}"
    if ended["signal"] is not None:
        return "crashed", f"ended by {ended['signal']} during {what}"
    return "crashed", f"exited with code {ended['code']} during {what}"


def _shown(seconds: float) -> str:
    """With one decimal, or as many as a limit needs that would be nothing."""
    return f"{seconds:.1f}" if seconds >= 0.05 else f"{seconds:.6f}".rstrip("0").rstrip(".")
