"""What only an organiser sees and does: scores that were held back, teams that probe, entries that failed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from evaluator import printable
from evaluator.measures.catalogue import MEASURES
from evaluator.measures.means import MEAN
from evaluator.service.errors import Refused
from evaluator.service.tables import (
    DONE,
    FAILED,
    PUBLIC_PART,
    QUEUED,
    WAITING,
    Account,
    ApiToken,
    Benchmark,
    Entry,
    Job,
    MeanScore,
    SignedIn,
)


@dataclass(frozen=True)
class Team:
    """What an account has asked of a benchmark: how many scores, from the first to the best, by the first measure.

    stem: of those values, or "mean"; the one that gained most.
    """

    account: str
    benchmark: str
    measure: str
    scores: int
    stem: str | None
    first: float | None
    best: float | None

    @property
    def gain(self) -> float | None:
        """How much better the best is than the first."""
        if self.first is None or self.best is None:
            return None
        return round(MEASURES[self.measure].gain(self.first, self.best), 2)


@dataclass(frozen=True)
class Access:
    """An account, and what has access to it; closed: since when nothing has."""

    number: int
    name: str
    role: str
    created: float
    closed: float | None
    browsers: int
    tokens: int


def accounts_of(session: Session) -> list[Access]:
    """All accounts, oldest first; what is over counts until it is forgotten."""
    browsers, tokens = (_numbers(session, table) for table in (SignedIn, ApiToken))
    return [
        Access(
            *(each.id, each.name, each.role, each.created, each.closed),
            browsers.get(each.id, 0),
            tokens.get(each.id, 0),
        )
        for each in session.scalars(select(Account).order_by(Account.id))
    ]


def _numbers(session: Session, table: type[SignedIn] | type[ApiToken]) -> dict[int, int]:
    """How many rows each account has."""
    rows = session.execute(select(table.account_id, func.count()).group_by(table.account_id))
    return {row[0]: row[1] for row in rows}


def held_back(session: Session) -> list[Entry]:
    """Entries whose scores only an organiser sees, newest first."""
    query = select(Entry).where(Entry.suspicion.is_not(None), Entry.state == DONE)
    return list(session.scalars(query.order_by(Entry.id.desc())))


def failed(session: Session) -> list[tuple[Entry, str]]:
    """Entries that the service could not score, newest first, and what their last worker said."""
    rows = session.execute(
        select(Entry, Job.log)
        .join(Job, Job.entry_id == Entry.id)
        .where(Entry.state == FAILED)
        .order_by(Entry.id.desc())
    )
    return [(entry, log) for entry, log in rows]


def teams(session: Session) -> list[Team]:
    """How often each account has had a score of each benchmark, most often first.

    What was withdrawn counts, too, and so does an entry of few stems, which has no mean over all: gains are those of
    the column with the largest.
    """
    numbers: dict[Asked, int] = defaultdict(int)
    for entry in session.scalars(select(Entry).where(Entry.is_counted)):
        numbers[_asked(entry)] += 1
    rows = session.execute(
        select(Entry, MeanScore)
        .join(MeanScore, MeanScore.entry_id == Entry.id)
        .where(Entry.state == DONE, Entry.is_counted, MeanScore.part == PUBLIC_PART)
        .order_by(Entry.id)
    )
    values: dict[Asked, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for entry, mean in rows:
        if mean.value is not None and mean.measure == entry.benchmark.measures[0]:
            values[_asked(entry)][mean.stem].append(mean.value)
    found = [_team(asked, number, values[asked]) for asked, number in numbers.items()]
    return sorted(found, key=lambda team: -team.scores)


Asked = tuple[str, str, str]
"""Account or team, benchmark, measure."""


def _asked(entry: Entry) -> Asked:
    return entry.owner, entry.benchmark.name, entry.benchmark.measures[0]


def _team(asked: Asked, scores: int, columns: Mapping[str, Sequence[float]]) -> Team:
    higher = MEASURES[asked[2]].higher_is_better
    found = [
        Team(*asked, scores, stem, values[0], max(values) if higher else min(values))
        for stem, values in columns.items()
    ]
    return max(found, key=_gained, default=Team(*asked, scores, None, None, None))


def _gained(team: Team) -> tuple[float, bool]:
    """Of those that gained alike, the mean says most."""
    return team.gain or 0.0, team.stem == MEAN


def decide(session: Session, entry: Entry, act: str, now: float) -> None:
    """`show` the scores of an entry, which then count against its author's quota; `retry` one that failed."""
    if act == "show" and entry.suspicion is not None:
        entry.suspicion, entry.is_counted = None, True
        return
    job = session.scalar(select(Job).where(Job.entry_id == entry.id))
    if act == "retry" and entry.state == FAILED and job is not None:
        entry.state, entry.problems = QUEUED, []
        job.state, job.attempts, job.not_before, job.tracks_done = WAITING, 0, now, 0
        return
    raise Refused(f"{printable.plain(act, 40)}: cannot be done with entry {entry.id} as it is.", 409)


def rescore(session: Session, benchmark: Benchmark, measures: Sequence[str], now: float) -> int:
    """Have all entries be scored by these measures; until then they keep what they have. Returns how many."""
    benchmark.measures = list(measures)
    again = (
        select(Job)
        .join(Entry, Entry.id == Job.entry_id)
        .where(Entry.benchmark_id == benchmark.id, Entry.state == DONE)
    )
    jobs = list(session.scalars(again))
    for job in jobs:
        job.state, job.attempts, job.not_before, job.tracks_done = WAITING, 0, now, 0
    return len(jobs)


def moment_of(text: str) -> float:
    """A day such as 2026-12-31, or a moment such as 2026-12-31T18:00, as seconds since 1970.

    In UTC, unless it says another zone, as 2026-12-31T18:00+01:00 does.
    """
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except ValueError:
        raise Refused(
            f"{printable.plain(text, 40)}: expected a date such as 2026-12-31, or with a time, 2026-12-31T18:00"
        ) from None
