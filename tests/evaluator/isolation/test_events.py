"""What a supervisor says is an event as a whole, or none: in a container, the submission's image may speak for it."""

import json
from dataclasses import fields

import pytest

from evaluator.isolation import events
from evaluator.isolation.limits import Isolation
from tests.evaluator.isolation.fake_session import GAPLESS

pytestmark = pytest.mark.quick
USED = {"peak_memory_bytes": 1, "out_of_memory": False, "out_of_disk": False}
EVENTS = [
    {"event": "isolation", **GAPLESS},
    {"event": "room", "open": True},
    {"event": "worker", "line": "anything"},
    {"event": "frozen", "held": True, **USED},
    {"event": "exited", "code": None, "signal": "SIGKILL", **USED},
    {"event": "broken", "error": "a sentence"},
]
WRONG: tuple[object, ...] = (None, "\x1b[2J", -1, float("nan"), [], {}, "SIGNONE")


def line(event: object) -> bytes:
    return json.dumps(event).encode() + b"\n"


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: str(event["event"]))
def test_an_event_has_all_its_fields_of_their_kinds_and_no_other(event: dict[str, object]) -> None:
    assert events.parse(line(event)) == event
    assert events.parse(line({**event, "more": 1})) is None
    for name in event:
        assert events.parse(line({key: value for key, value in event.items() if key != name})) is None
        kept = [wrong for wrong in WRONG if events.parse(line({**event, name: wrong})) is not None]
        texts = name in ("line", "error")
        assert kept in ([], [None]) or (texts and all(isinstance(each, str) for each in kept)), name


@pytest.mark.parametrize("said", [b"", b"\xff\n", b"[]\n", b"{}\n", b'{"event": "odd"}\n', b"[" * 100_000])
def test_all_else_is_none(said: bytes) -> None:
    assert events.parse(said) is None


def test_what_is_in_force_is_told_field_by_field() -> None:
    told = {each.name for each in fields(Isolation)} - {"runner", "not_in_force"}
    assert set(GAPLESS) == told
