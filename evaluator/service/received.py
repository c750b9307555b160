"""What an account has sent within a day, whatever became of it: a file that was deleted has cost the line, too."""

from sqlalchemy import delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from evaluator.service.errors import Refused
from evaluator.service.settings import DAY_SECONDS, GIB, Settings
from evaluator.service.tables import UPLOADING, Entry, Received, Upload

HOUR_SECONDS = 3600.0
HOURS = round(DAY_SECONDS / HOUR_SECONDS)


def note(session: Session, account: int, size_bytes: int, now: float) -> None:
    """An account has sent so much; forgets what it sent long ago."""
    hour = _hour(now)
    session.execute(delete(Received).where(Received.account_id == account, Received.hour <= hour - HOURS))
    insert = sqlite.insert if session.connection().dialect.name == "sqlite" else postgresql.insert
    first = insert(Received).values(account_id=account, hour=hour, size_bytes=size_bytes)
    session.execute(
        first.on_conflict_do_update(
            index_elements=[Received.account_id, Received.hour],
            set_={Received.size_bytes: Received.size_bytes + size_bytes},
        )
    )


def require_left(settings: Settings, session: Session, account: int, size_bytes: int, now: float) -> None:
    """Refused where an account would, with so many bytes more, have sent more than it may in a day."""
    came = select(func.sum(Received.size_bytes)).where(
        Received.account_id == account, Received.hour > _hour(now) - HOURS
    )
    if int(session.scalar(came) or 0) + size_bytes > settings.bytes_a_day:
        raise Refused(
            f"That would be more than the {settings.bytes_a_day / GIB:g} GiB that an account may send in a day;"
            " what was deleted counts, too.",
            429,
        )


def announced(session: Session, account: int, now: float) -> int:
    """How many bytes are still to come of an account's uploads; what has rested for a day will not."""
    left = (
        select(func.sum(Upload.length - Upload.offset))
        .join(Entry, Entry.id == Upload.entry_id)
        .where(Entry.account_id == account, Entry.state == UPLOADING, Upload.touched >= now - DAY_SECONDS)
    )
    return int(session.scalar(left) or 0)


def _hour(now: float) -> int:
    return int(now // HOUR_SECONDS)
