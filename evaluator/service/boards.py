"""Boards: the entries of a benchmark by one measure, as far as somebody may see them, ranked by what is shown.

Everything here is computed from means that are already rounded to two decimals: the order, too, so that it tells no
more than the numbers do. Equal numbers share a place.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from evaluator import printable, tables, text_table
from evaluator.measures.catalogue import MEASURES
from evaluator.measures.means import MEAN
from evaluator.runs.published import PublishedSet
from evaluator.service import benchmarks, entries, intervals, references
from evaluator.service.accounts import Caller
from evaluator.service.errors import Refused
from evaluator.service.tables import DONE, PRIVATE, WITHDRAWN, Benchmark, Entry, MeanScore, TrackScore


@dataclass(frozen=True)
class Filter:
    """Which rows are shown: text in name, author or method; no ensembles; the best of each account or team alone."""

    text: str = ""
    single: bool = False
    best: bool = False

    def passes(self, row: "Row") -> bool:
        """Whether a row is shown, but for `best`."""
        there = f"{row.name}\n{row.author}\n{row.method}".casefold()
        return self.text.casefold() in there and not (self.single and row.is_ensemble)


@dataclass(frozen=True)
class Row:
    """One entry; scores are {stem or "mean": value}, by one measure. place: None for one that only you see."""

    place: int | None
    entry: int
    name: str
    author: str
    method: str
    is_ensemble: bool
    training_data: str
    scored: float
    scores: Mapping[str, float | None]
    interval: tuple[float, float] | None = None  # 95 %, of the score by which the board is ranked
    group: int | None = None  # rows of one group cannot be told apart from the first of it


@dataclass(frozen=True)
class Board:
    """A benchmark by one measure, best by `stem` first.

    withdrawn: the numbers of what was taken back. published: what others scored on other data, for reference.
    """

    benchmark: str
    measure: str
    stem: str
    part: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    withdrawn: tuple[int, ...]
    published: tuple[PublishedSet, ...] = ()


def board(
    session: Session,
    benchmark: Benchmark,
    caller: Caller | None,
    now: float,
    measure: str = "",
    stem: str = "",
    part: str = "",
    wanted: Filter = Filter(),
    known: intervals.Known | None = None,
) -> Board:
    """The board as the caller may see it; by default of the first measure, by the mean, of the part that counts.

    Places are those among all rows, whichever of them are wanted; with `wanted.best`, those among the best. known:
    where intervals and groups are wanted, too.
    """
    measure = _one_of("measure", measure, benchmark.measures)
    columns = (MEAN, *benchmark.stems)
    stem = _one_of("stem", stem, columns)
    part = _one_of("part", part, benchmarks.shown_parts(benchmark, now))
    visible = Entry.visibility != PRIVATE
    if caller is not None:
        visible = or_(visible, Entry.account_id == caller.account)
    found = session.scalars(
        select(Entry).where(Entry.benchmark_id == benchmark.id, Entry.state == DONE, visible)
    ).all()
    scores = _means(session, benchmark, measure, part)
    shown = [entry for entry in found if entries.scores_visible(entry, caller)]
    if wanted.best:
        shown = _best_of_each(shown, scores, measure, stem, now)
    rows = _ranked(shown, scores, measure, stem, caller, now)
    if known is not None:
        ranked = {
            row.entry: (row.scored, *sorted(row.scores.items())) for row in rows if row.place is not None
        }
        sure = intervals.of_ranked(session, known, benchmark, measure, stem, part, ranked, now)
        rows = tuple(
            replace(row, interval=sure.intervals.get(row.entry), group=sure.groups.get(row.entry))
            for row in rows
        )
    rows = tuple(filter(wanted.passes, rows))
    gone = session.scalars(
        select(Entry.id)
        .where(Entry.benchmark_id == benchmark.id, Entry.state == WITHDRAWN, Entry.visibility != PRIVATE)
        .order_by(Entry.id)
    )
    beside = references.shown(benchmark.published_sets, stem)
    return Board(benchmark.name, measure, stem, part, columns, rows, tuple(gone), beside)


def _one_of(what: str, found: str, allowed: Sequence[str]) -> str:
    if not found:
        return allowed[0]
    if found not in allowed:
        raise Refused(f"{what}: found {printable.plain(found, 60)}, expected one of {', '.join(allowed)}")
    return found


def _means(
    session: Session, benchmark: Benchmark, measure: str, part: str
) -> dict[int, dict[str, float | None]]:
    query = (
        select(MeanScore)
        .join(Entry, Entry.id == MeanScore.entry_id)
        .where(Entry.benchmark_id == benchmark.id, MeanScore.measure == measure, MeanScore.part == part)
    )
    scores: dict[int, dict[str, float | None]] = {}
    for mean in session.scalars(query):
        scores.setdefault(mean.entry_id, {})[mean.stem] = mean.value
    return scores


Means = Mapping[int, Mapping[str, float | None]]
"""{entry: {stem: value}}, of one measure."""


def _order(scores: Means, measure: str, stem: str) -> Callable[[Entry], tuple[bool, float, int]]:
    """What to sort entries by: the best first, those without this score last, then the older first."""
    sign = -1.0 if MEASURES[measure].higher_is_better else 1.0

    def key(entry: Entry) -> tuple[bool, float, int]:
        value = scores.get(entry.id, {}).get(stem)
        return value is None, sign * (value or 0.0), entry.id

    return key


def _best_of_each(found: Sequence[Entry], scores: Means, measure: str, stem: str, now: float) -> list[Entry]:
    """The best entry of each account or team of those with a name; others stay, else one would see whose they are."""
    seen: set[tuple[int, str | None]] = set()
    kept = []
    for entry in sorted(found, key=_order(scores, measure, stem)):
        is_named = entries.is_named(entry, now)
        if not is_named or (entry.account_id, entry.team) not in seen:
            kept.append(entry)
        if is_named:
            seen.add((entry.account_id, entry.team))
    return kept


def _ranked(
    found: Sequence[Entry],
    scores: Means,
    measure: str,
    stem: str,
    caller: Caller | None,
    now: float,
) -> tuple[Row, ...]:
    """Rows in order; those without this score last, and those that others do not see without a place."""
    rows: list[Row] = []
    counted, place, before = 0, 0, None
    for entry in sorted(found, key=_order(scores, measure, stem)):
        value = scores.get(entry.id, {}).get(stem)
        is_ranked = entry.visibility != PRIVATE and value is not None
        if is_ranked:
            counted += 1
            place, before = (place, before) if value == before else (counted, value)
        rows.append(
            Row(
                place if is_ranked else None,
                entry.id,
                entry.name,
                entries.author(entry, caller, now),
                entry.method,
                entry.is_ensemble,
                entry.training_data,
                entry.scored or entry.created,
                scores.get(entry.id, {}),
            )
        )
    return tuple(rows)


def means_of(session: Session, entry: Entry, part: str) -> dict[str, dict[str, float | None]]:
    """{measure: {stem or "mean": value}} of an entry in one part."""
    found: dict[str, dict[str, float | None]] = {name: {} for name in entry.benchmark.measures}
    for mean in session.scalars(
        select(MeanScore).where(MeanScore.entry_id == entry.id, MeanScore.part == part)
    ):
        found.setdefault(mean.measure, {})[mean.stem] = mean.value
    return found


def tracks_of(session: Session, entry: Entry, measure: str, part: str) -> dict[str, dict[str, float | None]]:
    """{track: {stem: value}} of an entry of an open benchmark; Refused for a hidden one."""
    if not entry.benchmark.is_open:
        raise Refused(
            f"The references of {entry.benchmark.name} are hidden, so are the scores of its tracks.", 403
        )
    names = {track["name"] for track in entry.benchmark.tracks if track["part"] == part}
    found: dict[str, dict[str, float | None]] = {}
    query = select(TrackScore).where(TrackScore.entry_id == entry.id, TrackScore.measure == measure)
    for score in session.scalars(query.order_by(TrackScore.id)):
        if score.track in names:
            found.setdefault(score.track, {})[score.stem] = score.value
    return found


def records(shown: Board) -> list[dict[str, Any]]:
    """One flat record for each row."""
    return [
        {
            "place": row.place,
            "entry": row.entry,
            "name": row.name,
            "author": row.author,
            "method": row.method,
            "ensemble": row.is_ensemble,
            "training_data": row.training_data,
            "scores": {column: row.scores.get(column) for column in shown.columns},
            "interval": row.interval,
            "group": row.group,
        }
        for row in shown.rows
    ]


def as_csv(shown: Board) -> str:
    """The board as a table that a spreadsheet shows as it stands.

    Published scores have columns of their own, since they are by other measures on other data.
    """
    header = ("place", "entry", "name", "author", "method", "ensemble", "training_data")
    scores = [f"{shown.measure} {column}" for column in shown.columns]
    own = [
        {key: record[key] for key in header}
        | dict(zip(scores, map(_digits, record["scores"].values()), strict=True))
        for record in records(shown)
    ]
    return tables.as_csv(tables.of_records([*own, *references.cells(shown.published)], (*header, *scores)))


def as_latex(shown: Board) -> str:
    """The board as a table for LaTeX, with booktabs; below it, one table for each set of published scores."""
    rows = [["", "Entry", "Author", *shown.columns]]
    for row in shown.rows:
        scores = [_digits(row.scores.get(column)) or "--" for column in shown.columns]
        rows.append([str(row.place or "--"), row.name, row.author, *scores])
    words = text_table.latex_text(f"{shown.benchmark}, {shown.measure} in {MEASURES[shown.measure].words}")
    own = f"% {words}\n{text_table.latex(rows, left=(1, 2))}"
    return "\n".join([own, *map(references.as_latex, shown.published)])


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
