"""What a worker says is trusted no more than the submission: an honest answer, or one sentence of ours, and soon."""

import json
import time
from typing import Any

import pytest

from evaluator.isolation import said
from evaluator.isolation.said import (
    MOST_STEMS,
    MOST_TEXT,
    PROVENANCE_DEPTH,
    PROVENANCE_VALUES,
    Described,
    Done,
    Failed,
    Listed,
    Ready,
    UnreadableLineError,
)
from evaluator.isolation.supervisor import LINE_BYTES

pytestmark = pytest.mark.quick

FORGED = "this SENTENCE is the submission's"
DONE = {"event": "done", "folder": "a", "nonfinite": [], "peak_memory_bytes": 3, "provenance": None}
PROVENANCE = {
    "preset": "mdx-c",
    "device": "cuda:0",
    "economies": ["vocals: one polarity"],
    "weights": [{"name": "a", "file": "a.th", "sha256": None, "bytes": 3}],
    "versions": {"torch": "2.4", "flags": [True, None, 1.5, -3, ""]},
}
SECONDS = 1.0


def line(**changes: Any) -> str:
    return json.dumps({**DONE, **changes}) + "\n"


def reason(text: str) -> str:
    """Why a line is refused: in a second, and in words of ours."""
    before = time.process_time()
    with pytest.raises(UnreadableLineError) as caught:
        said.parse(text)
    assert time.process_time() - before < SECONDS
    message = str(caught.value)
    assert message.startswith("a line ")
    assert message.isprintable()
    assert message.isascii()
    assert len(message) < 200
    assert FORGED not in message
    assert caught.value.__cause__ is None
    return message


HONEST = [
    Described(event="described", track="music", stems=None),
    Described(event="described", track=None, stems=["bass", "drums"]),
    Described(event="described", track=None, stems=None),
    Listed(event="listed", failed=True, text="error\n" * 5000),
    Listed(event="listed", failed=False, text=""),
    Ready(event="ready", provenance=None),
    Ready(event="ready", provenance=PROVENANCE),
    Ready(event="ready", provenance={}),
    Done(
        event="done",
        folder="a ü 日本 \x1b[0m",
        nonfinite=["bass"],
        peak_memory_bytes=0,
        provenance=PROVENANCE,
    ),
    Done(event="done", folder="", nonfinite=[], peak_memory_bytes=1 << 50, provenance={"x": 1 << 62}),
    Failed(event="failed", where="setup", error="", out_of_memory=False),
    Failed(event="failed", where="track", error="x" * MOST_TEXT, out_of_memory=True),
]


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("event", HONEST, ids=lambda event: event.event)
def test_every_honest_answer_is_read_as_it_was_said(event: said.Said, ascii_only: bool) -> None:
    assert said.parse(json.dumps(event.model_dump(), ensure_ascii=ascii_only) + "\n") == event


