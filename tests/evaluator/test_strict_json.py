"""JSON of others: what no file of ours holds is one sentence, however large or odd it is."""

import json
import os
from pathlib import Path

import pytest

from evaluator import regular_files, strict_json
from evaluator.regular_files import IrregularFileError
from evaluator.strict_json import JsonError

pytestmark = pytest.mark.quick


def test_what_json_writes_is_read() -> None:
    value = {"a": [1, -2.5, 1e300, None, True, "é\U0001d11e\u2028", {}], "b": 10**29, "": ""}
    assert strict_json.loads(json.dumps(value)) == value
    assert strict_json.loads(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not readable as JSON"),
        ("{", "not readable as JSON"),
        ("{} {}", "not readable as JSON"),
        (b"\xff", "not readable as JSON"),
        ("\ufeff{}", "not readable as JSON"),
        ('"a\x00b"', "not readable as JSON"),
        ('{"a": 1, "a": 2}', "the key 'a' stands twice in one object"),
        ('{"x": {"b\\u001b": 1, "c": 1, "b\\u001b": 2}}', r"the key 'b\x1b' stands twice"),
        ("[NaN]", "NaN is no number"),
        ("[-Infinity]", "-Infinity is no number"),
        ("[1e999]", "'1e999' is beyond what a number can be"),
        (f"[{'9' * 5000}]", "a whole number of 5000 digits, expected at most 30"),
        (f"[{'9' * 31}]", "a whole number of 31 digits"),
        (f"[{'9' * 400}.5]", "is beyond what a number can be"),
        ("[" * 1_000_000, "nested deeper than 40 levels"),
        ("[" * 41 + "]" * 41, "nested deeper than 40 levels"),
        ('{"a":' * 500 + "1" + "}" * 500, "nested deeper than 40 levels"),
        ('"\\ud800"', r"half of a surrogate pair in '\ud800'"),
        ('{"\\udfff": 1}', r"half of a surrogate pair in '\udfff'"),
        ('"\udc80"', r"half of a surrogate pair in '\udc80'"),
        (json.dumps("x" * 1_000_001), "a text of 1000001 characters, expected at most 1000000"),
        ("[" + "[]," * 5_000_001 + "[]]", "values, expected at most 5000000"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_odd_is_one_sentence(text: str | bytes, problem: str) -> None:
    with pytest.raises(JsonError) as caught:
        strict_json.loads(text)
    assert problem in str(caught.value)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


@pytest.mark.thorough
def test_many_keys_that_stand_twice_take_no_time() -> None:
    pairs = ",".join(f'"{i}":0' for i in range(200_000))
    with pytest.raises(JsonError, match="stands twice"):
        strict_json.loads(f'{{{pairs},"199999":1}}')


def test_a_file_must_hold_an_object_and_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("[]")
    with pytest.raises(JsonError, match="found list, expected a JSON object"):
        strict_json.read_object(file)
    file.write_text("{}")
    assert strict_json.read_object(file, 2) == {}
    with pytest.raises(IrregularFileError, match="larger than 1 bytes"):
        strict_json.read_object(file, 1)
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path, tmp_path / "pipe", Path(os.devnull), tmp_path / "nowhere"):
        with pytest.raises(OSError, match="not a regular file|Is a directory|No such file"):
            strict_json.read_object(other)


def test_a_file_without_end_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(IrregularFileError, match="larger than 1 MiB"):
        regular_files.read(tmp_path / "large", 1 << 20)
    with pytest.raises(IrregularFileError, match="larger than 1 MiB"):
        regular_files.sha256_of(tmp_path / "large", 1 << 20)


def test_links_are_followed_only_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "link").symlink_to("a")
    assert regular_files.read(tmp_path / "link", 10) == b"a"
    with pytest.raises(OSError, match="symbolic link"):
        regular_files.read(tmp_path / "link", 10, links=False)
