"""The contract of an engine, and what passes through it.

Functions that are submitted are of a module's top level, their arguments and results frozen records or plain values:
both travel by pickle, to processes that may be on other machines.
"""

import socket
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from sdx.engines.kit_version import kit_sha256, sha256_now

SHORT = 12  # digits of a hash that are shown


class EngineError(Exception):
    """The engine cannot be reached, or has nobody to do the work; the message says what to do."""


class WorkLostError(Exception):
    """The engine lost this piece of work, through no fault of the worker's: it is to be submitted again."""


class WorkerLostError(Exception):
    """The worker ended, or fell silent, while it had this piece of work; `machine` is where."""

    def __init__(self, machine: str) -> None:
        super().__init__(f"the worker on {machine} ended, or fell silent")
        self.machine = machine


@dataclass(frozen=True)
class Needs:
    """What a piece of work takes.

    Slurm is asked for all of it. Of Dask's and this machine's workers, each takes one piece at a time, whatever its
    cores and memory: how many there are was decided where they were started. `gpus` is heeded everywhere.
    """

    cores: int = 1
    memory_bytes: int | None = None
    gpus: int = 0


@dataclass(frozen=True)
class Worker:
    """A process that does one piece of work at a time.

    name: unique among those that are there. set_aside: why it is given no more work.
    """

    name: str
    machine: str
    gpus: int = 0
    set_aside: str | None = None


@dataclass(frozen=True)
class Answer:
    """What a piece of work returned, and where."""

    worker: str
    machine: str
    value: Any


@dataclass(frozen=True)
class Refused:
    """What a function returns where its worker is not fit for this kind of work; `reason` is a sentence's end."""

    reason: str


class Placed(Future[Answer]):
    """The future of a piece of work; `worker` is who has it, or had it, "" before that."""

    worker = ""


class Engine(Protocol):
    """Runs functions somewhere.

    The future of `submit` has an Answer, or raises WorkLostError, WorkerLostError, EngineError, or what the function
    raised. `key` names the work in logs and dashboards; the same may be submitted twice. `avoid` names workers that
    are given it only where there are no others.
    `set_aside` gives a worker no more work, or again some where there is no reason. `close` ends what runs.
    """

    @property
    def dashboard(self) -> str | None:
        """Where the engine shows itself, if it does."""

    def submit(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        key: str,
        needs: Needs,
        avoid: frozenset[str] = frozenset(),
    ) -> Placed: ...
    def workers(self) -> tuple[Worker, ...]: ...
    def busy(self) -> dict[str, str]:
        """{key: worker} of what is being done."""

    def set_aside(self, worker: str, reason: str | None) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Introduction:
    """What a worker says of itself before it is given anything."""

    machine: str
    kit_sha256: str


def introduce() -> Introduction:
    """Called in a worker: which machine it is on, and which version of the kit it would run."""
    return Introduction(socket.gethostname(), kit_sha256())


def unfit_for_us(theirs: Introduction) -> str | None:
    """`unfit` for this process, whose code may have changed on disk since it began."""
    reason = unfit(theirs, introduce())
    if reason is not None and theirs.kit_sha256 == sha256_now():
        return "has the kit as it is here now, which has changed since this run began; end it and go on with --resume"
    return reason


def unfit(theirs: Introduction, ours: Introduction) -> str | None:
    """Why a worker of that version of the kit is given no work; None if it is ours."""
    if theirs.kit_sha256 == ours.kit_sha256:
        return None
    return (
        f"has another version of the kit: found {theirs.kit_sha256[:SHORT]}, expected {ours.kit_sha256[:SHORT]} "
        "(SHA-256 of its code); install the same there"
    )
