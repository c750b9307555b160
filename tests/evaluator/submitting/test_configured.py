"""What a repository says it would submit: read strictly, since its own code has said it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from evaluator.submitting.configured import (
    VERIFIED,
    ConfigurationError,
    Configured,
    Weights,
    as_on_a_server,
    parse,
    server_like,
)
from my_submission.commands.weights import _AGAINST

pytestmark = pytest.mark.quick

ROW = {
    "name": "a",
    "file": "a.th",
    "path": "/w/a.th",
    "bytes": 3,
    "state": "sha256",
    "problem": None,
    "architecture": "stack",
    "more": 1,
}
PRESET = {"name": "mdx-c", "track": "music", "checkpoints": [ROW], "more": 1}


def test_an_answer_of_our_layout_is_read() -> None:
    assert parse(json.dumps([PRESET])) == Configured(
        "mdx-c", "music", (Weights("a", "a.th", Path("/w/a.th"), 3, "sha256", None, "stack"),)
    )
    missing = {**ROW, "path": None, "bytes": None, "state": "missing"}
    (row,) = parse(json.dumps([{**PRESET, "checkpoints": [missing]}])).weights
    assert (row.path, row.bytes, row.verified) == (None, None, False)


def test_a_preset_of_no_challenge_cannot_be_submitted() -> None:
    with pytest.raises(ConfigurationError, match="preset mdx-c does not make the stems of a challenge"):
        parse(json.dumps([{**PRESET, "track": None}]))


def test_whatever_a_hash_was_compared_with_makes_it_verified() -> None:
    assert set(VERIFIED) == set(_AGAINST) - {"nothing"}


WRONG_VALUES: list[tuple[str, Any]] = [
    *(("name", None), ("file", 3), ("path", 3), ("state", None), ("problem", 3), ("architecture", 3)),
    *(("bytes", value) for value in ("3", True, 3.5, -1)),
]
WRONG: list[Any] = [
    *([], {}, 3, None, [PRESET, PRESET], [[]], ["mdx-c"], [{}]),
    *([{**PRESET, "name": 3}], [{**PRESET, "track": ["music"]}], [{**PRESET, "checkpoints": None}]),
    *([{**PRESET, "checkpoints": {}}], [{**PRESET, "checkpoints": ["a"]}], [{**PRESET, "checkpoints": [[]]}]),
    *([{**PRESET, "checkpoints": [{**ROW, name: value}]}] for name, value in WRONG_VALUES),
]
NO_JSON = ("", "{", "mdx-c", "NaN", "[" * 200_000, '[{"name": "\\ud800"}]', "9" * 5000, "\0")


@pytest.mark.parametrize("text", [*map(json.dumps, WRONG), *NO_JSON], ids=lambda text: text[:40])
def test_any_other_answer_is_one_sentence(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^its answer cannot be read \([a-z_]+\)$"):
        parse(text)


def test_our_variables_and_caches_are_not_those_of_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDX_PRESET", "mine")
    monkeypatch.setenv("HF_HUB_CACHE", "/cache")
    before = dict(os.environ)
    with as_on_a_server(tmp_path):
        assert os.environ["HF_HOME"] == os.environ["TORCH_HOME"] == str(tmp_path)
        assert not {"SDX_PRESET", "HF_HUB_CACHE", "PYTHONPATH"} & set(os.environ)
    assert dict(os.environ) == before
    assert server_like({"PATH": "/bin"}, tmp_path).keys() == {"PATH", "HF_HOME", "TORCH_HOME"}
