"""The leaderboard for people and programs: text, CSV, JSON, HTML, and one run in full."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluator.challenge import CHALLENGES
from evaluator.reporting import pages, text_table
from evaluator.runs import leaderboard, reproduction, results
from evaluator.runs.leaderboard import Entry, Group
from evaluator.runs.published import PublishedRow, PublishedSet
from evaluator.runs.run_scores import MEAN


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
        parts.append("Published scores: each set on its own data, so not to be compared with the runs above.")
        parts += [_published_text(found, board.sort) for found in board.published]
    return "\n\n".join(parts)


def _group_text(group: Group) -> str:
    stems = CHALLENGES[group.track].stems
    header = ["#", "run", "preset", "commit", "when", MEAN, *stems, "RTF", "would pass"]
    rows = [_row(str(place), entry, stems) for place, entry in enumerate(group.ranked, 1)]
    rows += [_row("-", entry, stems) for entry in group.unranked]
    return "\n".join([title(group), *text_table.align([header, *rows], left=(1, 2, 3, 4))])


def title(group: Group) -> str:
    """Which data a group's runs were made on."""
    tracks = tracks_words(group.newest.result["data"])
    return f"{group.track}, {group.newest.data_name}: {tracks}, data {group.data_hash[:12]}"


def tracks_words(data: Mapping[str, Any]) -> str:
    """How many tracks of a data set were used, and which."""
    number = text_table.count(data["number"], "track")
    return number if data.get("only") is None else f"{number} (--only {data['only']})"


def _row(place: str, entry: Entry, stems: Sequence[str]) -> list[str]:
    scores = [text_table.db(entry.score(stem)) for stem in (MEAN, *stems)]
    rtf = "-" if entry.rtf is None else f"{entry.rtf:.2f}"
    passing = results.would_pass(entry.result)
    return [
        place,
        short_id(entry),
        entry.name,
        commit(entry),
        _minute(entry),
        *scores,
        rtf,
        _passing(entry, passing),
    ]


def _passing(entry: Entry, passing: str) -> str:
    failed = failures(entry)
    return f"{passing}: {failed}" if failed else passing


def failures(entry: Entry) -> str:
    """In how many tracks of a run went wrong what: "2 of 15 timeout"; empty where nothing did."""
    tracks = entry.result["tracks"]
    number = entry.result["data"]["number"]
    statuses = ["late" if results.is_late(track) else track["status"] for track in tracks]
    statuses = [status for status in statuses if status != "ok"]
    counts = [f"{statuses.count(status)} of {number} {status}" for status in dict.fromkeys(statuses)]
    if len(tracks) < number:
        counts.append(f"{number - len(tracks)} of {number} not run")
    return ", ".join(counts)


def short_id(entry: Entry) -> str:
    """Enough of an id to name the run."""
    return entry.id[: leaderboard.SHORT]


def commit(entry: Entry) -> str:
    """The submission's commit, shortened; "+" stands for uncommitted changes."""
    submission = entry.result["submission"]
    return (
        "-"
        if submission["commit"] is None
        else submission["commit"][:8] + ("+" if submission["dirty"] else "")
    )


def _minute(entry: Entry) -> str:
    return str(entry.result["start"])[:16].replace("T", " ")


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
    heading = f"{found.name} ({found.track}): {found.data}; {found.source}"
    return "\n".join([heading, *text_table.align([["published", *columns], *rows])])


def records(board: Board) -> list[dict[str, Any]]:
    """One flat record a row: `kind` is "run" or "published"; `rank` is None for runs without a score."""
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
                    "track": data.track,
                    "data": data.name,
                    "name": row.name,
                    "scores": scores,
                    "source": f"{data.source}; {data.data}",
                }
            )
    return found


def _record(entry: Entry, place: int | None) -> dict[str, Any]:
    result = entry.result
    submission = result["submission"]
    return {
        "kind": "run",
        "track": result["track"],
        "data": entry.data_name,
        "data_hash": entry.data_hash,
        "data_tracks": result["data"]["number"],
        "data_only": result["data"].get("only"),
        "rank": place,
        "run": entry.id,
        "name": entry.name,
        "status": result["status"],
        "would_pass": results.would_pass(result),
        "scores": {stem: entry.score(stem) for stem in (MEAN, *CHALLENGES[result["track"]].stems)},
        "rtf": entry.rtf,
        "start": result["start"],
        "duration_seconds": result["duration_seconds"],
        "recorded": entry.recorded,
        "preset": submission["preset"],
        "commit": submission["commit"],
        "dirty": submission["dirty"],
        "files_sha256": submission["files_sha256"],
        "weights": submission["weights"],
        "limits": result["limits"],
        "runner": result["runner"],
        "jobs": results.jobs_of(result),
        "machine": result["machine"],
        "versions": result["versions"],
        "folder": entry.folder,
    }


