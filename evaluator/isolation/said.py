"""What a worker may say: its lines -> typed records, or one sentence about what is wrong with them.

The submission can write to the worker's pipe, so a line is trusted no more than the submission is: it can only be an
answer to what was asked, and it is small, plain, finite and flat.
"""

import json
import math
from typing import Annotated, Any, Literal, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

MOST_TEXT = 2000
MOST_STEMS = 64
PROVENANCE_DEPTH = 6
PROVENANCE_VALUES = 4000

Text = Annotated[str, Field(max_length=MOST_TEXT)]


class UnreadableLineError(ValueError):
    """A line that is no event; the message says why, in words of ours only."""


class _Line(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class _Provenance(BaseModel):
    """What is read of what a submission says of itself; it may say more."""

    model_config = ConfigDict(strict=True, extra="allow")

    preset: Text | None = None
    device: Text | None = None
    economies: list[Text] = []
    weights: list[dict[str, Text | int | None]] = []


def _is_provenance(value: dict[str, Any]) -> dict[str, Any]:
    _Provenance.model_validate(value)
    return value


Provenance = Annotated[dict[str, Any], AfterValidator(_is_provenance)]


class Described(_Line):
    """The answer to "describe": what the submission makes."""

    event: Literal["described"]
    track: Text | None
    stems: Annotated[list[Text], Field(max_length=MOST_STEMS)] | None


class Listed(_Line):
    """The answer to "list_weights": what a submission of our layout printed of the weights that it would use."""

    event: Literal["listed"]
    failed: bool
    text: Annotated[str, Field(max_length=1 << 16)]


class Ready(_Line):
    """The answer to "construct"."""

    event: Literal["ready"]
    provenance: Provenance | None


class Done(_Line):
    """The answer to "separate": the track is written. peak_memory_bytes: of its process, or 0."""

    event: Literal["done"]
    folder: Text
    nonfinite: Annotated[list[Text], Field(max_length=MOST_STEMS)]
    peak_memory_bytes: Annotated[int, Field(ge=0, le=1 << 50)]
    provenance: Provenance | None


class Failed(_Line):
    """The answer to any request: an exception, in the submission's words."""

    event: Literal["failed"]
    where: Literal["setup", "track"]
    error: Text
    out_of_memory: bool


Said = Described | Listed | Ready | Done | Failed
_ADAPTER: TypeAdapter[Said] = TypeAdapter(Annotated[Said, Field(discriminator="event")])
# A key that is none of ours is the submission's text, which is not for a sentence of ours.
_OWN_NAMES = frozenset(
    name for model in (Described, Listed, Ready, Done, Failed, _Provenance) for name in model.model_fields
)


def parse(line: str) -> Said:
    """The event in a worker's line; UnreadableLineError says what is wrong with any other."""
    if not line.endswith("\n"):
        raise UnreadableLineError("a line too long for an answer, or cut short")
    try:
        document = json.loads(
            line, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_without_doubles
        )
        line.encode("utf-8")
        json.dumps(document, ensure_ascii=False).encode("utf-8")
        said = _ADAPTER.validate_python(document)
        _check_values(document, said)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        keys = ".".join(str(part) for part in first["loc"] if part in _OWN_NAMES)
        raise UnreadableLineError(
            f"a line that is no answer of a worker ({keys or 'event'}: {first['type']})"
        ) from None
    except UnicodeError:
        raise UnreadableLineError("a line with characters that are none (lone surrogates)") from None
    except RecursionError:
        raise UnreadableLineError("a line that is nested too deep") from None
    except ValueError as error:
        reason = str(error) if isinstance(error, UnreadableLineError) else "it is not JSON"
        raise UnreadableLineError(f"a line that is no answer of a worker ({reason})") from None
    return said


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise UnreadableLineError("a key that stands twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise UnreadableLineError("a number that is not finite")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise UnreadableLineError("a number that is not finite")
    return number


def _check_values(document: Any, said: Said) -> None:
    """Bounds on the free part, provenance, which is kept in the result and shown: depth, number, length, size."""
    counted = 0
    waiting = [(document, PROVENANCE_DEPTH)]
    while waiting:
        value, left = waiting.pop()
        counted += 1
        if counted > PROVENANCE_VALUES:
            raise UnreadableLineError(f"more than {PROVENANCE_VALUES} values")
        if isinstance(value, dict | list):
            if left == 0:
                raise UnreadableLineError(f"nested deeper than {PROVENANCE_DEPTH} levels")
            inner = [*value, *value.values()] if isinstance(value, dict) else value
            waiting += [(each, left - 1) for each in inner]
        elif isinstance(value, str) and len(value) > MOST_TEXT and not isinstance(said, Listed):
            raise UnreadableLineError(f"a text longer than {MOST_TEXT} characters")
        elif isinstance(value, int) and abs(value) >= 1 << 63:
            raise UnreadableLineError("a number beyond 64 bits")
