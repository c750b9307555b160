"""The leaderboard for people and programs: text, CSV, JSON, HTML."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from evaluator import printable, tables, text_table
from evaluator.locations import command
from evaluator.measures.catalogue import MEASURES
from evaluator.measures.means import MEAN
from evaluator.reporting import pages, run_words
from evaluator.runs import likeness, run_scores
from evaluator.runs.documents import SDR
from evaluator.runs.entries import Entry, Group
from evaluator.runs.passing import would_pass
from evaluator.runs.published import PublishedRow, PublishedSet
from evaluator.tables import Cell

NOTE_CHARACTERS = 60  # of a note, and of a reason, in the terminal's table; elsewhere there is all of it
WHY_CHARACTERS = 120
NAMED_EQUALS = 2  # of the runs of the same submission


@dataclass(frozen=True)
class Board:
    """What is shown: groups of runs on the same data, and published sets, sorted by the stem `sort`.

    reports: {id: where the run's page is, as a link}. left_out: how many runs were recorded and not asked for.
    """

    groups: tuple[Group, ...]
    published: tuple[PublishedSet, ...]
    sort: str
    reports: Mapping[str, str] = field(default_factory=dict)
    left_out: int = 0

    @property
    def nothing(self) -> str:
        """What stands in place of the runs where there are none."""
        if not self.left_out:
            return f"No run recorded yet: `{command('eval')}` records every run."
        return (
            f"No run to list: the options leave out {text_table.count(self.left_out, 'run')}; interrupted ones are "
            "listed with --all."
        )


@dataclass(frozen=True)
class Row:
    """A run on the board; `place` is None without a score. interval: 95 %, of the score by which the board is sorted.

    equals: the runs of the group that are of its submission, itself among them; none where it is alone.
    """

    place: int | None
    entry: Entry
    interval: tuple[float, float] | None
    equals: tuple[Entry, ...]
    report: str | None

    @property
    def why(self) -> str:
        """What went wrong in it; empty where nothing did."""
        return run_words.why(self.entry.result)

    @property
    def equals_words(self) -> str:
        """ "= 0123abcd", for the first other runs of the same submission."""
        others = [other.short_id for other in self.equals[: NAMED_EQUALS + 1] if other.id != self.entry.id]
        more = len(self.equals) - 1 - NAMED_EQUALS
        words = [f"= {other}" for other in others[:NAMED_EQUALS]] + ([f"and {more} more"] if more > 0 else [])
        return " ".join(words)


def rows_of(board: Board, group: Group) -> list[Row]:
    """The rows of a group, ranked ones first."""
    places = {entry.id: place for place, entry in enumerate(group.ranked, 1)}
    every = (*group.ranked, *group.unranked)
    equals = likeness.equals(every)
    return [
        Row(
            places.get(entry.id),
            entry,
            run_scores.interval(entry.result, board.sort) if entry.id in places else None,
            equals.get(entry.id, ()),
            board.reports.get(entry.id),
        )
        for entry in every
    ]


def _intervals(row: Row) -> dict[str, list[float]]:
    """{stem or "mean": 95 %} of a run that has a score, with enough tracks."""
    result = row.entry.result
    columns = (MEAN, *result.stems) if row.place is not None else ()
    found = {column: run_scores.interval(result, column) for column in columns}
    return {column: list(interval) for column, interval in found.items() if interval is not None}


# Text


def text(board: Board) -> str:
    """Tables for the terminal."""
    parts = [_group_text(board, group) for group in board.groups]
    if not parts and not board.published:
        parts = [board.nothing]
    if board.published:
        parts.append("Published scores: each set has its own data, so do not compare it with runs.")
        parts += [_published_text(found, board.sort) for found in board.published]
    return "\n\n".join(parts)


def _group_text(board: Board, group: Group) -> str:
    rows, stems = rows_of(board, group), group.newest.result.stems
    columns = _columns(stems)
    shown = {
        name: [cell(row) for row in rows]
        for name, (cell, always) in columns.items()
        if always or any(cell(row) not in ("", "-") for row in rows)
    }
    header = list(shown)
    lines = [list(cells) for cells in zip(*shown.values(), strict=True)]
    left = {"run", "name", "preset", "commit", "when", "would pass", "tags", "note", "same submission", "why"}
    heading = f"{title(group)}; SDR in {MEASURES[SDR].words}"
    places = [at for at, name in enumerate(header) if name in left]
    return "\n".join([heading, *text_table.align([header, *lines], left=places)])


def _columns(stems: Sequence[str]) -> dict[str, tuple[Callable[[Row], str], bool]]:
    """The columns of the terminal's table: what is in a cell, and whether it is there where no row has anything."""

    def score(stem: str) -> Callable[[Row], str]:
        return lambda row: text_table.db(row.entry.score(stem))

    return {
        "#": (lambda row: str(row.place or "-"), True),
        MEAN: (score(MEAN), True),
        "95 %": (lambda row: run_words.interval_words(row.interval), False),
        **{stem: (score(stem), True) for stem in stems},
        "name": (lambda row: row.entry.result.name, True),
        "tags": (lambda row: ", ".join(row.entry.result.label.tags), False),
        "run": (lambda row: row.entry.short_id, True),
        "preset": (lambda row: _preset_beside_name(row), False),
        "commit": (lambda row: run_words.commit(row.entry.result), True),
        "when": (lambda row: row.entry.result.start[:16].replace("T", " "), True),
        "RTF": (lambda row: "-" if row.entry.result.rtf is None else f"{row.entry.result.rtf:.2f}", True),
        "would pass": (lambda row: run_words.passing_words(row.entry), True),
        "same submission": (lambda row: row.equals_words, False),
        "note": (lambda row: printable.plain(row.entry.result.label.note or "", NOTE_CHARACTERS), False),
        "why": (lambda row: printable.plain(row.why, WHY_CHARACTERS), False),
    }


def _preset_beside_name(row: Row) -> str:
    """What ran, where the run is not called so."""
    result = row.entry.result
    return result.what_ran if result.label.name is not None else ""


def title(group: Group) -> str:
    """Which data a group's runs were made on."""
    tracks = run_words.tracks_words(group.newest.result.plan.data)
    return f"{group.challenge}, {group.newest.data_name}: {tracks}, data {group.data_hash[:12]}"


def sorted_rows(found: PublishedSet, stem: str) -> list[PublishedRow]:
    """The rows of a published set by the score of `stem`, best first, those without it last."""
    return sorted(found.rows, key=lambda row: -row.scores.get(stem, float("-inf")))


def published_columns(found: PublishedSet) -> list[str]:
    """The scores a published set has."""
    return [name for name in (MEAN, *found.stems) if any(name in row.scores for row in found.rows)]


def _published_text(found: PublishedSet, stem: str) -> str:
    columns = published_columns(found)
    rows = [
        [row.name, *(text_table.db(row.scores.get(name), found.digits) for name in columns)]
        for row in sorted_rows(found, stem)
    ]
    heading = f"{found.name} ({found.challenge}): {found.data}; {found.measure}; {found.source}"
    return "\n".join([heading, *text_table.align([["published", *columns], *rows])])


# Records


def records(board: Board) -> list[dict[str, Any]]:
    """One flat record per row: `kind` is "run" or "published"; `rank` is None for runs without a score."""
    found = [_record(row) for group in board.groups for row in rows_of(board, group)]
    for data in board.published:
        for row in sorted_rows(data, board.sort):
            scores = {name: row.scores.get(name) for name in published_columns(data)}
            found.append(
                {
                    "kind": "published",
                    "track": data.challenge,
                    "data": data.name,
                    "name": row.name,
                    "scores": scores,
                    "measure": data.measure,
                    "source": f"{data.source}; {data.data}",
                }
            )
    return found


def _record(row: Row) -> dict[str, Any]:
    entry = row.entry
    result, plan, submission = entry.result, entry.result.plan, entry.result.plan.submission
    return {
        "kind": "run",
        "track": plan.challenge,
        "data": entry.data_name,
        "data_hash": entry.data_hash,
        "data_tracks": plan.data.number,
        "data_only": plan.data.only,
        "rank": row.place,
        "run": entry.id,
        "name": result.name,
        "note": result.label.note,
        "tags": list(result.label.tags),
        "status": result.status,
        "why": row.why or None,
        "would_pass": would_pass(result),
        "submission": likeness.submission_key(result),
        "measure": SDR,
        **_unit_and_direction(SDR),
        "scores": {stem: entry.score(stem) for stem in (MEAN, *result.stems)},
        "intervals": _intervals(row),
        "other_measures": {
            name: {**_unit_and_direction(name), **result.totals(name)} for name in plan.metrics if name != SDR
        },
        "rtf": result.rtf,
        "start": result.start,
        "duration_seconds": result.duration_seconds,
        "recorded": entry.recorded,
        "withdrawn": None if entry.withdrawal is None else asdict(entry.withdrawal),
        "preset": result.preset,
        "commit": None if submission is None else submission.commit,
        "dirty": None if submission is None else submission.dirty,
        "files_sha256": None if submission is None else submission.files_sha256,
        "predictions": None if plan.predictions is None else asdict(plan.predictions),
        "weights": result.weights,
        "limits": asdict(plan.limits),
        "runner": plan.runner,
        "jobs": plan.jobs,
        "machine": result.machine,
        "versions": result.versions,
        "folder": entry.folder,
    }


def _unit_and_direction(measure: str) -> dict[str, str]:
    return {"unit": MEASURES[measure].unit, "better": MEASURES[measure].better}


def as_json(board: Board) -> str:
    """The records as a JSON array."""
    return printable.json_text(records(board))


def as_csv(board: Board) -> str:
    """The records as CSV, one column per stem of any of them; what is not a number or text is JSON."""
    flat = [
        {
            key: _cell(value)
            for key, value in ({**record, "scores": None} | record["scores"]).items()
            if key != "scores"
        }
        for record in records(board)
    ]
    return tables.as_csv(tables.of_records(flat)).rstrip("\n")


def _cell(value: Any) -> Cell:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping | list | bool) else value


# Page


def as_html(board: Board) -> str:
    """The board as a self-contained page."""
    groups = [(title(group), group.newest.result.stems, rows_of(board, group)) for group in board.groups]
    return pages.render(
        "leaderboard.html.j2",
        sdr=MEASURES[SDR],
        board=board,
        groups=groups,
        number=sum(len(rows) for _, _, rows in groups),
        published=[
            (found, published_columns(found), sorted_rows(found, board.sort)) for found in board.published
        ],
        words=run_words,
        would_pass=would_pass,
    )


FORMS: Mapping[str, Callable[[Board], str]] = {"text": text, "csv": as_csv, "json": as_json, "html": as_html}
