"""Text of others, made fit to be shown: nothing in it acts on a terminal, hides, turns round, or is a formula.

Results, submissions and data sets bring text of their own: names, reasons, what was printed. Where such text becomes
a record (`runs/documents.py`, `running/recorder.py`) it goes through `plain` or `tree`, so that records hold visible
text only; a message that quotes a file of others, or a path, goes through `plain` or `lines` where it is printed.
"""

import json
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

LINE_CHARACTERS = 500  # of one line that is shown
TEXT_CHARACTERS = 20_000  # of a text that is kept

# Categories of Unicode: control, format (which turns the direction of text, or is not seen), half of a pair, line and
# paragraph separators.
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Joiners, which spelling needs in some scripts and in emoji. They are shown as escapes, but are no fault of a name.
JOINERS = "\u200c\u200d"
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# A spreadsheet takes what begins so for a formula, in whichever width it is written.
FORMULA_STARTS = tuple("=+-@＝＋－＠")


def plain(text: str, limit: int = LINE_CHARACTERS) -> str:
    """One line of `limit` characters at most, with an escape such as \\x1b for each character that is not seen."""
    text = text[: limit + 1]
    if not text.isprintable():
        text = "".join(map(_shown, text))
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def lines(text: str) -> str:
    """Text of any length, whose lines stay lines and in which all else that is not seen is an escape."""
    if text.isprintable():
        return text
    return "\n".join(line if line.isprintable() else "".join(map(_shown, line)) for line in text.split("\n"))


def _shown(character: str) -> str:
    if unicodedata.category(character) not in HIDDEN:
        return character
    return character.encode("unicode_escape", "surrogatepass").decode()


def fault(name: str) -> str | None:
    """The first character that no name may have, as an escape; None if there is none."""
    if name.isprintable():
        return None
    wrong = (c for c in name if c not in JOINERS and unicodedata.category(c) in HIDDEN)
    return next(map(_shown, wrong), None)


def tree(value: Any, limit: int = TEXT_CHARACTERS) -> Any:
    """JSON of others with every key and string in it plain."""
    if isinstance(value, str):
        return plain(value, limit)
    if isinstance(value, dict):
        return {plain(str(key), limit): tree(item, limit) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(tree(item, limit) for item in value)
    return value


def listed(items: Iterable[str], most: int) -> list[str]:
    """The first `most` items, and a last one that says how many more there are."""
    every = list(items)
    more = len(every) - most
    return every if more <= 0 else [*every[:most], f"and {more} more"]


def csv_cell(value: object) -> object:
    """A cell of a table that a spreadsheet shows as it stands: an apostrophe before what it would compute."""
    if not isinstance(value, str):
        return value
    text = lines(value)
    is_formula = text.lstrip().startswith(FORMULA_STARTS) and not NUMBER.fullmatch(text)
    return f"'{text}" if is_formula else text


def json_text(value: Any) -> str:
    """JSON for people, indented, in which what is not seen is an escape, so that it can be shown anywhere."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return text if text.isprintable() else "".join(c if c == "\n" else _json_character(c) for c in text)


def _json_character(character: str) -> str:
    if unicodedata.category(character) not in HIDDEN:
        return character
    return json.dumps(character)[1:-1] if character != "\x7f" else "\\u007f"  # which JSON leaves as it is
