"""JSON of others -> plain data, or one sentence: what the format allows and no file of ours holds is refused.

That is what readers disagree about or break on: a key that stands twice, NaN, a number beyond float64 or of thousands
of digits, nesting without end, half of a surrogate pair, and sheer size.
"""

import json
from pathlib import Path
from typing import Any

from evaluator import printable, regular_files

MOST_BYTES = 256 << 20
MOST_VALUES = 5_000_000  # each takes up to 100 bytes of memory
MOST_DEPTH = 40
MOST_DIGITS = 30  # of a whole number
MOST_CHARACTERS = 1_000_000  # of one string


class JsonError(ValueError):
    """The text is not what we take for JSON; the message says what is wrong, but not where it came from."""


def read_object(path: Path, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """The JSON object in a file; JsonError, or OSError for what is no regular file or too large."""
    return loads_object(regular_files.read(path, most_bytes))


def loads_object(text: str | bytes) -> dict[str, Any]:
    """The JSON object in a text; JsonError if it holds something else."""
    item = loads(text)
    if not isinstance(item, dict):
        raise JsonError(f"found {type(item).__name__}, expected a JSON object")
    return item


def loads(text: str | bytes) -> Any:
    """The value of a JSON text in UTF-8; JsonError if it is malformed, or not what any file of ours holds."""
    try:
        text = text.decode() if isinstance(text, bytes) else text
        if (number := sum(map(text.count, "[{,"))) > MOST_VALUES:
            raise JsonError(f"up to {number} values, expected at most {MOST_VALUES}")
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_whole,
            parse_float=_number,
            parse_constant=_constant,
        )
    except RecursionError:
        raise JsonError(f"nested deeper than {MOST_DEPTH} levels") from None
    except JsonError:
        raise
    except ValueError as error:  # malformed, or no UTF-8
        raise JsonError(f"not readable as JSON ({printable.plain(str(error))})") from None
    _check_depth(value)
    if (
        "\\u" in text or len(text) > MOST_CHARACTERS or not _is_unicode(text)
    ):  # else no string can be at fault
        _check_texts(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        double = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise JsonError(f"the key {_quoted(double)} stands twice in one object")
    return found


def _whole(digits: str) -> int:
    if len(digits.lstrip("-")) > MOST_DIGITS:
        raise JsonError(f"a whole number of {len(digits.lstrip('-'))} digits, expected at most {MOST_DIGITS}")
    return int(digits)


def _number(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise JsonError(f"{_quoted(text)} is beyond what a number can be")
    return value


def _constant(name: str) -> float:
    raise JsonError(f"{name} is no number")


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        if depth > MOST_DEPTH:
            raise JsonError(f"nested deeper than {MOST_DEPTH} levels")
        level = [below for item in level for below in (item.values() if isinstance(item, dict) else item)]


def _check_texts(value: Any) -> None:
    """JsonError for a string that is no text, or too long."""
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, str):
            _check_text(item)
        elif isinstance(item, dict):
            left += (*item.keys(), *item.values())
        elif isinstance(item, list):
            left += item


def _check_text(text: str) -> None:
    if len(text) > MOST_CHARACTERS:
        raise JsonError(f"a text of {len(text)} characters, expected at most {MOST_CHARACTERS}")
    if not _is_unicode(text):
        raise JsonError(f"half of a surrogate pair in {_quoted(text)}")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _quoted(text: str) -> str:
    return repr(printable.plain(text, 60)).replace("\\\\", "\\")
