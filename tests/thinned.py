"""Cases of a law, some of which are enough from day to day."""

from collections.abc import Iterable
from typing import Any

import pytest


def one_in(count: int, cases: Iterable[Any]) -> list[Any]:
    """These cases for `parametrize`: the first of each `count` runs every day, the others are `thorough`."""
    return [
        case if place % count == 0 else pytest.param(*_values(case), marks=pytest.mark.thorough)
        for place, case in enumerate(cases)
    ]


def _values(case: Any) -> tuple[Any, ...]:
    return case if isinstance(case, tuple) else (case,)
