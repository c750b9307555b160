"""YAML documents as frozen records. Any mistake is reported in one sentence: file, key, found, allowed.

    class Window(Record):
        samples: Annotated[int, Field(gt=0), expecting("a whole number above 0")]

    window = read(Window, path, PresetError)     # or validate(Window, document, "window.yaml", PresetError)

A document's lists are tuples here. Nothing is converted: "3" is not a number, and `true` is not 1.

A document may come from anybody, so what it may ask of us has stated limits: bytes before it is parsed, values and
depth while it is, with its aliases written out.
"""

import difflib
import math
import re
import reprlib
from collections.abc import Hashable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar, cast

import yaml
from pydantic import (
    AfterValidator,
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
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import Resolver
from yaml.scanner import Scanner

from my_submission.plain_files import NotAFile, read_regular

Kind = TypeVar("Kind")

LARGEST_DOCUMENT_BYTES = 256 << 10
MOST_VALUES = 30_000
"""In a document: keys, scalars, lists and mappings, those that an alias stands for once more each time."""
DEEPEST_VALUE = 32
"""How many lists and mappings may lie within each other."""
LONGEST_NUMBER = 40
"""In characters. A whole number must also fit into 64 bits."""
LONGEST_TEXT = 1_000
LONGEST_NAME = 100
_MOST_ALLOWED = 30
"""How many of the allowed names an error lists."""
_LONGEST_VALUE = 200
_LONGEST_REASON = 400
"""Of what the YAML library says, which quotes without limit."""
_CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # those of terminals
    r"\u2028-\u202e\u2066-\u2069"  # those of lines and of the direction of writing
    r"\ud800-\udfff]"  # halves of characters
)


class Record(BaseModel):
    """A mapping with known keys; an unknown key is an error, and so is a missing one without a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, document: Any) -> Any:
        if isinstance(document, dict):
            for key in document:
                if key not in cls.model_fields:
                    raise problem(f"unknown key {brief(key)}; {allowed_text(key, cls.model_fields)}")
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
            raise problem(f"expected {what}, found {brief(_as_yaml(value))}") from error

    return WrapValidator(check)


def at_most(limit: float) -> AfterValidator:
    """An annotation: the number is no larger, which the error says apart from what else was expected."""

    def check(value: Any) -> Any:
        if value > limit:
            raise problem(f"expected at most {limit:,}, found {brief(value)}")
        return value

    return AfterValidator(check)


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
    return f"found {brief(_as_yaml(found))}; {allowed_text(found, allowed)}"


def allowed_text(found: Any, allowed: Iterable[str]) -> str:
    """`allowed: a, b (did you mean 'a'?)`."""
    names = sorted(map(str, allowed))
    more = f", and {len(names) - _MOST_ALLOWED} more" if len(names) > _MOST_ALLOWED else ""
    listed = f"allowed: {', '.join(names[:_MOST_ALLOWED])}{more}"
    return listed + did_you_mean(found, names)


def did_you_mean(found: Any, allowed: Iterable[str]) -> str:
    """` (did you mean 'a'?)`, or nothing if none of these is like what was found."""
    given = found if isinstance(found, str) else brief(found)
    close = difflib.get_close_matches(given[:LONGEST_NAME], allowed, 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


class _Brief(reprlib.Repr):
    """Python's notation, of large things only the beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 4, 80, 80
        self.maxdict = self.maxlist = self.maxtuple = 8

    def repr_int(self, number: int, level: int) -> str:
        digits = int(number.bit_length() * math.log10(2)) + 1
        # Python refuses to write down 5,000 digits, and nobody would read them.
        return repr(number) if digits <= LONGEST_NUMBER else f"<a number of {digits} digits>"


_BRIEF = _Brief()


def brief(value: Any) -> str:
    """A value for an error, in Python's notation and short, however large or deep the value is."""
    text = _BRIEF.repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


Text = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_TEXT), expecting("text")]
Whole = Annotated[int, Field(gt=0), expecting("a whole number above 0")]
LARGEST_FFT = 1 << 16
Fft = Annotated[Whole, at_most(LARGEST_FFT)]
"""Samples of a transform: tables that grow with it are made when a row is read."""
Positive = Annotated[float, Field(gt=0), expecting("a number above 0")]
Name = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=LONGEST_NAME),
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
    except NotAFile as wrong:
        raise error(str(wrong)) from wrong
    except (OSError, yaml.YAMLError) as wrong:
        said = " ".join(str(wrong).split())
        raise error(f"{path}: cannot be read as YAML: {said[:_LONGEST_REASON]}") from wrong


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
    "string_too_long": "at most {max_length} characters",
    "too_short": "at least {min_length} entries", "too_long": "at most {max_length} entries",
}  # fmt: skip


