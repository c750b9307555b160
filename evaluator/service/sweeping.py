"""Files of a service that nobody needs: each is removed, whoever was killed before they could do so themselves."""

import contextlib
import secrets
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from evaluator.service.database import Database
from evaluator.service.settings import Settings
from evaluator.service.tables import CANCELLED, REFUSED, WITHDRAWN, Entry
from evaluator.service.uploads import INCOMING

GONE = ".gone-"  # how folders of entries are called that are being removed


def sweep(settings: Settings, database: Database, now: float) -> None:
    """Remove what is of no entry, or of one that is over."""
    there = _folders(settings)
    with database.reading() as session:
        over = select(Entry.id).where(Entry.state.in_((REFUSED, CANCELLED, WITHDRAWN)))
        for number in session.scalars(over):
            if number in there:
                shutil.rmtree(there[number], ignore_errors=True)
        unborn = _unborn(settings, session, there, now)
    if unborn:
        _move_away(settings, database, unborn, now)
    for folder in (settings.root / "entries").glob(f"{GONE}*"):
        shutil.rmtree(folder, ignore_errors=True)
    _remove_old(
        (settings.root / INCOMING).glob("*"), settings, now
    )  # their connection ended with the service
    drafts = (settings.root / "benchmarks").glob("*/*.zip")
    _remove_old((path for path in drafts if path != settings.mixtures_file(path.parent.name)), settings, now)


def _folders(settings: Settings) -> dict[int, Path]:
    """The folders of entries by their numbers."""
    place = settings.root / "entries"
    return (
        {int(path.name): path for path in place.iterdir() if path.name.isdecimal()} if place.is_dir() else {}
    )


def _unborn(settings: Settings, session: Session, there: Mapping[int, Path], now: float) -> list[int]:
    """Those of which there is no row: whoever made them was killed before it was there, a day ago or longer.

    Numbers are given in order. So one above the highest there is was given by another database, and what lies there
    may be all that is left of it.
    """
    known = set(session.scalars(select(Entry.id)))  # there may be more folders than a query may have values
    highest = max(known, default=0)
    return [
        number
        for number, path in there.items()
        if number < highest and number not in known and _is_old(path, settings, now)
    ]


def _move_away(settings: Settings, database: Database, numbers: Iterable[int], now: float) -> None:
    """Have them be removed, unless they are an entry's by now, while no entry can be made."""
    with database.writing() as session:
        if not database.is_sqlite:
            session.execute(text("LOCK TABLE entries IN SHARE ROW EXCLUSIVE MODE"))  # readers go on
        there = {number: path for number, path in _folders(settings).items() if number in set(numbers)}
        for number in _unborn(settings, session, there, now):
            with contextlib.suppress(FileNotFoundError):  # another worker was there first
                there[number].rename(there[number].with_name(f"{GONE}{secrets.token_hex(8)}"))


def _remove_old(paths: Iterable[Path], settings: Settings, now: float) -> None:
    for path in paths:
        if _is_old(path, settings, now):
            path.unlink(missing_ok=True)


def _is_old(path: Path, settings: Settings, now: float) -> bool:
    """Whether nothing was written there for a day; not of what is gone by now."""
    try:
        return path.stat().st_mtime < now - settings.upload_seconds
    except FileNotFoundError:
        return False
