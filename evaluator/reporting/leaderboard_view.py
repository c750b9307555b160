"""The leaderboard for people and programs: text, CSV, JSON, HTML, and one run in full."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evaluator import printable, text_table
from evaluator.isolation.sandbox import Limits
from evaluator.measures.catalogue import MEASURES
from evaluator.measures.means import MEAN
from evaluator.reporting import pages
from evaluator.runs import reproduction
from evaluator.runs.documents import SDR
from evaluator.runs.entries import Entry, Group
from evaluator.runs.passing import would_pass
from evaluator.runs.published import PublishedRow, PublishedSet
from evaluator.runs.records import DataInfo
from evaluator.runs.results import Result


@dataclass(frozen=True)
class Board:
    """What is shown: groups of runs on the same data, and published sets, sorted by the stem `sort`."""

    groups: tuple[Group, ...]
    published: tuple[PublishedSet, ...]
    sort: str


def text(board: Board) -> str:
    """Tables for the terminal."""
    parts = [_group_text(group) for group in board.groups]
    if not parts:
        parts = ["No run recorded yet: run_eval.py records every run."]
    if board.published:
        parts.append("Published scores: each set has its own data, so do not compare it with the runs above.")
        parts += [_published_text(found, board.sort) for found in board.published]
    return "\n\n".join(parts)


def _group_text(group: Group) -> str:
    stems = group.newest.result.stems
    heading = f"{title(group)}; SDR in {MEASURES[SDR].words}"
    header = ["#", "run", "preset", "commit", "when", MEAN, *stems, "RTF", "would pass"]
    rows = [_row(str(place), entry, stems) for place, entry in enumerate(group.ranked, 1)]
    rows += [_row("-", entry, stems) for entry in group.unranked]
    return "\n".join([heading, *text_table.align([header, *rows], left=(1, 2, 3, 4))])


def title(group: Group) -> str:
    """Which data a group's runs were made on."""
    tracks = tracks_words(group.newest.result.plan.data)
    return f"{group.challenge}, {group.newest.data_name}: {tracks}, data {group.data_hash[:12]}"


def tracks_words(data: DataInfo) -> str:
    """How many tracks of a data set were used, and which ones."""
    number = text_table.count(data.number, "track")
    return number if data.only is None else f"{number} (--only {data.only})"


def _row(place: str, entry: Entry, stems: Sequence[str]) -> list[str]:
    result = entry.result
    scores = [text_table.db(entry.score(stem)) for stem in (MEAN, *stems)]
    return [
        place,
        entry.short_id,
        result.name,
        commit(result),
        result.start[:16].replace("T", " "),
        *scores,
        "-" if result.rtf is None else f"{result.rtf:.2f}",
        passing_words(entry),
    ]


def passing_words(entry: Entry) -> str:
    """Whether a run would have passed, with what went wrong; or that it was withdrawn."""
    if entry.withdrawal is not None:
        return entry.withdrawal.words
    passing, failed = would_pass(entry.result), failures(entry.result)
    if entry.result.plan.submission is None:
        return failed or "-"
    return f"{passing}: {failed}" if failed else passing


def failures(result: Result) -> str:
    """How many tracks of a run went wrong in which way: "2 of 15 timeout"; empty where none did."""
    number = result.plan.data.number
    statuses = ["late" if track.late else track.status for track in result.tracks]
    statuses = [status for status in statuses if status != "ok"]
    counts = [f"{statuses.count(status)} of {number} {status}" for status in dict.fromkeys(statuses)]
    if len(result.tracks) < number:
        counts.append(f"{number - len(result.tracks)} of {number} not run")
    return ", ".join(counts)


def commit(result: Result) -> str:
    """The submission's commit, shortened; "+" stands for uncommitted changes."""
    submission = result.plan.submission
    if submission is None or submission.commit is None:
        return "-"
    return submission.commit[:8] + ("+" if submission.dirty else "")


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


def records(board: Board) -> list[dict[str, Any]]:
    """One flat record per row: `kind` is "run" or "published"; `rank` is None for runs without a score."""
    found: list[dict[str, Any]] = []
    for group in board.groups:
        places = {entry.id: place for place, entry in enumerate(group.ranked, 1)}
        found += [_record(entry, places.get(entry.id)) for entry in (*group.ranked, *group.unranked)]
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


def _record(entry: Entry, place: int | None) -> dict[str, Any]:
    result, plan, submission = entry.result, entry.result.plan, entry.result.plan.submission
    return {
        "kind": "run",
        "track": plan.challenge,
        "data": entry.data_name,
        "data_hash": entry.data_hash,
        "data_tracks": plan.data.number,
        "data_only": plan.data.only,
        "rank": place,
        "run": entry.id,
        "name": result.name,
        "status": result.status,
        "would_pass": would_pass(result),
        "measure": SDR,
        **_unit_and_direction(SDR),
        "scores": {stem: entry.score(stem) for stem in (MEAN, *result.stems)},
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
        {**{key: value for key, value in record.items() if key != "scores"}, **record["scores"]}
        for record in records(board)
    ]
    columns = list(dict.fromkeys(key for record in flat for key in record))
    output = io.StringIO()
    writer = csv.DictWriter(output, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in record.items()} for record in flat)
    return output.getvalue().rstrip("\n")