NO_JSON = {
    "nothing": "\n",
    "words": f"{FORGED}\n",
    "single quotes": "{'event': 'done'}\n",
    "two in one": line().strip() * 2 + "\n",
    "cut": line()[:40] + "\n",
    "a byte order mark": "\ufeff" + line(),
    "nulls": "\0" * 10_000 + "\n",
    "no text": "\\xff\\xfe\n",  # as the supervisor passes on what is no UTF-8
    "NaN": line().replace("3", "NaN"),
    "Infinity": line().replace("3", "Infinity"),
    "-Infinity": line().replace("3", "-Infinity"),
    "beyond float64": line().replace("3", "1e999"),
    "below float64": line().replace("3", "-1e999"),
    "a control character in a string": line().replace('"a"', '"\x01"'),
    "5,000 digits": line().replace("3", "9" * 5000),
    "a million digits": line().replace("3", "9" * 1_000_000),
    "a fraction of a million digits": line().replace("3", "0." + "9" * 1_000_000),
    "an exponent of a million digits": line().replace("3", "1e" + "9" * 1_000_000),
    "a million spaces": " " * 1_000_000 + "\n",
    "200,000 brackets": "[" * 200_000 + "\n",
    "200,000 pairs of brackets": "[" * 200_000 + "]" * 200_000 + "\n",
    "200,000 braces": '{"a":' * 200_000 + "1" + "}" * 200_000 + "\n",
    "a million quotes": '"' * 1_000_000 + "\n",
    "a million escapes": '"' + "\\u0041" * 200_000 + '"\n',
    "a megabyte": line(folder="x" * (1 << 20)),
}
NO_EVENT = {
    "a number": "3\n",
    "null": "null\n",
    "true": "true\n",
    "a string": f'"{FORGED}"\n',
    "a list": "[]\n",
    "a list of events": f"[{line().strip()}]\n",
    "an empty object": "{}\n",
    "no event": json.dumps({key: value for key, value in DONE.items() if key != "event"}) + "\n",
    "an unknown event": line(event=FORGED),
    "an event of the supervisor": '{"event": "exited", "code": 0, "signal": null}\n',
    "the event of a frozen worker": '{"event": "frozen", "held": true, "peak_memory_bytes": 0}\n',
    "an event that is no text": line(event=3),
    "an event that is a list": line(event=["done"]),
    "an event that is an object": line(event={"done": 1}),
    "a key more": line(**{FORGED: 1}),
    "a key that is nothing": line(**{"": 1}),
    "an event of another kind": line(event="ready"),
}
WRONG: list[dict[str, Any]] = [
    {"folder": None},
    {"folder": 3},
    {"folder": ["a"]},
    {"folder": True},
    {"folder": "x" * (MOST_TEXT + 1)},
    {"nonfinite": None},
    {"nonfinite": "bass"},
    {"nonfinite": {"bass": 1}},
    {"nonfinite": [1]},
    {"nonfinite": [None]},
    {"nonfinite": ["x"] * (MOST_STEMS + 1)},
    {"nonfinite": ["x" * (MOST_TEXT + 1)]},
    {"peak_memory_bytes": None},
    {"peak_memory_bytes": True},
    {"peak_memory_bytes": False},
    {"peak_memory_bytes": "3"},
    {"peak_memory_bytes": 3.0},
    {"peak_memory_bytes": 3.5},
    {"peak_memory_bytes": -1},
    {"peak_memory_bytes": (1 << 50) + 1},
    {"peak_memory_bytes": 1 << 64},
    {"peak_memory_bytes": [3]},
    {"provenance": 3},
    {"provenance": "text"},
    {"provenance": []},
    {"provenance": True},
    {"provenance": {"economies": None}},
    {"provenance": {"economies": "all"}},
    {"provenance": {"economies": {"a": 1}}},
    {"provenance": {"economies": [1]}},
    {"provenance": {"economies": [["a"]]}},
    {"provenance": {"economies": ["x" * (MOST_TEXT + 1)]}},
    {"provenance": {"weights": 3}},
    {"provenance": {"weights": {"name": "a"}}},
    {"provenance": {"weights": ["a"]}},
    {"provenance": {"weights": [{"name": {"a": 1}}]}},
    {"provenance": {"weights": [{"name": 1.5}]}},
    {"provenance": {"weights": [{"name": True}]}},
    {"provenance": {"preset": 3}},
    {"provenance": {"preset": ["a"]}},
    {"provenance": {"preset": "x" * (MOST_TEXT + 1)}},
    {"provenance": {"device": {"cuda": 1}}},
    {"provenance": {"other": "x" * (MOST_TEXT + 1)}},
    {"provenance": {"x" * (MOST_TEXT + 1): 1}},
    {"provenance": {"other": 1 << 63}},
    {"provenance": {"other": -(1 << 63)}},
    {"provenance": {"other": [0] * PROVENANCE_VALUES}},
    {"provenance": {"other": {str(number): 0 for number in range(PROVENANCE_VALUES // 2)}}},
    {"provenance": dict.fromkeys(map(str, range(10_000)), 0)},
]


@pytest.mark.parametrize("text", NO_JSON.values(), ids=NO_JSON)
def test_what_is_no_json_is_one_sentence(text: str) -> None:
    reason(text)


@pytest.mark.parametrize("text", NO_EVENT.values(), ids=NO_EVENT)
def test_what_is_no_event_is_one_sentence(text: str) -> None:
    reason(text)


@pytest.mark.parametrize("changes", WRONG, ids=lambda changes: json.dumps(changes)[:60])
def test_an_event_with_other_contents_is_one_sentence(changes: dict[str, Any]) -> None:
    reason(line(**changes))


@pytest.mark.parametrize("event", HONEST, ids=lambda event: event.event)
def test_no_key_may_be_missing_but_what_is_read_of_provenance(event: said.Said) -> None:
    for key in event.model_dump():
        fields = {name: value for name, value in event.model_dump().items() if name != key}
        reason(json.dumps(fields) + "\n")


@pytest.mark.parametrize(
    "event",
    [
        {"event": "described", "track": 3, "stems": None},
        {"event": "described", "track": None, "stems": "bass"},
        {"event": "described", "track": None, "stems": ["x"] * (MOST_STEMS + 1)},
        {"event": "described", "track": None, "stems": [3]},
        {"event": "listed", "failed": 0, "text": ""},
        {"event": "listed", "failed": False, "text": "x" * ((1 << 16) + 1)},
        {"event": "ready", "provenance": {"economies": {}}},
        {"event": "failed", "where": "elsewhere", "error": "", "out_of_memory": False},
        {"event": "failed", "where": "track", "error": "x" * (MOST_TEXT + 1), "out_of_memory": False},
        {"event": "failed", "where": "track", "error": "", "out_of_memory": "yes"},
        {"event": "failed", "where": "track", "error": "", "out_of_memory": 1},
    ],
)
def test_the_other_events_are_as_strict(event: dict[str, Any]) -> None:
    reason(json.dumps(event) + "\n")


@pytest.mark.parametrize("key", ["folder", "provenance"])
@pytest.mark.parametrize("surrogate", ["\\ud800", "\\udfff", "a\\udc80b", "\\ude00\\ud83d"])
def test_half_of_a_character_is_refused(key: str, surrogate: str) -> None:
    value = f'"{surrogate}"' if key == "folder" else f'{{"x": ["{surrogate}"]}}'
    forged = json.dumps({**DONE, key: "HERE"}).replace('"HERE"', value)
    assert "surrogate" in reason(forged + "\n")
    forged = json.dumps({**DONE, "provenance": {"HERE": 1}}).replace("HERE", surrogate)
    assert "surrogate" in reason(forged + "\n")


def test_half_of_a_character_that_is_not_escaped_is_refused() -> None:
    assert "surrogate" in reason(json.dumps({**DONE, "folder": "\udc80"}, ensure_ascii=False) + "\n")


def test_a_whole_character_beyond_16_bits_is_none() -> None:
    answer = said.parse(line(folder="😀"))
    assert isinstance(answer, Done)
    assert answer.folder == "😀"


def test_a_key_that_stands_twice_is_no_way_around() -> None:
    """Whichever of the two is meant: readers disagree."""
    assert "twice" in reason(line().replace('"folder": "a"', '"folder": 3, "folder": "a"'))
    assert "twice" in reason(line(provenance={"x": {"y": 1}}).replace('"y": 1', '"y": 1, "y": 2'))


def test_depth_has_a_limit_that_what_we_say_ourselves_is_far_from() -> None:
    def nested(levels: int) -> Any:
        value: Any = 1
        for _ in range(levels):
            value = [value]
        return {"x": value}

    said.parse(line(provenance=nested(PROVENANCE_DEPTH - 3)))
    for levels in (PROVENANCE_DEPTH, 50, 500):
        assert "nested" in reason(line(provenance=nested(levels)))


def test_a_line_without_an_end_is_none() -> None:
    assert "too long" in reason(line().rstrip("\n"))
    assert "too long" in reason("")
    assert "too long" in reason("x" * LINE_BYTES)


def test_text_of_the_submission_is_not_in_the_sentence() -> None:
    for forged in (
        line(**{FORGED: 1}),
        line(event=FORGED),
        line(folder=[FORGED]),
        line(provenance={FORGED: "x" * 3000}),
        line(provenance={"economies": FORGED}),
        line(provenance={"weights": [{FORGED: [1]}]}),
        line(provenance={"weights": [{FORGED.replace(" ", "_").replace("'", ""): [1]}]}),
        line(provenance={"weights": [{"evaluator_trusts_me": [1]}]}),
        line(evaluator_trusts_me=1),
        line(**{"x" * 60_000: 1}),
        line(provenance={"weights": [{"x" * 1000: [1]}]}),
        line(ｅvaluator=1),  # an identifier, too
    ):
        assert "trusts" not in reason(forged)
        assert "SENTENCE" not in reason(forged)


@pytest.mark.thorough
def test_the_longest_line_that_the_supervisor_passes_on_takes_no_time() -> None:
    """Of all kinds that are made of many small things."""
    for unit, opened, closed in (
        ("0,", "[", "0]"),
        ('"",', "[", '""]'),
        ("[],", "[", "[]]"),
        ('"a":0,', "{", '"a":0}'),
    ):
        inner = opened + unit * ((LINE_BYTES - 200) // len(unit)) + closed
        forged = line(provenance={"x": "HERE"}).replace('"HERE"', inner)
        reason(forged)
