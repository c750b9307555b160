"""Rows of reference: scores that others published, which an organiser has shown below a board.

They are from other data, or by another way of computing it, so they have no place, and no column of the board's.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from evaluator import printable, text_table
from evaluator.reporting.leaderboard_view import published_columns, sorted_rows
from evaluator.runs import published
from evaluator.runs.published import PublishedRow, PublishedSet
from evaluator.service.errors import SetupError
from evaluator.tables import Cell


def require_known(names: Sequence[str]) -> None:
    """SetupError for a name that no set of published scores has, or that is there twice."""
    known = [found.name for found in published.load()]
    for place, name in enumerate(names):
        if name not in known:
            raise SetupError(
                f"reference: found {printable.plain(name, 60)}, expected one of {', '.join(sorted(known))}"
            )
        if name in names[:place]:
            raise SetupError(f"reference: found {name} twice; name it once")


def require_fitting(names: Sequence[str], stems: Collection[str]) -> None:
    """SetupError for a set without a score of any of the stems, which says nothing about such a benchmark."""
    for found in find(names):
        if not set(stems) & set(found.stems):
            raise SetupError(
                f"reference: {found.name} has scores of {', '.join(found.stems)}; expected some of"
                f" {', '.join(stems)}, which the benchmark has"
            )


def find(names: Collection[str]) -> list[PublishedSet]:
    """The sets of these names, in the order of the names; without those that this version of the kit has not."""
    known = {found.name: found for found in published.load()}
    return [known[name] for name in names if name in known]


def shown(names: Collection[str], stem: str) -> tuple[PublishedSet, ...]:
    """The sets of these names, each with its best row by `stem` first, and rows without such a score last."""
    return tuple(replace(found, rows=tuple(sorted_rows(found, stem))) for found in find(names))


def records(sets: Sequence[PublishedSet]) -> list[dict[str, Any]]:
    """The sets as JSON, each with its data, its measure and who published it."""
    return [
        {
            "set": found.name,
            "data": found.data,
            "measure": found.measure,
            "source": found.source,
            "rows": [
                {
                    "name": row.name,
                    "scores": {column: row.scores.get(column) for column in published_columns(found)},
                }
                for row in found.rows
            ],
        }
        for found in sets
    ]


def as_latex(found: PublishedSet) -> str:
    """A set as a table for LaTeX of its own, after a comment with its data, its measure and who published it."""
    columns = published_columns(found)
    rows = [["Published", *columns]]
    for row in found.rows:
        rows.append([row.name, *(_digits(row.scores.get(name), found.digits) for name in columns)])
    words = text_table.latex_text(f"{found.name}: {found.data}; {found.measure}; {found.source}")
    return f"% {words}\n{text_table.latex(rows)}"


def _digits(value: float | None, digits: int) -> str:
    return "--" if value is None else f"{value:.{digits}f}"


def cells(sets: Sequence[PublishedSet]) -> list[dict[str, Cell]]:
    """The rows as cells of a table, by the columns' names."""
    return [_cells(found, row) for found in sets for row in found.rows]


def _cells(found: PublishedSet, row: PublishedRow) -> dict[str, Cell]:
    said = {
        "published set": found.name,
        "published data": found.data,
        "published measure": found.measure,
        "published source": found.source,
    }
    scores = {f"published {column}": row.scores.get(column) for column in published_columns(found)}
    return {"name": row.name, **said, **scores}
