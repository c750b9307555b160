"""Time limits without any time: what is allowed, an answer that comes late, and none that comes in time."""

import queue
from collections.abc import Mapping
from typing import Any, cast

import pytest

from evaluator.isolation import sandbox, session
from evaluator.isolation.launch import WorkerSpec
from evaluator.isolation.limits import Limits
from evaluator.isolation.sandbox import Launcher, SessionRunner
from evaluator.isolation.session import Session

pytestmark = pytest.mark.quick

LIMIT_SECONDS = 10.0
GAPLESS = {
    "network_off": True,
    "references_hidden": True,
    "process_namespace": True,
    "orphans_ended": True,
    "memory": None,
    "cpus": None,
    "process_limit": 1,
}
UNLIMITED = Limits(time_factor=None, setup_seconds=None, cpus=None, memory_bytes=None)


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
    """A session whose worker answers `answer` after `seconds` by the clock; None for no answer at all."""

    log = FakeOutput()

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.answer: Mapping[str, Any] | None = None
        self.seconds = 0.0
        self.ended = False
        self.waits: list[float | None] = []

    def send(self, message: Mapping[str, Any]) -> None: ...

    def expect(self, name: str, timeout_seconds: float) -> dict[str, Any]:
        return dict(GAPLESS)

    def next_event(self, names: set[str], timeout_seconds: float | None) -> Mapping[str, Any] | None:
        self.waits.append(timeout_seconds)
        self.clock.now += self.seconds
        return self.answer

    def usage(self) -> dict[str, Any]:
        return {"peak_memory_bytes": 5, "out_of_memory": False}

    def end(self, grace_seconds: float) -> dict[str, Any]:
        self.ended = True
        return {"code": None, "signal": "SIGTERM", "peak_memory_bytes": 7, "out_of_memory": False}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeSession:
    """The session that runners start."""
    clock = Clock()
    made = FakeSession(clock)
    monkeypatch.setattr(sandbox, "time", clock)
    monkeypatch.setattr(sandbox, "Session", lambda launcher, spec: made)
    return made


def started(fake: FakeSession) -> SessionRunner:
    """A runner whose submission has been constructed."""
    spec = WorkerSpec([], {}, "/", None, None, 1, [], [], [], [])
    runner = SessionRunner(Launcher("fake", (), 1.0), spec, UNLIMITED)
    fake.answer = {"event": "ready"}
    assert runner.start().status == "ok"
    return runner


@pytest.mark.parametrize(
    ("factor", "seconds", "allowed"), [(1.57, 100.0, 157.0), (0.5, 3.0, 1.5), (None, 3.0, None)]
)
def test_a_track_may_take_its_duration_times_the_factor(
    factor: float | None, seconds: float, allowed: float | None
) -> None:
    assert Limits(time_factor=factor).track_seconds(seconds) == allowed


@pytest.mark.parametrize("seconds", [0.0, LIMIT_SECONDS])
def test_an_answer_in_time_is_ok_up_to_the_limit_itself(fake: FakeSession, seconds: float) -> None:
    runner = started(fake)
    fake.answer, fake.seconds = {"event": "done"}, seconds
    outcome = runner.separate("a", LIMIT_SECONDS)
    assert (outcome.status, outcome.seconds, fake.ended) == ("ok", seconds, False)
    assert fake.waits[-1] == LIMIT_SECONDS  # and no longer is waited for one that does not come


@pytest.mark.parametrize(
    "answer", [{"event": "done"}, {"event": "failed", "error": "no", "out_of_memory": False}]
)
def test_an_answer_that_comes_late_is_a_timeout(fake: FakeSession, answer: dict[str, Any]) -> None:
    runner = started(fake)
    fake.answer, fake.seconds = answer, LIMIT_SECONDS + 0.001
    outcome = runner.separate("a", LIMIT_SECONDS)
    assert (outcome.status, outcome.reason) == ("timeout", "track took longer than 10.0 s")
    assert fake.ended


def test_no_answer_is_a_timeout_although_the_clock_says_just_in_time(fake: FakeSession) -> None:
    runner = started(fake)
    fake.answer, fake.seconds = None, LIMIT_SECONDS
    assert runner.separate("a", LIMIT_SECONDS).status == "timeout"
    assert fake.ended


def test_without_a_limit_nothing_is_late(fake: FakeSession) -> None:
    runner = started(fake)
    fake.answer, fake.seconds = {"event": "done"}, 1e9
    assert runner.separate("a", None).status == "ok"


class Events:
    """A queue that notes how long it would have been waited for each event."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.waits: list[float | None] = []

    def put(self, event: Any) -> None:
        self._queue.put(event)

    def get(self, timeout: float | None) -> Any:
        self.waits.append(timeout)
        return self._queue.get(timeout=timeout)

    def qsize(self) -> int:
        return self._queue.qsize()


def listening(monkeypatch: pytest.MonkeyPatch, step: float, *names: str) -> Session:
    """A session that has received these events and no others; the clock moves by `step` at each look."""
    made = Session.__new__(Session)
    made._events = Events()  # type: ignore[assignment]
    for name in names:
        made._events.put({"event": name})
    monkeypatch.setattr(session, "time", Clock(step))
    return made


def test_waiting_ends_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    assert listening(monkeypatch, 0.0).next_event({"done"}, 0.0) is None


def test_other_events_do_not_prolong_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    flooded = listening(monkeypatch, 1.0, *["usage"] * 100, "done")
    assert flooded.next_event({"done"}, 5.0) is None
    assert flooded._events.qsize() > 90


def test_each_wait_is_for_what_is_left_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = listening(monkeypatch, 1.0, "usage", "usage", "done")
    assert waiting.next_event({"done"}, 50.0) == {"event": "done"}
    assert cast(Events, waiting._events).waits == [49.0, 47.0, 45.0]  # the clock is read twice an event


def test_an_event_is_found_behind_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert listening(monkeypatch, 1.0, "usage", "done").next_event({"done"}, 50.0) == {"event": "done"}
    assert listening(monkeypatch, 0.0, "usage", "done").next_event({"done"}, None) == {"event": "done"}
