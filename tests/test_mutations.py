"""Breaks of a module are small, and leave a module."""

import ast
from pathlib import Path

import pytest

from tests import thinned
from tests.mutations import breaks, room_of

pytestmark = pytest.mark.quick

SOURCE = '''\
def larger(a: int, b: int = 1) -> int:
    """Not this 1."""
    print("größer")
    if not a < b and a in (2, True):
        return a + b * 3
    return f"{a + 1}"
'''


def test_each_kind_of_break_is_made_where_it_stands() -> None:
    broken = {each.apply(SOURCE.encode()).decode() for each in breaks(SOURCE.encode())}
    assert SOURCE.replace("a < b", "(a <= b)") in broken
    assert SOURCE.replace("a in (2, True)", "(a not in (2, True))") in broken
    assert SOURCE.replace("(2, True)", "(3, True)") in broken
    assert SOURCE.replace("(2, True)", "(2, False)") in broken
    assert SOURCE.replace("b * 3", "(b / 3)") in broken
    assert SOURCE.replace("return a + b * 3", "return None") in broken
    assert SOURCE.replace('print("größer")', "pass") in broken
    assert SOURCE.replace("b: int = 1", "b: int = 2") in broken
    assert SOURCE.replace('return f"{a + 1}"', "return None") in broken
    assert not [each for each in broken if "Not this 1." not in each or "a - 1" in each]


@pytest.mark.parametrize("module", thinned.one_in(2, ["evaluator/measures/sdr.py", "tests/mutations.py"]))
def test_what_is_broken_is_a_module(module: str) -> None:
    source = Path(module).read_bytes()
    for each in breaks(source):
        broken = each.apply(source)
        assert broken != source
        ast.parse(broken)


def test_the_tests_of_a_room_are_those_that_mirror_it() -> None:
    assert room_of(Path("evaluator/measures/sdr.py")) == Path("tests/evaluator/measures")
    assert room_of(Path("run_eval.py")) == Path("tests")
