"""Tables as text, Markdown and LaTeX, in which everything is seen and nothing in a cell acts as markup."""

import re
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


def ruled(rows: Sequence[Sequence[str]]) -> str:
    """For a terminal: the first row is the header, with a line below it; numbers to the right."""
    header, *lines = align(rows)
    return "\n".join([header, "-" * max(map(len, [header, *lines])), *lines])


def markdown(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> str:
    """In Markdown; the first row is the header. Columns as for `align`."""
    header, *lines = [list(map(_markdown, cells)) for cells in rows]
    rule = ["---" if column in left else "---:" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *lines)) + "\n"


def latex(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> str:
    """A tabular with the rules of the package booktabs; the first row is the header. Columns as for `align`."""
    header, *lines = [_guarded(" & ".join(map(_latex, cells))) + r" \\" for cells in rows]
    sides = "".join("l" if column in left else "r" for column in range(len(rows[0])))
    opening = rf"\begin{{tabular}}{{{sides}}}"
    return "\n".join(
        [opening, r"\toprule", header, r"\midrule", *lines, r"\bottomrule", r"\end{tabular}", ""]
    )


def _markdown(cell: str) -> str:
    return re.sub(r"([\\`*\[\]|<>&])", r"\\\1", printable.plain(cell))


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "±": r"$\pm$",
    "−": "$-$",
}


def latex_text(text: str) -> str:
    """One line of text in which no sign acts."""
    return "".join(
        _LATEX.get(sign, rf"\{sign}" if sign in "&%$#_{}" else sign) for sign in printable.plain(text)
    )


def _guarded(line: str) -> str:
    """A row that the end of the row above does not take for an argument of its own."""
    return f"{{}}{line}" if line.startswith(("[", "*")) else line


def _latex(cell: str) -> str:
    return f"${cell}$" if re.fullmatch(r"[-+]\d+\.\d+", cell) else latex_text(cell)


def db(value: float | None, digits: int = 3) -> str:
    """A score in dB, or "-" for none."""
    return "-" if value is None else f"{value:.{digits}f}"


def signed_db(value: float | None) -> str:
    """A difference of scores in dB, with its sign."""
    return "-" if value is None else f"{value:+.3f}"


def count(number: int, what: str) -> str:
    """ "1 track", "2 tracks"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
