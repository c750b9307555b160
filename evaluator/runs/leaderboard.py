"""Append-only store of runs: the whole result of each, with everything that is needed to repeat it.

A run is never deleted. It is withdrawn by a row in a table of its own, which names it: from then on it counts no
more, and importing it again does not bring it back. A row that cannot be read, since somebody changed the file or
since it is of another version, is left out and named, and can be withdrawn, too.

SQLite with its rollback journal: unlike its write-ahead log it needs no shared memory, so it also holds on
network and container file systems. A row is written in one transaction that other writers wait for, and that a
kill at any moment leaves either done or not begun.
"""

import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from evaluator import printable
from evaluator.locations import RUNS, command
from evaluator.runs import baseline
from evaluator.runs import entries as recorded_runs
from evaluator.runs.documents import SHA256, ResultError
from evaluator.runs.entries import SHORT, Entry, Withdrawal
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
        "CREATE TRIGGER runs_not_changed BEFORE UPDATE ON runs"
        " BEGIN SELECT RAISE(ABORT, 'the leaderboard is append-only'); END",
        "CREATE TRIGGER runs_not_deleted BEFORE DELETE ON runs"
        " BEGIN SELECT RAISE(ABORT, 'the leaderboard is append-only'); END",
    ),
    (  # no query reads them; the index is made no more, which failed where the result of a row was no JSON
        "DROP INDEX IF EXISTS runs_by_data",
        "ALTER TABLE runs DROP COLUMN data_hash",
    ),
    (
        # Without a foreign key: a row may be so damaged that its id is none.
        "CREATE TABLE withdrawals (number INTEGER PRIMARY KEY, run TEXT NOT NULL UNIQUE, recorded TEXT NOT NULL,"
        " reason TEXT)",
        "CREATE TRIGGER withdrawals_not_changed BEFORE UPDATE ON withdrawals"
        " BEGIN SELECT RAISE(ABORT, 'the leaderboard is append-only'); END",
        "CREATE TRIGGER withdrawals_not_deleted BEFORE DELETE ON withdrawals"
        " BEGIN SELECT RAISE(ABORT, 'the leaderboard is append-only'); END",
        # Reads the result of every row, and so fails for all of them where one is no JSON.
        "ALTER TABLE runs DROP COLUMN track",
    ),
)
MOST_CHARACTERS = 64 << 20  # of one row's result
NAMED = 5  # rows that are left out
USE_ANYWAY = "--withdrawn uses it all the same"
ROW = "row-"  # before the number of a row, which names it where its id does not


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

    def add(self, entries: Iterable[Entry]) -> "Added":
        """Append runs in one transaction, but none that is there already, withdrawn or not."""
        rows = [(entry.id, entry.recorded, entry.folder, entry.document) for entry in entries]
        statement = "INSERT OR IGNORE INTO runs (id, recorded, folder, result) VALUES (?, ?, ?, ?)"
        with self._transaction() as connection:
            appended = sum(connection.execute(statement, row).rowcount for row in rows)
            withdrawn = {
                run: found for run, *_ in rows if (found := _withdrawal(connection, run)) is not None
            }
        return Added(appended, len(rows) - appended, withdrawn)

    def record(self, result: Result, folder: Path | None) -> str:
        """Append one run and return its id."""
        entry = recorded_runs.make_entry(result, folder)
        self.add([entry])
        return entry.id

    def withdraw(self, wanted: str, reason: str | None = None) -> "Withdrawn":
        """Take back the run whose id begins with `wanted`, or a row by its name; who was first has the last word."""
        when = datetime.now(UTC).isoformat(timespec="seconds")
        statement = (
            "INSERT OR IGNORE INTO withdrawals (run, recorded, reason)"
            " SELECT id, ?, ? FROM runs WHERE number = ?"
        )
        text = None if reason is None else printable.plain(reason)
        with self._transaction() as connection:
            row = self._only(wanted, _rows(connection))
            is_new = connection.execute(statement, (when, text, row.number)).rowcount == 1
        return Withdrawn(row.words, is_new, row.withdrawal or Withdrawal(when, text))

    def withdrawal(self, run: str) -> Withdrawal | None:
        """What is known of the withdrawal of the run with this id, which may be in a file only; None if it counts."""
        if not self.path.exists():
            return None
        with self._transaction() as connection:
            return _withdrawal(connection, run)

    def entries(self, withdrawn: bool = False) -> list[Entry]:
        """The runs in the order in which they were recorded; `withdrawn`: with those that were taken back.

        What cannot be read is left out, and a warning names each such row and says why.
        """
        entries, problems = [], []
        for row in self._all_rows():
            if row.withdrawal is not None and not withdrawn:
                continue
            try:
                entries.append(row.entry())
            except ResultError as error:
                problems.append((row.name, printable.plain(str(error))))
        for name, problem in problems[:NAMED]:
            LOG.warning("%s: %s left out: %s", printable.plain(str(self.path)), name, problem)
        if problems:
            more = f"{len(problems) - NAMED} more left out; " if len(problems) > NAMED else ""
            LOG.warning("%s`%s` ends such a warning", more, command(f"leaderboard withdraw {problems[0][0]}"))
        return entries

    def find(self, wanted: str) -> Entry:
        """The run whose id begins with `wanted`, or the last one that counts, for "latest"; withdrawn ones, too."""
        if wanted == "latest":
            entries = self.entries()
            if not entries:
                raise LeaderboardError(
                    f"{self.path}: no run was recorded yet; `{command('eval')}` records every run"
                )
            return entries[-1]
        row = self._only(wanted, self._all_rows())
        try:
            return row.entry()
        except ResultError as error:
            raise LeaderboardError(f"{self.path}: {row.name} cannot be used: {error}") from None

    def _only(self, wanted: str, rows: "Sequence[_Row]") -> "_Row":
        """The row that is meant; LeaderboardError if there is none, or more than one."""
        found = [row for row in rows if row.name == wanted]
        found = found or [
            row for row in rows if isinstance(row.id, str) and row.id.startswith(wanted.lower())
        ]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(printable.plain(str(row.id)[: SHORT * 2]) for row in found)
            raise LeaderboardError(f"{wanted!r} is the beginning of {len(found)} runs: {names}")
        raise LeaderboardError(
            f"{wanted!r}: neither a file or folder, nor the id of one of the {len(rows)} runs in {self.path}; "
            f"`{command('leaderboard')}` lists them"
        )

    def _all_rows(self) -> "list[_Row]":
        if not self.path.exists():
            return []
        with self._transaction() as connection:
            return _rows(connection)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection to a file of the present schema, inside a transaction that excludes other writers."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=self._wait_seconds, isolation_level=None)
            try:
                connection.text_factory = _decode
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
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:  # the last of SQLite's own messages
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


