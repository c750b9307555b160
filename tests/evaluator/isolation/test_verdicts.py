"""What the evaluator makes of a worker's answer, of none, and of what the supervisor says about it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluator.isolation.limits import Isolation
from evaluator.isolation.sandbox import SandboxError, SessionRunner, Workplace
from tests.evaluator.isolation import fake_session
from tests.evaluator.isolation.fake_session import FAILED, GAPLESS, READY, FakeSession, done

pytestmark = pytest.mark.quick


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeSession:
    """The session that runners start."""
    return fake_session.install(monkeypatch)


@pytest.fixture
def running(fake: FakeSession, tmp_path: Path) -> SessionRunner:
    """A runner whose submission has been constructed."""
    return fake_session.started(fake, Workplace(tmp_path))


def test_an_honest_answer_is_ok_and_leaves_it_running(fake: FakeSession, running: SessionRunner) -> None:
    fake.answer = {**done(), "provenance": {"preset": "mdx-c"}}
    outcome = running.separate("a", None)
    assert (outcome.status, outcome.reason, outcome.log) == ("ok", None, "log")
    assert outcome.provenance == {"preset": "mdx-c"}
    assert outcome.peak_memory_bytes == 5  # the larger of what it says and what was seen
    assert not fake.ended


def test_its_own_peak_counts_where_it_is_larger(fake: FakeSession, running: SessionRunner) -> None:
    fake.answer = {**done(), "peak_memory_bytes": 1 << 40}
    assert running.separate("a", None).peak_memory_bytes == 1 << 40


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (json.dumps(done("b")) + "\n", "answered for another track than the one it was asked for"),
        (json.dumps(done("../a")) + "\n", "answered for another track than the one it was asked for"),
        (json.dumps(READY) + "\n", "sent 'ready', which nobody asked for"),
        (
            json.dumps({"event": "described", "track": None, "stems": None}) + "\n",
            "sent 'described', which nobody asked for",
        ),
        (json.dumps({"event": "frozen", "held": True}) + "\n", "sent a line that is no answer of a worker ("),
        ("{\n", "sent a line that is no answer of a worker (it is not JSON)"),
        ("x" * 65536, "sent a line too long for an answer, or cut short"),
        ("[" * 60_000 + "\n", "sent a line that"),
        ("\n", "sent a line that is no answer"),
    ],
)
def test_any_other_answer_is_a_crash_with_a_reason_of_ours(
    fake: FakeSession, running: SessionRunner, line: str, reason: str
) -> None:
    fake.line = line
    outcome = running.separate("a", None)
    assert outcome.status == "crashed"
    assert str(outcome.reason).startswith("the submission ")
    assert reason in str(outcome.reason)
    assert outcome.provenance is None
    assert fake.ended


@pytest.mark.parametrize("asked", ["construct", "describe", "list_weights"])
def test_an_answer_to_another_question_is_none(fake: FakeSession, tmp_path: Path, asked: str) -> None:
    made = fake_session.runner(Workplace(tmp_path))
    fake.answer = done()
    ask: dict[str, Callable[[], Any]] = {
        "construct": made.start, "describe": made.describe, "list_weights": lambda: made.list_weights()[0]
    }  # fmt: skip
    outcome = ask[asked]()
    assert (outcome.status, outcome.reason) == (
        "crashed",
        "the submission sent 'done', which nobody asked for",
    )
    assert [request["op"] for request in fake.sent] == [asked]


def test_a_failure_is_told_in_the_submissions_words(fake: FakeSession, running: SessionRunner) -> None:
    fake.answer = {**FAILED, "error": "RuntimeError: no such luck"}
    outcome = running.separate("a", None)
    assert (outcome.status, outcome.reason) == ("crashed", "RuntimeError: no such luck")
    assert fake.ended


def test_a_memory_error_is_out_of_memory(fake: FakeSession, running: SessionRunner) -> None:
    fake.answer = {**FAILED, "error": "MemoryError: ", "out_of_memory": True}
    assert running.separate("a", None).status == "out_of_memory"


def test_nan_is_invalid_output(fake: FakeSession, running: SessionRunner) -> None:
    fake.answer = {**done(), "nonfinite": ["bass", "vocals"]}
    outcome = running.separate("a", None)
    assert (outcome.status, outcome.reason) == ("invalid_output", "bass, vocals: NaN or infinite samples")
    assert fake.ended


@pytest.mark.parametrize(
    ("told", "status", "reason"),
    [
        ({"held": False}, "crashed", "the submission could not be stopped after track"),
        ({"out_of_memory": True}, "out_of_memory", "track used more than its cap of memory"),
        ({"out_of_disk": True}, "out_of_disk", "track wrote more than its files may hold (see --scratch)"),
    ],
)
def test_an_honest_answer_does_not_count_if_its_limits_were_exceeded(
    fake: FakeSession, running: SessionRunner, told: dict[str, bool], status: str, reason: str
) -> None:
    """Whether that shows when it is stopped, or only when it is ended."""
    assert fake.stopped is not None
    fake.answer = done()
    fake.stopped |= told
    fake.ending |= {key: value for key, value in told.items() if key != "held"}
    outcome = running.separate("a", None)
    assert (outcome.status, outcome.reason) == (status, reason)
    assert fake.ended


def test_an_answer_after_which_it_ends_at_once_is_no_success(
    fake: FakeSession, running: SessionRunner
) -> None:
    """Its files may still have been written to by what it left; and nothing stands still that is gone."""
    fake.answer = done()
    fake.stopped = {"event": "exited", **fake.ending}
    assert running.separate("a", None).status == "crashed"


def test_a_supervisor_that_does_not_answer_is_no_success(fake: FakeSession, running: SessionRunner) -> None:
    fake.answer, fake.stopped = done(), None
    assert running.separate("a", None).status == "crashed"
    assert fake.ended


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        ({"code": 3, "signal": None}, "exited with code 3 during track"),
        ({"code": 0, "signal": None}, "exited with code 0 during track"),
        ({"code": None, "signal": "SIGSEGV"}, "ended by SIGSEGV during track"),
    ],
)
def test_an_end_without_an_answer_is_told_as_it_was(
    fake: FakeSession,
    running: SessionRunner,
    monkeypatch: pytest.MonkeyPatch,
    ending: dict[str, Any],
    reason: str,
) -> None:
    fake.ending |= ending
    monkeypatch.setattr(fake, "next_event", lambda names, seconds: {"event": "exited", "at": fake.clock.now})
    outcome = running.separate("a", None)
    assert (outcome.status, outcome.reason) == ("crashed", reason)


def test_a_sandbox_that_breaks_is_no_verdict_on_the_submission(
    fake: FakeSession, running: SessionRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = {"event": "broken", "error": "the kernel refused", "at": fake.clock.now}
    monkeypatch.setattr(fake, "next_event", lambda names, seconds: broken)
    with pytest.raises(SandboxError, match="the kernel refused"):
        running.separate("a", None)


def test_what_is_in_force_is_accepted_before_anything_is_asked(fake: FakeSession, tmp_path: Path) -> None:
    seen: list[Isolation] = []

    def refuse(isolation: Isolation) -> None:
        assert fake.sent == []
        seen.append(isolation)
        raise SandboxError("not here")

    for ask in ("start", "describe", "list_weights"):
        made = fake_session.runner(Workplace(tmp_path), accept=refuse)
        with pytest.raises(SandboxError, match="not here"):
            getattr(made, ask)()
        assert fake.ended
        assert made.isolation == seen[-1]
        fake.ended = False
    assert fake.sent == []
    assert seen[0].runner == "fake"
    assert {name: getattr(seen[0], name) for name in GAPLESS} == GAPLESS


def test_a_description_may_come_from_one_that_has_ended(fake: FakeSession, tmp_path: Path) -> None:
    """The worker ends after that answer by itself."""
    fake.answer = {"event": "described", "track": "music", "stems": None}
    assert fake.stopped is not None
    fake.stopped["held"] = False
    described = fake_session.runner(Workplace(tmp_path)).describe()
    assert getattr(described, "track", None) == "music"
    assert fake.ended


def test_nothing_is_asked_of_one_that_was_not_started(tmp_path: Path) -> None:
    made = fake_session.runner(Workplace(tmp_path))
    with pytest.raises(SandboxError, match="call start first"):
        made.separate("a", None)
    with pytest.raises(SandboxError, match="call start first"):
        made.make_room(1, lambda mixtures: None)