def _sentence(wrong: ErrorDetails, at: Sequence[str | int]) -> str:
    context = wrong.get("ctx", {})
    key = context.get("key", "")
    in_key = wrong["loc"][-1:] == ("[key]",)  # then the last two are the key, and this
    keys = wrong["loc"][:-2] if in_key else wrong["loc"]
    place = place_text([*at, *keys, *([key] if key else [])])
    if wrong["type"] == "problem":
        said = context["text"]
    elif wrong["type"] in ("literal_error", "enum"):
        allowed = re.findall(r"'[^']*'|\d+", context["expected"])  # "'one', 'two' or 3"
        said = choice_text(wrong["input"], [name.strip("'") for name in allowed])
    elif wrong["type"] in _EXPECTED:
        expected = _EXPECTED[wrong["type"]].format(**context).replace(" 1 entries", " one entry")
        said = f"expected {expected}, found {brief(_as_yaml(wrong['input']))}"
    else:
        said = f"{wrong['msg']}, found {brief(_as_yaml(wrong['input']))}"
    if in_key:
        said = f"{said} as a key"
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


if TYPE_CHECKING:
    _SafeLoader = yaml.SafeLoader
else:
    # libyaml, which most installations of the package have, reads a manifest eight times as fast.
    _EVENTS = (yaml.cyaml.CParser,) if yaml.__with_libyaml__ else (Reader, Scanner, Parser)

    class _SafeLoader(Composer, *_EVENTS, SafeConstructor, Resolver):
        """yaml.SafeLoader, with the fastest parser there is; what it composes goes through our hands."""

        def __init__(self, text: str) -> None:
            _EVENTS[0].__init__(self, text)
            for kind in (*_EVENTS[1:], Composer, SafeConstructor, Resolver):
                kind.__init__(self)


class _Loader(_SafeLoader):
    """A loader that refuses a mapping with the same key twice, and more than a document may hold."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._values, self._depth = 0, 0
        self._sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A value and all within it; what an alias stands for counts in full each time."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if node not in self._sizes:
                raise yaml.composer.ComposerError(None, None, "an alias within what it stands for", mark)
            self._count(self._sizes[node], mark)
            return node
        before = self._values
        self._count(1, mark)
        self._depth += 1
        if self._depth > DEEPEST_VALUE:
            raise yaml.composer.ComposerError(None, None, f"more than {DEEPEST_VALUE} levels", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None:
            self._sizes[node] = self._values - before
        return node

    def _count(self, values: int, mark: Any) -> None:
        self._values += values
        if self._values > MOST_VALUES:
            found = f"more than {MOST_VALUES:,} values, aliases written out"
            raise yaml.composer.ComposerError(None, None, found, mark)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and (len(key) > LONGEST_TEXT or "\n" in key):
                self._refuse(key_node, f"expected one line of at most {LONGEST_TEXT} characters as a key")
            if isinstance(key, Hashable) and key in seen:
                self._refuse(key_node, f"the key {brief(key)} appears twice")
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_text(self, node: yaml.ScalarNode) -> str:
        """Text without what a terminal would obey, or no file could hold."""
        text = str(self.construct_scalar(node))
        if _CONTROLS.search(text):
            self._refuse(node, f"expected text without control characters, found {brief(text)}")
        return text

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """A number of ordinary length. (A record refuses those that are not finite, and can name the key.)"""
        whole = node.tag.endswith(":int")
        value: int | float | None = None
        if len(node.value) <= LONGEST_NUMBER:
            value = self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)
        if value is None or (whole and abs(value) >= 2**63):
            expected = f"a number of at most {LONGEST_NUMBER} characters and 64 bits"
            self._refuse(node, f"expected {expected}, found {brief(node.value)}")
        return value

    def _refuse(self, node: yaml.Node, reason: str) -> NoReturn:
        raise yaml.constructor.ConstructorError(None, None, reason, node.start_mark)


_Loader.add_constructor("tag:yaml.org,2002:str", _Loader.construct_text)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_number)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_number)


def read_yaml(path: Path) -> Any:
    """Parse one YAML file into plain lists, dicts and scalars.

    Raises OSError if it cannot be read or is larger than LARGEST_DOCUMENT_BYTES, and yaml.YAMLError (with line and
    column) if it is not YAML, repeats a key, asks for anything but plain data, or for more than a document may hold.
    """
    content = read_regular(path, LARGEST_DOCUMENT_BYTES)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise yaml.YAMLError(f"line {line} is not UTF-8; save the file as UTF-8") from error
    try:
        return yaml.load(text, Loader=_Loader)
    except (ValueError, LookupError, ArithmeticError, TypeError, AttributeError) as error:
        # What the constructors of dates, truth values and so on raise for text that is not one.
        raise yaml.YAMLError(f"a value is not what its tag says ({brief(str(error))})") from error
