"""Recorded runs, and how they travel between machines."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePath
from typing import Any, Literal

from evaluator import printable, schema, strict_json
from evaluator.locations import DEMO
from evaluator.measures.means import MEAN
from evaluator.runs import documents, run_scores
from evaluator.runs.documents import ResultError
from evaluator.runs.results import Result
from evaluator.runs.run_folder import RESULT_FILE

SHORT = 8  # characters of an id that are shown
EXPORT_KIND = "leaderboard export"
EXPORT_VERSION = 1
CLOCKS_DIFFER = timedelta(days=1)  # a run of another machine may seem to come from so far ahead


@dataclass(frozen=True)
class Withdrawal:
    """Somebody took a run back: it counts no more, but stays on record."""

    when: str  # ISO 8601, UTC
    reason: str | None

    @property
    def words(self) -> str:
        """When and why, as the end of a sentence."""
        return f"withdrawn on {self.when[:10]}" + (f" ({self.reason})" if self.reason else "")


@dataclass(frozen=True)
class Entry:
    """One recorded run; `folder` is where its logs were put on this machine, if it was made here."""

    id: str  # SHA-256 of `document`, which names the run on every machine
    recorded: str  # ISO 8601, UTC
    folder: str | None
    result: Result
    document: str  # the result's JSON as it came, which may know less or more than this code writes
    withdrawal: Withdrawal | None = None  # which the store knows of

    @property
    def short_id(self) -> str:
        """Enough of the id to name the run."""
        return self.id[:SHORT]

    @property
    def data_hash(self) -> str:
        """Hash of names and contents of the tracks."""
        return self.result.plan.data.hash

    @property
    def data_name(self) -> str:
        """The data folder's name."""
        return run_scores.data_name(self.result.plan.data.path)

    @property
    def is_on_demo(self) -> bool:
        """Whether its data is the demo's, of this machine or another."""
        return PurePath(self.result.plan.data.path).parts[-3:-1] == DEMO.parts[-2:]

    def score(self, stem: str) -> float | None:
        """Headline SDR of a stem, or "mean", in dB; None unless every track is ok."""
        return (self.result.score() or {}).get(stem)


