"""A run as Markdown, for the summary of a CI job or a comment: verdict, scores, and what failed.

What tracks and submissions bring (names, reasons) may be anything. It stands in `<code>`, with every character that
Markdown or HTML knows as a reference, so that it is no table, link, mention, picture or tag.
"""

from collections.abc import Iterator, Sequence

from evaluator import printable, text_table
from evaluator.measures.catalogue import MEASURES
from evaluator.measures.means import MEAN
from evaluator.reporting import display
from evaluator.runs import baseline
from evaluator.runs.baseline import Check
from evaluator.runs.documents import SDR
from evaluator.runs.records import TrackResult
from evaluator.runs.results import Result

MOST_TRACKS = 200  # rows; failed tracks come first where there are more
REASON_CHARACTERS = 300
PLAIN = frozenset(" ,/")


def quoted(text: str, limit: int = REASON_CHARACTERS) -> str:
    """Text of others in a sentence or a cell of a table."""
    visible = printable.plain(text, limit)
    safe = (c if c.isalnum() or c in PLAIN or ord(c) > 127 else f"&#{ord(c)};" for c in visible)
    return f"<code>{''.join(safe)}</code>"


def document(result: Result, check: Check | None) -> str:
    """The Markdown of a run, which ends in a line end."""
    return "\n".join(_lines(result, check)) + "\n"


def _lines(result: Result, check: Check | None) -> Iterator[str]:
    icon = {"ok": "✅", "failed": "❌", "incomplete": "⏳"}[result.status]
    icon = "❌" if check is not None and not check.passed else icon
    yield f"## {icon} {quoted(result.name)}: {_score(result)}"
    yield ""
    yield quoted(display.verdict(result), 2000)
    for sentence in display.left_out(result.plan.data.left_out, result.plan.data.number):
        yield ""
        yield f"⚠️ {quoted(sentence, 2000)}"
    yield ""
    yield from _means(result)
    if check is not None:
        yield ""
        yield from _check(check)
    if result.failed:
        yield ""
        yield "### Tracks that failed"
        yield ""
        for track in result.failed[:MOST_TRACKS]:
            yield f"- {quoted(track.name)}: {track.status}, {quoted(track.why or 'no reason was given')}"
    yield ""
    yield from _tracks(result)


def _score(result: Result) -> str:
    """The score in words, with how many tracks it is of."""
    score, data = result.score(), result.plan.data
    every = data.number + len(data.left_out)
    fewer = f", of {data.number} of {every} tracks" if data.left_out else ""
    if score is None or score[MEAN] is None:
        return f"no score ({len(result.worked)} of {data.number} tracks worked{fewer})"
    return f"{text_table.db(score[MEAN])} dB{fewer}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'|'.join(['---'] * left + ['--:'] * (len(header) - left))}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _means(result: Result) -> Iterator[str]:
    """Every measure: the means over the tracks that worked."""
    columns = (MEAN, *result.stems)
    rows = []
    for name in result.plan.metrics:
        totals = result.totals(name)
        rows.append(
            [f"{name} ({MEASURES[name].words})", *(text_table.db(totals[column]) for column in columns)]
        )
    yield from _table(["measure", *columns], rows, left=1)


def _check(check: Check) -> Iterator[str]:
    text = baseline.describe(check)
    mark = "✅" if check.passed else "❌"
    yield f"{mark} {quoted(text.splitlines()[-1], 1000)}"
    yield ""
    yield "<details><summary>What moved</summary>"
    yield ""
    for line in filter(None, text.splitlines()[:-1]):
        yield f"{quoted(line)}<br>"
    yield ""
    yield "</details>"


def _tracks(result: Result) -> Iterator[str]:
    tracks = result.tracks
    if len(tracks) > MOST_TRACKS:
        tracks = (*result.failed, *result.worked)[:MOST_TRACKS]
    rows = [_row(track, result.stems) for track in tracks]
    yield f"<details><summary>{text_table.count(len(result.tracks), 'track')}</summary>"
    yield ""
    yield from _table(["track", "status", "seconds", "allowed", MEAN, *result.stems], rows, left=2)
    if len(result.tracks) > MOST_TRACKS:
        yield ""
        yield f"{len(result.tracks) - MOST_TRACKS} more are in the result."
    yield ""
    yield "</details>"


def _row(track: TrackResult, stems: Sequence[str]) -> list[str]:
    sdr = track.scores.get(SDR, {})
    return [
        quoted(track.name),
        "late" if track.late else track.status,
        "-" if track.seconds is None else f"{track.seconds:.1f}",
        "-" if track.limit_seconds is None else f"{track.limit_seconds:.1f}",
        text_table.db(track.mean(SDR)),
        *(text_table.db(sdr.get(stem)) for stem in stems),
    ]
