"""Tables as text: columns as wide as their widest cell, in which everything is seen."""

from collections.abc import Collection, Sequence

from evaluator import printable

CELL_CHARACTERS = 200


def align(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> list[str]:
    """One line per row, all rows of equal length; columns `left` to the left, the others to the right."""
    rows = [[printable.plain(cell, CELL_CHARACTERS) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index in left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def db(value: float | None, digits: int = 3) -> str:
    """A score in dB, or "-" for none."""
    return "-" if value is None else f"{value:.{digits}f}"


def signed_db(value: float | None) -> str:
    """A difference of scores in dB, with its sign."""
    return "-" if value is None else f"{value:+.3f}"


def count(number: int, what: str) -> str:
    """ "1 track", "2 tracks"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