def canonical(item: Mapping[str, Any]) -> str:
    """The text of a JSON object that is the same for equal ones."""
    return json.dumps(item, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def run_id(document: str) -> str:
    """The id of a run, from the canonical text of its result."""
    return hashlib.sha256(document.encode()).hexdigest()


def make_entry(result: Result, folder: Path | None) -> Entry:
    """The entry of a result that was just made or read, recorded now."""
    return _entry(result, canonical(result.to_json()), folder)


def _entry(result: Result, document: str, folder: Path | None) -> Entry:
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return Entry(run_id(document), when, None if folder is None else str(folder.resolve()), result, document)


def read_entry(path: Path) -> Entry:
    """The run in a result file or in a run's folder; ResultError if it holds no result."""
    path = path / RESULT_FILE if path.is_dir() else path
    return _of_file(path, documents.read_json(path))


def _of_file(path: Path, item: Mapping[str, Any]) -> Entry:
    return _entry(Result.from_json(item, str(path)), canonical(item), path.parent)


def to_export(entries: Sequence[Entry]) -> dict[str, Any]:
    """The runs as one JSON object, without folders of this machine."""
    runs = [
        {"id": entry.id, "recorded": entry.recorded, "result": json.loads(entry.document)}
        for entry in entries
    ]
    return {"kind": EXPORT_KIND, "version": EXPORT_VERSION, "runs": runs}


class _ExportedRun(schema.Document):
    id: documents.Sha256
    recorded: documents.When
    result: dict[str, Any]


class _Export(schema.Document):
    kind: Literal["leaderboard export"]
    version: Literal[1]
    runs: tuple[_ExportedRun, ...]


def read_runs(path: Path) -> list[Entry]:
    """Runs of an exported file, a result file or a run's folder; ResultError if it is neither, or was changed."""
    path = path / RESULT_FILE if path.is_dir() else path
    item = documents.read_json(path)
    if item.get("kind") != EXPORT_KIND:
        runs = {str(path): _of_file(path, item)}
    else:
        export = documents.parse(_Export, item, str(path))
        places = [f"{path}: run {index}" for index in range(len(export.runs))]
        runs = {place: _imported(place, run) for place, run in zip(places, export.runs, strict=True)}
    for place, entry in runs.items():
        _require_past(entry, place)
    return list(runs.values())


def _require_past(entry: Entry, where: str) -> None:
    """ResultError for a run that was not made yet."""
    now = datetime.now(UTC)
    for name, when in (("start", entry.result.start), ("recorded", entry.recorded)):
        if documents.moment(when) > now + CLOCKS_DIFFER:
            raise ResultError(
                f"{where}: {name}: found {when}, which lies in the future; it is {now:%Y-%m-%dT%H:%M} UTC here"
            )


def of_row(run: str, recorded: str, folder: str | None, document: str) -> Entry:
    """A run as it was recorded; ResultError if it is not that any more."""
    where = f"run {printable.plain(run[:SHORT])}"
    try:
        item = strict_json.loads_object(document)
        documents.moment(recorded)
    except ValueError as error:
        raise ResultError(f"{where}: {error}") from None
    result = Result.from_json(item, where)
    if run_id(document) != run and (found := run_id(canonical(item))) != run:
        raise ResultError(f"{where}: changed since it was recorded (its SHA-256 is now {found[:12]})")
    return Entry(run, recorded, folder, result, document)


def _imported(where: str, run: _ExportedRun) -> Entry:
    document = canonical(run.result)
    if (found := run_id(document)) != run.id:
        raise ResultError(
            f"{where}: changed since it was exported (SHA-256 {found[:12]}, expected {run.id[:12]})"
        )
    return Entry(run.id, run.recorded, None, Result.from_json(run.result, where), document)


# Ranking


@dataclass(frozen=True)
class Group:
    """Runs on the same data: best first, then those without a score, and those that were withdrawn."""

    challenge: str
    data_hash: str
    ranked: tuple[Entry, ...]
    unranked: tuple[Entry, ...]

    @property
    def newest(self) -> Entry:
        """The run recorded last, which names the group."""
        return max((*self.ranked, *self.unranked), key=lambda entry: entry.recorded)


def rank(entries: Sequence[Entry], stem: str = MEAN) -> list[Group]:
    """Group by data, and sort each group by the score of `stem`; of equal runs, the earlier comes first.

    Groups on a user's own data come before those on the demo's.
    """
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((entry.result.plan.challenge, entry.data_hash), []).append(entry)
    found = [_group(challenge, digest, group, stem) for (challenge, digest), group in groups.items()]
    return sorted(found, key=lambda group: group.newest.is_on_demo)


def _group(challenge: str, digest: str, entries: Sequence[Entry], stem: str) -> Group:
    scores = {entry.id: entry.score(stem) for entry in entries if entry.withdrawal is None}
    ranked = sorted(
        (entry for entry in entries if scores.get(entry.id) is not None),
        key=lambda entry: -(scores[entry.id] or 0.0),
    )
    others = [entry for entry in entries if scores.get(entry.id) is None]
    return Group(challenge, digest, tuple(ranked), tuple(others))


def on_data(entries: Sequence[Entry], wanted: str | None) -> list[Entry]:
    """The runs on the data of this hash (its beginning, six digits or more) or name; all for None."""
    if wanted is None:
        return list(entries)
    name = wanted.strip("/")
    by_hash = [entry for entry in entries if len(name) >= 6 and entry.data_hash.startswith(name.lower())]
    return by_hash or [entry for entry in entries if _is_named(entry, name)]


def _is_named(entry: Entry, name: str) -> bool:
    path = f"/{Path(entry.result.plan.data.path).as_posix().strip('/')}"
    return path.endswith(f"/{name}") or f"/{entry.data_name}".endswith(f"/{name}")
