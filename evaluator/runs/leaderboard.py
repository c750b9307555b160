"""Append-only store of runs: the whole result of each, with everything that is needed to repeat it.

SQLite with its rollback journal: unlike its write-ahead log it needs no shared memory, so it also holds on
network and container file systems. A row is written in one transaction that other writers wait for, and that a
kill at any moment leaves either done or not begun.
"""

import json
import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from evaluator.locations import RUNS, command
from evaluator.runs import entries as recorded_runs
from evaluator.runs.documents import ResultError
from evaluator.runs.entries import SHORT, Entry
from evaluator.runs.results import Result
from evaluator.runs.run_folder import RESULT_FILE

LOG = logging.getLogger(__name__)

FILE_VARIABLE = "SDX_LEADERBOARD"  # another file than runs/leaderboard.sqlite
WAIT_SECONDS = 30.0  # for other writers

# One entry per version of the schema; a file of version n needs MIGRATIONS[n:]. Never change one, append.
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
    (  # no query reads them
        "DROP INDEX runs_by_data",
        "ALTER TABLE runs DROP COLUMN data_hash",
    ),
)


class LeaderboardError(Exception):
    """The store cannot be used, or holds no such run; the message says what to do."""


def default_path() -> Path:
    """The store of this working copy, or of this user where the kit is installed."""
    return Path(os.environ.get(FILE_VARIABLE) or RUNS / "leaderboard.sqlite")


class Store:
    """The file that holds the runs, created if it is missing; every call opens it for itself."""

    def __init__(self, path: Path | None = None, wait_seconds: float = WAIT_SECONDS) -> None:
        self.path = path or default_path()
        self._wait_seconds = wait_seconds

    def add(self, entries: Iterable[Entry]) -> int:
        """Append runs in one transaction, but none that is there already; returns the number appended."""
        rows = [(entry.id, entry.recorded, entry.folder, entry.document) for entry in entries]
        statement = "INSERT OR IGNORE INTO runs (id, recorded, folder, result) VALUES (?, ?, ?, ?)"
        with self._transaction() as connection:
            return sum(connection.execute(statement, row).rowcount for row in rows)

    def record(self, result: Result, folder: Path | None) -> str:
        """Append one run and return its id."""
        entry = recorded_runs.make_entry(result, folder)
        self.add([entry])
        return entry.id

    def entries(self, challenge: str | None = None) -> list[Entry]:
        """All runs, or those of one challenge, in the order in which they were recorded.

        Those that this code cannot read, as of a later version of the result, are left out with a warning.
        """
        if not self.path.exists():
            return []
        query = "SELECT id, recorded, folder, result FROM runs WHERE ?1 IS NULL OR track = ?1 ORDER BY number"
        with self._transaction() as connection:
            rows = connection.execute(query, (challenge,)).fetchall()
        entries, problems = [], []
        for run, when, folder, document in rows:
            try:
                result = Result.from_json(json.loads(document), f"run {run[:SHORT]}")
            except ResultError as error:
                problems.append(str(error))
            else:
                entries.append(Entry(run, when, folder, result, document))
        if problems:
            LOG.warning("%s: %d of %d runs left out: %s", self.path, len(problems), len(rows), problems[0])
        return entries

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
                f"{self.path}: {error}. If the file is damaged, move it away and import the runs again: "
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


def locate(wanted: str, store: Store) -> Entry:
    """The run a user names: a result file, a folder that holds one, an id's beginning, or "latest"."""
    path = Path(wanted)
    return recorded_runs.read_entry(path) if path.is_dir() or path.is_file() else store.find(wanted)