@dataclass(frozen=True)
class Added:
    """What came of adding runs; `withdrawn` are those among them that were taken back, by id."""

    appended: int
    known: int
    withdrawn: Mapping[str, Withdrawal]


@dataclass(frozen=True)
class Withdrawn:
    """What came of a withdrawal: of which run or row, and whether it is the first one."""

    what: str
    is_new: bool
    withdrawal: Withdrawal


@dataclass(frozen=True)
class _Row:
    """A row as it is in the file, where anything may stand."""

    number: int
    id: object
    recorded: object
    folder: object
    document: object
    withdrawal: Withdrawal | None

    @property
    def name(self) -> str:
        """How to name the row where its id does not."""
        return f"{ROW}{self.number}"

    @property
    def words(self) -> str:
        """The row as it is called in a sentence."""
        has_id = isinstance(self.id, str) and SHA256.fullmatch(self.id)
        return f"run {str(self.id)[:SHORT]}" if has_id else self.name

    def entry(self) -> Entry:
        """The run; ResultError for anything else."""
        for column, value in (("id", self.id), ("recorded", self.recorded), ("result", self.document)):
            if not isinstance(value, str):
                raise ResultError(f"{column}: found {type(value).__name__}, expected text")
        if isinstance(self.document, str) and len(self.document) > MOST_CHARACTERS:
            raise ResultError(f"result: longer than {MOST_CHARACTERS} characters")
        folder = self.folder if isinstance(self.folder, str) else None
        found = recorded_runs.of_row(str(self.id), str(self.recorded), folder, str(self.document))
        return replace(found, withdrawal=self.withdrawal)


def _rows(connection: sqlite3.Connection) -> list[_Row]:
    """Every row, in the order in which they were recorded; of what is too long, only the beginning."""
    query = (
        "SELECT runs.number, runs.id, runs.recorded, folder, substr(result, 1, ?), withdrawals.number,"
        " withdrawals.recorded, reason FROM runs LEFT JOIN withdrawals ON run = id ORDER BY runs.number"
    )
    return [
        _Row(
            number, run, recorded, folder, result, None if tombstone is None else _as_withdrawal(when, reason)
        )
        for number, run, recorded, folder, result, tombstone, when, reason in connection.execute(
            query, (MOST_CHARACTERS + 1,)
        )
    ]


def _withdrawal(connection: sqlite3.Connection, run: str) -> Withdrawal | None:
    found = connection.execute("SELECT recorded, reason FROM withdrawals WHERE run = ?", (run,)).fetchone()
    return None if found is None else _as_withdrawal(*found)


def _as_withdrawal(when: object, reason: object) -> Withdrawal:
    """The columns of a tombstone, which holds whatever stands in it."""
    return Withdrawal(printable.plain(str(when)), None if reason is None else printable.plain(str(reason)))


def _decode(text: bytes) -> str:
    """A text of the file; where it is no UTF-8, a text that no check takes for one."""
    return text.decode(errors="surrogateescape")


def locate(wanted: str, store: Store, withdrawn: bool = False) -> Entry:
    """The run a user names: a result file, a folder that holds one, an id's beginning, or "latest".

    A run that was withdrawn is a LeaderboardError unless it is asked for (`withdrawn`), in whatever way it is named.
    """
    path = Path(wanted)
    if path.exists():
        entry = recorded_runs.read_entry(path)
        entry = replace(entry, withdrawal=_withdrawal_of_file(entry.id, store))
    else:
        entry = store.find(wanted)
    if not withdrawn:
        _require_counts(wanted, entry.id, entry.withdrawal)
    return entry


def read_baseline(
    path: Path, store: Store, withdrawn: bool = False, advice: str = USE_ANYWAY
) -> tuple[Result, str | None]:
    """The baseline or result in a file, and the run's id, as `baseline.read_with_run`; LeaderboardError as `locate`.

    advice: what to do about a run that was withdrawn.
    """
    result, run = baseline.read_with_run(path)
    if run is not None and not withdrawn:
        _require_counts(str(path), run, _withdrawal_of_file(run, store), advice)
    return result, run


def _withdrawal_of_file(run: str, store: Store) -> Withdrawal | None:
    try:
        return store.withdrawal(run)
    except LeaderboardError as error:  # what is in a file can be used without the store
        LOG.warning(
            "%s\nSo it is not known whether run %s was withdrawn.", printable.lines(str(error)), run[:SHORT]
        )
        return None


def _require_counts(wanted: str, run: str, withdrawal: Withdrawal | None, advice: str = USE_ANYWAY) -> None:
    if withdrawal is not None:
        raise LeaderboardError(f"{wanted}: run {run[:SHORT]} was {withdrawal.words}; {advice}")
