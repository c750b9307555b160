"""The database: SQLite in the service's folder, or PostgreSQL by URL; its schema comes from migrations alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import Session

from evaluator.service.errors import SetupError
from evaluator.service.settings import Settings

MIGRATIONS = Path(__file__).with_name("migrations")
WAIT_SECONDS = 30.0  # for other writers
WRITES = "sdx_writes"  # an execution option
MIGRATION_LOCK = 0x5D23  # any number that nobody else locks in that database


class Database:
    """Hands out sessions; each is one transaction, which commits at the end unless something was raised."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writing = engine.execution_options(**{WRITES: True})

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file, which has one writer at a time."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that only reads."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session that may write; with SQLite it is alone from its beginning."""
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def connect(settings: Settings) -> Database:
    """The service's database, with its schema brought up to date; SetupError if it cannot be used."""
    try:
        # Statements stand in errors, which are logged; what they hold, such as hashes of passwords, must not.
        engine = create_engine(settings.database_url, hide_parameters=True, **_options(settings))
    except (ArgumentError, ImportError) as error:
        raise SetupError(
            f"--database {settings.database}: not a usable URL ({error}); expected"
            " postgresql://USER@HOST/NAME or sqlite:///FILE"
        ) from None
    if engine.dialect.name not in ("sqlite", "postgresql"):
        raise SetupError(f"--database: found {engine.dialect.name}, expected postgresql or sqlite")
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    found = Database(engine)
    try:
        migrate(found)
    except SQLAlchemyError as error:
        shown = engine.url.render_as_string(hide_password=True)
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise SetupError(f"{shown}: the database cannot be used: {reason}") from None
    return found


def _options(settings: Settings) -> dict[str, Any]:
    if settings.database_url.startswith("sqlite"):
        return {"connect_args": {"timeout": WAIT_SECONDS}}
    return {"pool_pre_ping": True}


def _prepare_sqlite(connection: Any, record: object) -> None:
    """Write-ahead log: readers and a writer do not wait for each other. We say ourselves when something begins."""
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    """Who will write takes the lock at once: a reader that becomes a writer may be told that it is too late."""
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def migrate(database: Database) -> None:
    """Bring the schema up to date, in one transaction that others wait for; nothing is done if it is."""
    scripts = ScriptDirectory(str(MIGRATIONS))
    with database.writing() as session:
        connection = session.connection()
        if not database.is_sqlite:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
        options = {"fn": lambda revision, context: scripts._upgrade_revs("heads", revision)}
        context = MigrationContext.configure(connection, opts=options)
        with Operations.context(context):
            context.run_migrations()
