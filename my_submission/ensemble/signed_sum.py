"""Sums of named signals as people write them: `mixture - vocals`, `other + guitar + piano`."""

import re

_TERM = re.compile(r"\s*([+−-]?)\s*([A-Za-z_]\w*)\s*")


def parse_sum(text: str) -> list[tuple[str, int]] | None:
    """`mixture - drums + bass` as [("mixture", 1), ("drums", -1), ("bass", 1)]; None if the text is not a sum.

    The caller checks which names there are, and whether one may occur twice.
    """
    terms: list[tuple[str, int]] = []
    position = 0
    while position < len(text):
        match = _TERM.match(text, position)
        if match is None or (terms and not match[1]):
            return None
        terms.append((match[2], -1 if match[1] in ("-", "−") else 1))
        position = match.end()
    return terms or None
