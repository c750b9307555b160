"""Append-only store of runs: the whole result of each, so that everything needed to repeat it is at hand.

SQLite with its rollback journal: unlike its write-ahead log it needs no shared memory, so it also holds on
network and container file systems. A row is written in one transaction that other writers wait for, and that a
kill at any moment leaves either done or not begun.
"""

import hashlib
import json
import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evaluator.locations import command
from evaluator.running.preparation import RUNS
from evaluator.runs import results, run_scores
from evaluator.runs.run_folder import RESULT_FILE

LOG = logging.getLogger(__name__)

FILE_VARIABLE = "SDX_LEADERBOARD"  # another file than runs/leaderboard.sqlite
WAIT_SECONDS = 30.0  # for other writers
SHORT = 8  # characters of an id that are shown
EXPORT_KIND = "leaderboard export"
EXPORT_VERSION = 1

# One entry a version of the schema; a file of version n needs MIGRATIONS[n:]. Never change one, append.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE runs (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, recorded TEXT NOT NULL,"
        " folder TEXT, result TEXT NOT NULL)",
    ),
    (
        "ALTER TABLE runs ADD COLUMN track TEXT AS (json_extract(result, '$.track'))",
        "ALTER TABLE runs ADD COLUMN data_hash TEXT AS (json_extract(result, '$.data.hash'))",
        "CREATE INDEX runs_by_data ON runs (track, data_hash)",
        "CREATE TRIGGER runs_not_changed BEFORE UPDATE ON runs"
        " BEGIN SELECT RAISE(ABORT, 'the leaderboard is append-only'); END",
        "CREATE TRIGGER runs_not_deleted BEFORE DELETE ON runs"
        " BEGIN SELECT RAISE(ABORT, 'the leaderboard is append-only'); END",
    ),
)


class LeaderboardError(Exception):
    """The store cannot be used, or holds no such run; the message says what to do."""


@dataclass(frozen=True)
class Entry:
    """One recorded run; `folder` is where its logs were put on this machine, if it was made here."""

    id: str
    recorded: str  # ISO 8601, UTC
    folder: str | None
    result: Mapping[str, Any]

    @property
    def data_hash(self) -> str:
        """Hash of names and contents of the tracks."""
        return str(self.result["data"]["hash"])

    @property
    def data_name(self) -> str:
        """The data folder's name."""
        return run_scores.data_name(self.result["data"]["path"])

    def score(self, stem: str) -> float | None:
        """Headline SDR of a stem, or "mean", in dB; None unless every track is ok."""
        score = self.result["score"]
        return None if score is None else score.get(stem)

    @property
    def name(self) -> str:
        """What ran: the preset, or for a submission without presets its folder."""
        submission = self.result["submission"]
        preset = submission["preset"]
        return Path(str(preset)).stem if preset else Path(submission.get("path", "submission")).name

    @property
    def rtf(self) -> float | None:
        """Compute seconds per second of audio, over the tracks that ran; None also for a baseline."""
        ran = [track for track in self.result["tracks"] if track.get("seconds") is not None]
        audio = sum(track["audio_seconds"] for track in ran)
        return sum(track["seconds"] for track in ran) / audio if audio else None


def default_path() -> Path:
    """The store of this working copy, or of this user where the kit is installed."""
    return Path(os.environ.get(FILE_VARIABLE) or RUNS / "leaderboard.sqlite")


