"""A runner whose session is made up: no process, no time, and answers as a test wants them."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from evaluator.isolation import sandbox
from evaluator.isolation.limits import Limits
from evaluator.isolation.sandbox import Launcher, SessionRunner, Workplace
from evaluator.isolation.view import View
from evaluator.isolation.worker_spec import WorkerSpec

GAPLESS = {
    "network_off": True,
    "references_hidden": True,
    "process_namespace": True,
    "orphans_ended": True,
    "memory": None,
    "cpus": None,
    "process_limit": 1,
    "unprivileged": True,
    "calls_filtered": True,
    "frozen": True,
    "cpu_quota": True,
    "disk": "capped",
}
UNLIMITED = Limits(time_factor=None, setup_seconds=None, cpus=None, memory_bytes=None)
READY = {"event": "ready", "provenance": None}
FAILED = {"event": "failed", "where": "track", "error": "no", "out_of_memory": False}


def done(folder: str = "a") -> dict[str, Any]:
    """A worker's answer that a track is written."""
    return {"event": "done", "folder": folder, "nonfinite": [], "peak_memory_bytes": 3, "provenance": None}


class Clock:
    """A clock that only moves when it is told to, or by `step` whenever it is read."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 1000.0
        self.step = step

    def monotonic(self) -> float:
        self.now += self.step
        return self.now


class FakeOutput:
    @staticmethod
    def take() -> str:
        return "log"


class FakeSession:
    """A session whose worker answers `line`, or `answer`, after `seconds` by the clock; None for no answer at all.

    After the answer it is stopped, which takes `stop_seconds` and is told by the event `stopped`.
    """

    log = FakeOutput()

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.answer: Mapping[str, Any] | None = None
        self.line: str | None = None
        self.seconds = 0.0
        self.stopped: dict[str, Any] | None = {
            "event": "frozen", "held": True, "peak_memory_bytes": 5, "out_of_memory": False, "out_of_disk": False
        }  # fmt: skip
        self.stop_seconds = 0.0
        self.ending: dict[str, Any] = {
            "code": None, "signal": "SIGTERM", "peak_memory_bytes": 7, "out_of_memory": False, "out_of_disk": False
        }  # fmt: skip
        self.ended = False
        self.waits: list[float | None] = []
        self.sent: list[Mapping[str, Any]] = []

    def send(self, message: Mapping[str, Any]) -> None:
        self.sent.append(message)

    def expect(self, name: str, timeout_seconds: float) -> dict[str, Any]:
        return dict(GAPLESS)

    def next_event(self, names: set[str], timeout_seconds: float | None) -> Mapping[str, Any] | None:
        self.waits.append(timeout_seconds)
        if "worker" not in names:
            self.clock.now += self.stop_seconds
            return self.stopped
        self.clock.now += self.seconds
        if self.answer is None and self.line is None:
            return None
        line = json.dumps(self.answer) + "\n" if self.line is None else self.line
        return {"event": "worker", "line": line, "at": self.clock.now}

    def end(self, grace_seconds: float) -> dict[str, Any]:
        self.ended = True
        return self.ending


def install(monkeypatch: pytest.MonkeyPatch) -> FakeSession:
    """The session that runners start from here on."""
    clock = Clock()
    made = FakeSession(clock)
    monkeypatch.setattr(sandbox, "time", clock)
    monkeypatch.setattr(sandbox, "Session", lambda launcher, spec: made)
    return made


def runner(workplace: Workplace, **options: Any) -> SessionRunner:
    """A runner that has not started anything."""
    spec = WorkerSpec(
        command=[],
        environment={},
        folder="/",
        view=View([], [], [], [], []),
        mixtures="",
        shared="",
        scratch="",
        temporary=None,
        cpus=None,
        cpu_quota=None,
        memory_bytes=None,
        scratch_bytes=None,
        max_processes=1,
    )
    return SessionRunner(Launcher("fake", (), 1.0), spec, UNLIMITED, workplace, **options)


def started(fake: FakeSession, workplace: Workplace) -> SessionRunner:
    """A runner whose submission has been constructed."""
    made = runner(workplace)
    fake.answer = READY
    assert made.start().status == "ok"
    return made
