"""Data from outside -> typed records: what pydantic finds wrong, in one sentence that names file and key.

Files are validated as JSON and strictly: a number in quotes is an error. Keys that a schema does not know are
passed over, since later versions of a file may have more of them.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from evaluator import printable

KEY_CHARACTERS = 120


class Document(BaseModel):
    """What a file must hold."""

    model_config = ConfigDict(strict=True, frozen=True)


def sentence(where: str, error: ValidationError) -> str:
    """The first problem as "file: key: found …, expected …", and how many more there are."""
    first, *others = error.errors(include_url=False)
    key = printable.plain(".".join(map(str, first["loc"])), KEY_CHARACTERS)
    more = f" (and {len(others)} more problem{'s'[: len(others) != 1]})" if others else ""
    return f"{where}: {f'{key}: ' if key else ''}{_problem(first)}{more}"


def _problem(error: Any) -> str:
    if error["type"] == "missing":
        return "missing"
    said = error["msg"].removeprefix("Value error, ")
    expected = said.removeprefix("Input should be ")
    if expected == said:  # a sentence of its own
        return printable.plain(str(said))
    return f"found {found(error['input'])}, expected {expected}"


def found(value: object) -> str:
    """A value from outside as a message quotes it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
