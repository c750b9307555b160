"""YAML documents as frozen records. Any mistake is reported in one sentence: file, key, found, allowed.

    class Window(Record):
        samples: Annotated[int, Field(gt=0), expecting("a whole number above 0")]

    window = read(Window, path, PresetError)     # or validate(Window, document, "window.yaml", PresetError)

A document's lists are tuples here. Nothing is converted: "3" is not a number, and `true` is not 1.
"""

import difflib
import re
from collections.abc import Hashable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

Kind = TypeVar("Kind")


class Record(BaseModel):
    """A mapping with known keys; an unknown key is an error, and so is a missing one without a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, document: Any) -> Any:
        if isinstance(document, dict):
            for key in document:
                if key not in cls.model_fields:
                    raise problem(f"unknown key {key!r}; {allowed_text(key, cls.model_fields)}")
            for key, field in cls.model_fields.items():
                if field.is_required() and key not in document:
                    raise problem(f"the key {key!r} is missing")
        return document


def problem(text: str, key: str = "") -> PydanticCustomError:
    """What a validator raises; `text` must also say what was found. key: where in the validated value."""
    return PydanticCustomError("problem", "{text}", {"text": text, "key": key})


def expecting(what: str) -> WrapValidator:
    """An annotation: if anything is wrong with the value, the error says that this was expected."""

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            raise problem(f"expected {what}, found {_as_yaml(value)!r}") from error

    return WrapValidator(check)


def one_of(names: Iterable[str]) -> WrapValidator:
    """An annotation: the value is one of these."""
    allowed = tuple(names)

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        check_choice(value, allowed)
        return handler(value)

    return WrapValidator(check)


def check_choice(found: Any, allowed: Iterable[str], key: str = "") -> None:
    """Raise `problem` unless `found` is one of these."""
    allowed = tuple(allowed)
    if found not in allowed:
        raise problem(choice_text(found, allowed), key)


def choice_text(found: Any, allowed: Iterable[str]) -> str:
    """The error for a value that is not one of these."""
    return f"found {found!r}; {allowed_text(found, allowed)}"


def allowed_text(found: Any, allowed: Iterable[str]) -> str:
    """`allowed: a, b (did you mean 'a'?)`."""
    names = sorted(map(str, allowed))
    close = difflib.get_close_matches(str(found), names, 1)
    return f"allowed: {', '.join(names)}" + (f" (did you mean {close[0]!r}?)" if close else "")


Text = Annotated[str, StringConstraints(min_length=1), expecting("text")]
Whole = Annotated[int, Field(gt=0), expecting("a whole number above 0")]
Positive = Annotated[float, Field(gt=0), expecting("a number above 0")]
Name = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"),
    expecting("a name of letters, digits and _ that does not begin with a digit"),
]
"""The name of a source or stem, as sums such as `other + guitar` can use it."""


def read(kind: type[Kind], path: Path, error: type[Exception]) -> Kind:
    """The record in a YAML file; raises `error` with one sentence if it is not one."""
    return validate(kind, read_document(path, error), path, error)


def read_document(path: Path, error: type[Exception]) -> Any:
    """`read_yaml`; raises `error` with one sentence if the file cannot be read."""
    try:
        return read_yaml(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as wrong:
        raise error(f"{path}: cannot be read as YAML: {' '.join(str(wrong).split())}") from wrong


def validate(
    kind: type[Kind],
    document: Any,
    file: Path | str,
    error: type[Exception],
    at: Sequence[str | int] = (),
) -> Kind:
    """A document as a record, or any other kind of value; raises `error` with one sentence if it is not one.

    at: the keys and indices that lead to it in the file.
    """
    try:
        record: Kind = _adapter(cast(Hashable, kind)).validate_python(_frozen(document))
        return record
    except ValidationError as wrong:
        first = wrong.errors(include_url=False)[0]
        raise error(f"{file}: {_sentence(first, at)}" if str(file) else _sentence(first, at)) from wrong


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(Any, kind))


def place_text(keys: Sequence[str | int]) -> str:
    """`steps[0].members[1].weights` of ("steps", 0, "members", 1, "weights")."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")


_EXPECTED = {
    "model_type": "a mapping", "dict_type": "a mapping", "mapping_type": "a mapping", "tuple_type": "a list",
    "string_type": "text", "bool_type": "true or false", "int_type": "a whole number",
    "int_from_float": "a whole number", "float_type": "a number", "finite_number": "a finite number",
    "path_type": "a path", "greater_than": "more than {gt:g}", "greater_than_equal": "{ge:g} or more",
    "less_than": "less than {lt:g}", "less_than_equal": "{le:g} or less",
    "too_short": "at least {min_length} entries", "too_long": "at most {max_length} entries",
}  # fmt: skip


def _sentence(wrong: ErrorDetails, at: Sequence[str | int]) -> str:
    context = wrong.get("ctx", {})
    key = context.get("key", "")
    place = place_text([*at, *wrong["loc"], *([key] if key else [])])
    if wrong["type"] == "problem":
        said = context["text"]
    elif wrong["type"] in ("literal_error", "enum"):
        said = choice_text(wrong["input"], re.findall(r"'([^']*)'", context["expected"]))
    elif wrong["type"] in _EXPECTED:
        expected = _EXPECTED[wrong["type"]].format(**context).replace(" 1 entries", " one entry")
        said = f"expected {expected}, found {_as_yaml(wrong['input'])!r}"
    else:
        said = f"{wrong['msg']}, found {_as_yaml(wrong['input'])!r}"
    return f"{place}: {said}" if place else said


def _frozen(value: Any) -> Any:
    """A document with tuples for lists, as records take them."""
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def _as_yaml(value: Any) -> Any:
    """The inverse of `_frozen`, for messages."""
    if isinstance(value, dict):
        return {key: _as_yaml(item) for key, item in value.items()}
    return list(map(_as_yaml, value)) if isinstance(value, list | tuple) else value


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses a mapping with the same key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} appears twice", key_node.start_mark
                )
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Parse one YAML file into plain lists, dicts and scalars.

    Raises OSError if it cannot be read, and yaml.YAMLError (with line and column) if it is not YAML, repeats a key,
    or asks for anything but plain data.
    """
    with path.open(encoding="utf-8") as file:
        return yaml.load(file, Loader=_UniqueKeyLoader)