def _cell(value: object) -> object:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping | list | bool) else value
    return printable.csv_cell(text)


def as_html(board: Board) -> str:
    """The board as a self-contained page."""
    return pages.render(
        "leaderboard.html.j2",
        sdr=MEASURES[SDR],
        board=board,
        groups=[(group, title(group), group.newest.result.stems) for group in board.groups],
        published=[
            (found, published_columns(found), sorted_rows(found, board.sort)) for found in board.published
        ],
        commit=commit,
        passing_words=passing_words,
        would_pass=would_pass,
    )


FORMS: Mapping[str, Callable[[Board], str]] = {"text": text, "csv": as_csv, "json": as_json, "html": as_html}


def detail(entry: Entry) -> str:
    """One run: its scores, all that it was made with, and how to repeat it."""
    facts = _facts(entry)
    width = max(len(name) for name, _ in facts)
    lines = [f"{name.ljust(width)}  {printable.plain(value)}" for name, value in facts]
    commands = reproduction.commands(entry.result)
    return "\n".join([*lines, "", "To repeat it:", *(f"  {printable.lines(line)}" for line in commands)])


def _facts(entry: Entry) -> list[tuple[str, str]]:
    result, plan = entry.result, entry.result.plan
    submission = plan.submission
    failed = failures(result)
    gaps = () if result.isolation is None else result.isolation.not_in_force
    withdrawn = () if entry.withdrawal is None else (("withdrawn", entry.withdrawal.words),)
    return [
        ("run", entry.id),
        *withdrawn,
        ("made", f"{result.start}, {result.duration_seconds:.0f} s"),
        ("data", f"{plan.challenge}, {plan.data.path}, {tracks_words(plan.data)}"),
        ("data hash", entry.data_hash),
        ("status", f"{result.status} ({failed})" if failed else result.status),
        *(() if submission is None else (("would pass", would_pass(result)),)),
        *((stem, f"{text_table.db(entry.score(stem))} dB") for stem in (MEAN, *result.stems)),
        *((name, _measured(result, name)) for name in plan.metrics if name != SDR),
        ("RTF", "-" if result.rtf is None else f"{result.rtf:.3f}"),
        *made_by(result),
        *(
            ()
            if submission is None
            else (
                ("limits", ", ".join(limits_words(plan.limits))),
                ("tracks at a time", str(plan.jobs)),
                ("not in force", "; ".join(gaps) or "-"),
            )
        ),
        ("machine", ", ".join(machine_words(result.machine))),
        ("versions", ", ".join(f"{key} {value}" for key, value in result.versions.items())),
        ("folder", entry.folder or "on another machine"),
    ]


def _measured(result: Result, measure: str) -> str:
    """The means of another measure than SDR in words."""
    found = ", ".join(f"{stem} {text_table.db(value)}" for stem, value in result.totals(measure).items())
    return f"{found} ({MEASURES[measure].words})"


def made_by(result: Result) -> list[tuple[str, str]]:
    """What made the estimates, as names and values: a submission, or nobody knows who."""
    submission, given = result.plan.submission, result.plan.predictions
    if submission is None:
        assert given is not None
        return [("estimates", given.path), ("files", f"SHA-256 {given.files_sha256}")]
    changed = " with uncommitted changes" if submission.dirty else ""
    return [
        ("preset", str(result.preset or "-")),
        ("commit", (submission.commit or "-") + changed),
        ("files", f"SHA-256 {submission.files_sha256}"),
        *(("weights", line) for line in weights_lines(result)),
    ]


def weights_lines(result: Result) -> list[str]:
    """The weights a run was made with, one line per file."""
    weights = result.weights
    return [_weights_line(item) for item in weights] if isinstance(weights, list) else []


def _weights_line(item: object) -> str:
    """What a submission says of one weights file; submissions of others may say anything."""
    if not isinstance(item, Mapping):
        return str(item)
    return f"{item.get('name')}: {item.get('file')}, SHA-256 {item.get('sha256')}"


def limits_words(limits: Limits) -> list[str]:
    """The limits of a run in words."""
    return [
        "any time" if limits.time_factor is None else f"{limits.time_factor:g} times the duration",
        "any time for loading" if limits.setup_seconds is None else f"{limits.setup_seconds:g} s for loading",
        "all cores" if limits.cpus is None else text_table.count(limits.cpus, "core"),
        "any memory" if limits.memory_bytes is None else f"{limits.memory_bytes / 2**30:g} GiB",
    ]


def machine_words(machine: Mapping[str, Any]) -> list[str]:
    """What a run was made on, in words."""
    memory = machine.get("memory_bytes")
    return [
        f"{machine.get('system')} {machine.get('architecture')}",
        str(machine.get("processor")),
        f"{machine.get('cores')} cores",
        "memory unknown" if memory is None else f"{memory / 2**30:.0f} GiB",
        *(machine.get("gpus") or ["no GPU"]),
    ]
