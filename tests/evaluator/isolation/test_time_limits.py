"""Time limits without any time: what is allowed, an answer that comes late, and none that comes in time."""

import queue
from pathlib import Path
from typing import Any, cast

import pytest

from evaluator.isolation import session
from evaluator.isolation.limits import Limits
from evaluator.isolation.sandbox import SessionRunner, Workplace
from evaluator.isolation.session import Session
from tests.evaluator.isolation import fake_session
from tests.evaluator.isolation.fake_session import FAILED, Clock, FakeSession, done

pytestmark = pytest.mark.quick

LIMIT_SECONDS = 10.0


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeSession:
    """The session that runners start."""
    return fake_session.install(monkeypatch)


@pytest.fixture
def running(fake: FakeSession, tmp_path: Path) -> SessionRunner:
    """A runner whose submission has been constructed."""
    return fake_session.started(fake, Workplace(tmp_path))


@pytest.mark.parametrize(
    ("factor", "seconds", "allowed"), [(1.57, 100.0, 157.0), (0.5, 3.0, 1.5), (None, 3.0, None)]
)
def test_a_track_may_take_its_duration_times_the_factor(
    factor: float | None, seconds: float, allowed: float | None
) -> None:
    assert Limits(time_factor=factor).track_seconds(seconds) == allowed


@pytest.mark.parametrize("seconds", [0.0, LIMIT_SECONDS])
def test_an_answer_in_time_is_ok_up_to_the_limit_itself(
    fake: FakeSession, running: SessionRunner, seconds: float
) -> None:
    fake.answer, fake.seconds = done(), seconds
    outcome = running.separate("a", LIMIT_SECONDS)
    assert (outcome.status, outcome.seconds, fake.ended) == ("ok", seconds, False)
    # No longer is waited for an answer that does not come.
    assert fake.waits[-2] == LIMIT_SECONDS


@pytest.mark.parametrize("answer", [done(), FAILED])
def test_an_answer_that_comes_late_is_a_timeout(
    fake: FakeSession, running: SessionRunner, answer: dict[str, Any]
) -> None:
    fake.answer, fake.seconds = answer, LIMIT_SECONDS + 0.001
    outcome = running.separate("a", LIMIT_SECONDS)
    assert (outcome.status, outcome.reason) == ("timeout", "track took longer than 10.0 s")
    assert fake.ended


def test_a_limit_of_next_to_nothing_is_said_as_it_is(fake: FakeSession, running: SessionRunner) -> None:
    fake.answer, fake.seconds = done(), 0.01
    assert running.separate("a", 1.57 / 44100).reason == "track took longer than 0.000036 s"


def test_no_answer_is_a_timeout_although_the_clock_says_just_in_time(
    fake: FakeSession, running: SessionRunner
) -> None:
    fake.answer, fake.seconds = None, LIMIT_SECONDS
    assert running.separate("a", LIMIT_SECONDS).status == "timeout"
    assert fake.ended


def test_without_a_limit_nothing_is_late(fake: FakeSession, running: SessionRunner) -> None:
    fake.answer, fake.seconds = done(), 1e9
    assert running.separate("a", None).status == "ok"


def test_the_clock_stands_once_the_answer_is_there(fake: FakeSession, running: SessionRunner) -> None:
    """Stopping it, and reading what it says, is our time."""
    fake.answer, fake.seconds, fake.stop_seconds = done(), LIMIT_SECONDS, 15.0
    outcome = running.separate("a", LIMIT_SECONDS)
    assert (outcome.status, outcome.seconds) == ("ok", LIMIT_SECONDS)


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