def as_json(board: Board) -> str:
    """The records as a JSON array."""
    return json.dumps(records(board), indent=2, ensure_ascii=False)


def as_csv(board: Board) -> str:
    """The records as CSV, a column a stem of any of them; what is not a number or text is JSON."""
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
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping | list | bool) else value


def as_html(board: Board) -> str:
    """The board as a self-contained page."""
    return pages.render(
        "leaderboard.html.j2",
        board=board,
        groups=[(group, title(group), CHALLENGES[group.track].stems) for group in board.groups],
        published=[
            (found, published_columns(found), sorted_rows(found, board.sort)) for found in board.published
        ],
        short_id=short_id,
        commit=commit,
        failures=failures,
        would_pass=results.would_pass,
    )


FORMS: Mapping[str, Callable[[Board], str]] = {"text": text, "csv": as_csv, "json": as_json, "html": as_html}


def detail(entry: Entry) -> str:
    """One run: its scores, all that it was made with, and how to repeat it."""
    result, submission = entry.result, entry.result["submission"]
    stems = CHALLENGES[result["track"]].stems
    facts = [
        ("run", entry.id),
        ("made", f"{result['start']}, {result['duration_seconds']:.0f} s"),
        (
            "data",
            f"{result['track']}, {result['data']['path']}, {tracks_words(result['data'])}",
        ),
        ("data hash", entry.data_hash),
        ("status", result["status"] + (f" ({failed})" if (failed := failures(entry)) else "")),
        ("would pass", results.would_pass(result)),
        *((stem, f"{text_table.db(entry.score(stem))} dB") for stem in (MEAN, *stems)),
        ("RTF", "-" if entry.rtf is None else f"{entry.rtf:.3f}"),
        ("preset", submission["preset"] or "-"),
        (
            "commit",
            (submission["commit"] or "-") + (" with uncommitted changes" if submission["dirty"] else ""),
        ),
        ("files", f"SHA-256 {submission['files_sha256']}"),
        *(("weights", line) for line in weights_lines(result)),
        ("limits", ", ".join(limits_words(result["limits"]))),
        ("tracks at a time", str(results.jobs_of(result))),
        ("not in force", "; ".join((result["isolation"] or {}).get("not_in_force", [])) or "-"),
        ("machine", ", ".join(machine_words(result["machine"]))),
        ("versions", ", ".join(f"{key} {value}" for key, value in result["versions"].items())),
        ("folder", entry.folder or "on another machine"),
    ]
    width = max(len(name) for name, _ in facts)
    lines = [f"{name.ljust(width)}  {value}" for name, value in facts]
    return "\n".join([*lines, "", "To repeat it:", *(f"  {line}" for line in reproduction.commands(result))])


def weights_lines(result: Mapping[str, Any]) -> list[str]:
    """The weights a run was made with, a line a file."""
    weights = result["submission"]["weights"]
    return [_weights_line(item) for item in weights] if isinstance(weights, list) else []


def _weights_line(item: object) -> str:
    """What a submission says of one weights file; submissions of others may say anything."""
    if not isinstance(item, Mapping):
        return str(item)
    return f"{item.get('name')}: {item.get('file')}, SHA-256 {item.get('sha256')}"


def limits_words(limits: Mapping[str, Any]) -> list[str]:
    """The limits of a run in words."""
    time, setup, cpus, memory = (
        limits[name] for name in ("time_factor", "setup_seconds", "cpus", "memory_bytes")
    )
    return [
        "any time" if time is None else f"{time:g} times the duration",
        "any time for loading" if setup is None else f"{setup:g} s for loading",
        "all cores" if cpus is None else text_table.count(cpus, "core"),
        "any memory" if memory is None else f"{memory / 2**30:g} GiB",
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
