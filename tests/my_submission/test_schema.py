"""Documents as records: nothing is converted, and whatever is wrong is one sentence that says where and what."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, Strict, model_validator

from my_submission.schema import (
    Name,
    Positive,
    Record,
    Text,
    Whole,
    expecting,
    one_of,
    place_text,
    problem,
    read,
    validate,
)

pytestmark = pytest.mark.quick


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Inner(Record):
    size: Whole
    names: tuple[Name, ...] = ()
    span: tuple[float, float] | None = None
    kind: Literal["round", "square"] = "round"
    sides: Literal[3, 4] = 4
    colour: Annotated[Colour, Strict(False), one_of(Colour)] = Colour.RED


class Outer(Record):
    title: Text
    inner: tuple[Inner, ...] = ()
    weights: Mapping[str, Positive] = {}
    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    few: Annotated[tuple[int, ...], Field(min_length=1, max_length=2)] = (1,)
    even: Annotated[int, expecting("an even number")] = 2
    flag: bool = False


class WrongError(ValueError):
    pass


GOOD: dict[str, Any] = {
    "title": "x",
    "inner": [{"size": 1, "names": ["a_1"], "span": [0, 1.5], "kind": "square", "colour": "blue"}],
    "weights": {"a": 1},
}


def test_a_document_is_a_frozen_record_with_tuples() -> None:
    record = validate(Outer, GOOD, "x.yaml", WrongError)
    assert record.inner[0] == Inner(size=1, names=("a_1",), span=(0, 1.5), kind="square", colour=Colour.BLUE)
    assert validate(Outer, record.model_dump(mode="json"), "x.yaml", WrongError) == record
    with pytest.raises(ValueError, match="frozen"):
        record.title = "y"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"titel": "x"}, "unknown key 'titel'; allowed: even, few, flag, inner, share, title, weights"
         " (did you mean 'title'?)"),
        ({"title": ...}, "the key 'title' is missing"),
        ({"title": ""}, "title: expected text, found ''"),
        ({"inner": {}}, "inner: expected a list, found {}"),
        ({"weights": {1: 2}}, "weights: expected text, found 1 as a key"),
        ({"weights": {None: 2}}, "weights: expected text, found None as a key"),
        ({"inner": [1]}, "inner[0]: expected a mapping, found 1"),
        ({"inner": [{}]}, "inner[0]: the key 'size' is missing"),
        ({"inner": [{"size": 1}, {"size": "1"}]}, "inner[1].size: expected a whole number above 0, found '1'"),
        ({"inner": [{"size": True}]}, "inner[0].size: expected a whole number above 0, found True"),
        ({"inner": [{"size": 1, "names": ["a", "b c"]}]},
         "inner[0].names[1]: expected a name of letters, digits and _ that does not begin with a digit, found 'b c'"),
        ({"inner": [{"size": 1, "span": [1, "2"]}]}, "inner[0].span[1]: expected a number, found '2'"),
        ({"inner": [{"size": 1, "span": [1, 2, 3]}]},
         "inner[0].span: expected at most 2 entries, found [1, 2, 3]"),
        ({"inner": [{"size": 1, "kind": "sqare"}]},
         "inner[0].kind: found 'sqare'; allowed: round, square (did you mean 'square'?)"),
        ({"inner": [{"size": 1, "colour": ["blue"]}]}, "inner[0].colour: found ['blue']; allowed: blue, red"
         " (did you mean 'blue'?)"),
        ({"inner": [{"size": 1, "sides": 5}]}, "inner[0].sides: found 5; allowed: 3, 4"),
        ({"inner": [{"size": 1, "colour": "green"}]}, "inner[0].colour: found 'green'; allowed: blue, red"),
        ({"weights": {"a": 0}}, "weights.a: expected a number above 0, found 0"),
        ({"weights": {"a": float("nan")}}, "weights.a: expected a number above 0, found nan"),
        ({"share": 2}, "share: expected 1 or less, found 2"),
        ({"share": float("inf")}, "share: expected a finite number, found inf"),
        ({"few": []}, "few: expected at least one entry, found []"),
        ({"even": 2.0}, "even: expected an even number, found 2.0"),
        ({"flag": "yes"}, "flag: expected true or false, found 'yes'"),
        ({"flag": 1}, "flag: expected true or false, found 1"),
    ],
)  # fmt: skip
def test_one_sentence_says_where_what_and_what_is_allowed(changes: dict[str, Any], sentence: str) -> None:
    document = {key: value for key, value in {**GOOD, **changes}.items() if value is not ...}
    with pytest.raises(WrongError) as caught:
        validate(Outer, document, "x.yaml", WrongError)
    assert str(caught.value) == f"x.yaml: {sentence}"


def test_the_place_goes_on_from_where_the_document_stands() -> None:
    with pytest.raises(
        WrongError, match=r"^x.yaml: a\[3\].b.size: expected a whole number above 0, found 0$"
    ):
        validate(Inner, {"size": 0}, "x.yaml", WrongError, ("a", 3, "b"))
    assert place_text(("steps", 0, "members", 1, "weights", "bass")) == "steps[0].members[1].weights.bass"


class Ordered(Record):
    low: int
    high: int

    @model_validator(mode="after")
    def _check_order(self) -> "Ordered":
        if self.low > self.high:
            raise problem(f"expected no more than high, found {self.low}", "low")
        return self


def test_a_problem_of_the_whole_names_its_key() -> None:
    with pytest.raises(WrongError, match=r"^x.yaml: low: expected no more than high, found 2$"):
        validate(Ordered, {"low": 2, "high": 1}, "x.yaml", WrongError)


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("size: 3\n")
    assert read(Inner, path, WrongError) == Inner(size=3)
    path.write_text("size: 3\nsize: 4\n")
    with pytest.raises(WrongError, match=r"x.yaml: cannot be read as YAML: .*'size' appears twice .* line 2"):
        read(Inner, path, WrongError)
    path.write_bytes("# für\nsize: 3\n".encode("latin-1"))
    with pytest.raises(WrongError, match=r"x.yaml: .* YAML: line 1 is not UTF-8; save the file as UTF-8$"):
        read(Inner, path, WrongError)
    with pytest.raises(WrongError, match="none.yaml: cannot be read as YAML: .*No such file"):
        read(Inner, tmp_path / "none.yaml", WrongError)
