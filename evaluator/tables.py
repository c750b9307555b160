"""A table as CSV, Parquet, Markdown or LaTeX: the one way in which everything here that is a table is exported."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluator import printable, text_table

Cell = str | int | float | bool | None
DIGITS = 3  # after the point, where a table is for people; CSV and Parquet are unrounded
SUFFIXES = (".csv", ".parquet", ".md", ".tex")
NEEDS_PYARROW = (
    "Parquet needs the package pyarrow, which the extra papers installs: pip install 'sdx23-kit[papers]', or from a "
    "checkout pip install '.[papers]'"
)


class TableError(Exception):
    """A table cannot be written; the message says why."""


@dataclass(frozen=True)
class Table:
    """Named columns, and a cell of each in every row; None is no value."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    digits: int = DIGITS

    def text(self) -> list[list[str]]:
        """Header and rows as they are shown, numbers rounded."""
        return [list(self.columns), *([self._shown(cell) for cell in row] for row in self.rows)]

    @property
    def left(self) -> tuple[int, ...]:
        """The columns of text, which go to the left: all whose cells are not numbers."""
        columns = range(len(self.columns))
        return tuple(at for at in columns if any(isinstance(row[at], str) for row in self.rows)) or (0,)

    def _shown(self, cell: Cell) -> str:
        if cell is None:
            return "-"
        return f"{cell:.{self.digits}f}" if isinstance(cell, float) else str(cell)


def of_records(
    records: Iterable[Mapping[str, Cell]], columns: Sequence[str] = (), digits: int = DIGITS
) -> Table:
    """A row for each record, a column for each key of any of them; those of `columns` first."""
    every = list(records)
    names = tuple(dict.fromkeys([*columns, *(key for record in every for key in record)]))
    return Table(names, tuple(tuple(record.get(name) for name in names) for record in every), digits)


def as_csv(table: Table) -> str:
    """Comma-separated values, unrounded, in which a spreadsheet computes nothing."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(map(printable.csv_cell, table.columns))
    writer.writerows([printable.csv_cell(cell) for cell in row] for row in table.rows)
    return stream.getvalue()


def as_markdown(table: Table) -> str:
    """In Markdown, rounded."""
    return text_table.markdown(table.text(), table.left)


def as_latex(table: Table) -> str:
    """A tabular for LaTeX with booktabs, rounded."""
    return text_table.latex(table.text(), table.left)


def write(table: Table, path: Path) -> None:
    """Write a file of the kind that its ending says; TableError for another, or without what it takes."""
    texts = {".csv": as_csv, ".md": as_markdown, ".tex": as_latex}
    if path.suffix in texts:
        path.write_text(texts[path.suffix](table), encoding="utf-8")
    elif path.suffix == ".parquet":
        write_parquet(table, path)
    else:
        raise TableError(f"{path}: expected a name that ends with {', '.join(SUFFIXES)}")


def require_pyarrow() -> None:
    """TableError where it is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise TableError(NEEDS_PYARROW) from None


def write_parquet(table: Table, path: Path) -> None:
    """Unrounded, each column of one kind; TableError without the package that it takes."""
    require_pyarrow()
    import pyarrow
    from pyarrow import parquet

    columns = {
        name: pyarrow.array(_of_one_kind([row[at] for row in table.rows]))
        for at, name in enumerate(table.columns)
    }
    parquet.write_table(pyarrow.table(columns), path)


def _of_one_kind(cells: Sequence[Cell]) -> list[Cell]:
    """A column of numbers, of yes and no, or else of text."""
    there = [cell for cell in cells if cell is not None]
    if all(isinstance(cell, bool) for cell in there):
        return list(cells)
    if all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in there):
        if all(isinstance(cell, int) for cell in there):
            return list(cells)
        return [None if cell is None else float(cell) for cell in cells]
    return [None if cell is None else str(cell) for cell in cells]