class Store:
    """The file that holds the runs, made where it is missing; every call opens it anew."""

    def __init__(self, path: Path | None = None, wait_seconds: float = WAIT_SECONDS) -> None:
        self.path = path or default_path()
        self._wait_seconds = wait_seconds

    def add(self, entries: Iterable[Entry]) -> int:
        """Append runs, in one transaction; those that are there already are passed over. The number appended."""
        rows = [(entry.id, entry.recorded, entry.folder, _canonical(entry.result)) for entry in entries]
        statement = "INSERT OR IGNORE INTO runs (id, recorded, folder, result) VALUES (?, ?, ?, ?)"
        with self._transaction() as connection:
            return sum(connection.execute(statement, row).rowcount for row in rows)

    def record(self, result: Mapping[str, Any], folder: Path | None) -> str:
        """Append one run and return its id."""
        entry = make_entry(result, folder)
        self.add([entry])
        return entry.id

    def entries(self, track: str | None = None) -> list[Entry]:
        """All runs, or those of one challenge track, in the order in which they were recorded."""
        if not self.path.exists():
            return []
        query = "SELECT id, recorded, folder, result FROM runs WHERE ?1 IS NULL OR track = ?1 ORDER BY number"
        with self._transaction() as connection:
            rows = connection.execute(query, (track,)).fetchall()
        entries = [Entry(run, when, folder, json.loads(result)) for run, when, folder, result in rows]
        known = [e for e in entries if e.result["schema_version"] == results.SCHEMA_VERSION]
        if len(known) < len(entries):
            number, versions = len(entries) - len(known), {e.result["schema_version"] for e in entries}
            LOG.warning("%s: %d runs of other result versions (%s) left out", self.path, number, versions)
        return known

    def find(self, wanted: str) -> Entry:
        """The run whose id begins with `wanted`, or the last one recorded for "latest"."""
        entries = self.entries()
        if wanted == "latest":
            if not entries:
                raise LeaderboardError(f"{self.path}: no run was recorded yet; run_eval.py records every run")
            return entries[-1]
        found = [entry for entry in entries if entry.id.startswith(wanted.lower())]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(entry.id[: SHORT * 2] for entry in found)
            raise LeaderboardError(f"{wanted!r} is the beginning of {len(found)} runs: {names}")
        raise LeaderboardError(
            f"{wanted!r}: neither a file or folder, nor the id of one of the {len(entries)} runs in {self.path}; "
            f"`{command('leaderboard')}` lists them"
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection to a file of the present schema, inside a transaction that excludes other writers."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=self._wait_seconds, isolation_level=None)
            try:
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("BEGIN IMMEDIATE")
                try:
                    self._migrate(connection)
                    yield connection
                except BaseException:
                    connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
            finally:
                connection.close()
        except (sqlite3.Error, OSError) as error:
            raise LeaderboardError(
                f"{self.path}: {error}. If the file is damaged, move it away and record the runs anew: "
                f"{command('leaderboard import')} {self.path.parent}/*/{RESULT_FILE}"
            ) from error

    def _migrate(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise LeaderboardError(
                f"{self.path}: schema version {version}, this code knows versions up to {len(MIGRATIONS)}; "
                "update the code, or move the file away"
            )
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        if version < len(MIGRATIONS):
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _canonical(result: Mapping[str, Any]) -> str:
    return json.dumps(result, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def run_id(result: Mapping[str, Any]) -> str:
    """SHA-256 of a result's JSON, which names the run on every machine."""
    return hashlib.sha256(_canonical(result).encode()).hexdigest()


def make_entry(result: Mapping[str, Any], folder: Path | None, recorded: str | None = None) -> Entry:
    """The entry of a result, recorded now unless said otherwise."""
    when = recorded or datetime.now(UTC).isoformat(timespec="seconds")
    return Entry(run_id(result), when, None if folder is None else str(folder.resolve()), result)


def locate(wanted: str, store: Store) -> Entry:
    """The run a user names: a result file, a folder that holds one, an id's beginning, or "latest"."""
    path = Path(wanted)
    if path.is_dir():
        path /= RESULT_FILE
    if path.is_file():
        return make_entry(results.read(path), path.parent)
    return store.find(wanted)


# How runs travel between machines


def export(entries: Sequence[Entry]) -> dict[str, Any]:
    """The runs as one JSON object, without folders of this machine."""
    runs = [{"id": entry.id, "recorded": entry.recorded, "result": entry.result} for entry in entries]
    return {"kind": EXPORT_KIND, "version": EXPORT_VERSION, "runs": runs}


def read_export(path: Path) -> list[Entry]:
    """Runs of an exported file, a result file or a run's folder; ResultError where it is none or was changed."""
    if path.is_dir():
        path /= RESULT_FILE
    try:
        item = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise results.ResultError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(item, dict) or item.get("kind") != EXPORT_KIND:
        if isinstance(item, dict) and item.get("kind") is not None:
            raise results.ResultError(f"{path}: a {item['kind']}, expected runs")
        result = results.read(path)
        run_scores.from_json(result, str(path))
        return [make_entry(result, path.parent)]
    if item.get("version") != EXPORT_VERSION:
        raise results.ResultError(f"{path}: version {item.get('version')}, expected {EXPORT_VERSION}")
    return [_imported(path, index, run) for index, run in enumerate(item["runs"])]


def _imported(path: Path, index: int, run: Mapping[str, Any]) -> Entry:
    where = f"{path}: run {index}"
    try:
        result, wanted, recorded = run["result"], run["id"], run["recorded"]
    except (KeyError, TypeError) as error:
        raise results.ResultError(f"{where}: {error} is missing") from error
    run_scores.from_json(result, where)
    if (found := run_id(result)) != wanted:
        raise results.ResultError(
            f"{where}: changed since it was exported (SHA-256 {found[:12]}, expected {str(wanted)[:12]})"
        )
    return make_entry(result, None, recorded)


# Ranking


@dataclass(frozen=True)
class Group:
    """Runs on the same data: best first, then those without a score."""

    track: str
    data_hash: str
    ranked: tuple[Entry, ...]
    unranked: tuple[Entry, ...]

    @property
    def newest(self) -> Entry:
        """The run recorded last, which names the group."""
        return max((*self.ranked, *self.unranked), key=lambda entry: entry.recorded)


def rank(entries: Sequence[Entry], stem: str = run_scores.MEAN) -> list[Group]:
    """Group by data, and sort each group by the score of `stem`; of equal runs the earlier comes first."""
    keys = dict.fromkeys((entry.result["track"], entry.data_hash) for entry in entries)
    return [
        _group(
            track, digest, [e for e in entries if (e.result["track"], e.data_hash) == (track, digest)], stem
        )
        for track, digest in keys
    ]


def _group(track: str, digest: str, entries: Sequence[Entry], stem: str) -> Group:
    scored = [(score, entry) for entry in entries if (score := entry.score(stem)) is not None]
    ranked = sorted(scored, key=lambda pair: -pair[0])
    others = [entry for entry in entries if entry.score(stem) is None]
    return Group(track, digest, tuple(entry for _, entry in ranked), tuple(others))


def on_data(entries: Sequence[Entry], wanted: str | None) -> list[Entry]:
    """The runs on the data of this hash (its beginning, six digits or more) or name; all for None."""
    if wanted is None:
        return list(entries)
    name = wanted.strip("/")
    by_hash = [entry for entry in entries if len(name) >= 6 and entry.data_hash.startswith(name.lower())]
    return by_hash or [entry for entry in entries if _is_named(entry, name)]


def _is_named(entry: Entry, name: str) -> bool:
    path = f"/{Path(entry.result['data']['path']).as_posix().strip('/')}"
    return path.endswith(f"/{name}") or f"/{entry.data_name}".endswith(f"/{name}")
