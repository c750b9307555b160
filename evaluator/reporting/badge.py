"""A run's score as a badge: the JSON that shields.io and its likes read from an address, or a picture (SVG)."""

import json
from dataclasses import dataclass
from xml.sax.saxutils import escape

from evaluator import text_table
from evaluator.measures.means import MEAN
from evaluator.runs.results import Result

COLOURS = {"brightgreen": "#2e7d32", "yellow": "#8a6100", "red": "#b3261e", "lightgrey": "#5f6368"}
"""The names that shields.io knows, and what the picture has for them: white text on each is read well."""
SUFFIXES = (".json", ".svg")
CHARACTER_WIDTHS = {
    **dict.fromkeys("ijl.,:|' ", 4),
    **dict.fromkeys("fIrt()-", 5),
    **dict.fromkeys("mwMW", 10),
}
USUAL_WIDTH = 7  # of a character, at 11 pixels
PADDING, HEIGHT = 6, 20


@dataclass(frozen=True)
class Badge:
    """What stands on it."""

    label: str
    message: str
    colour: str


def of_result(result: Result, regressed: bool = False) -> Badge:
    """The score; red where a track failed or a baseline was missed, yellow where it is of fewer tracks."""
    score, data = result.score(), result.plan.data
    label = f"SDR {result.plan.challenge}"
    if score is None or score[MEAN] is None:
        colour = "lightgrey" if result.status == "incomplete" else "red"
        return Badge(label, f"{len(result.worked)} of {data.number} tracks", colour)
    message = f"{text_table.db(score[MEAN])} dB"
    if data.left_out:
        message += f" ({data.number} of {data.number + len(data.left_out)} tracks)"
    colour = "red" if regressed else "yellow" if data.left_out else "brightgreen"
    return Badge(label, message, colour)


def as_json(badge: Badge) -> str:
    """What shields.io calls an endpoint."""
    said = {"schemaVersion": 1, "label": badge.label, "message": badge.message, "color": badge.colour}
    return json.dumps({**said, "isError": badge.colour == "red"}, ensure_ascii=False) + "\n"


def as_svg(badge: Badge) -> str:
    """The same as a picture, which needs no font and no server of others."""
    left, right = _width(badge.label), _width(badge.message)
    label, message = escape(badge.label), escape(badge.message)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{HEIGHT}" role="img"'
        f' aria-labelledby="t"><title id="t">{label}: {message}</title>'
        f'<clipPath id="c"><rect width="{left + right}" height="{HEIGHT}" rx="3"/></clipPath><g clip-path="url(#c)">'
        f'<rect width="{left}" height="{HEIGHT}" fill="#3c4043"/>'
        f'<rect x="{left}" width="{right}" height="{HEIGHT}" fill="{COLOURS[badge.colour]}"/></g>'
        f'<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">'
        f'<text x="{left / 2:g}" y="14">{label}</text>'
        f'<text x="{left + right / 2:g}" y="14">{message}</text></g></svg>\n'
    )


def _width(text: str) -> int:
    return 2 * PADDING + sum(CHARACTER_WIDTHS.get(character, USUAL_WIDTH) for character in text)
