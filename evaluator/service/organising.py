"""What only an organiser sees and does: scores that were held back, teams that probe, entries that failed."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select
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
    Benchmark,
    Entry,
    Job,
    MeanScore,
)


@dataclass(frozen=True)
class Team:
    """What an account has asked of a benchmark: how many scores, from the first to the best, by the first measure."""

    account: str
    benchmark: str
    measure: str
    scores: int
    first: float | None
    best: float | None

    @property
    def gain(self) -> float | None:
        """How much better the best is than the first."""
        if self.first is None or self.best is None:
            return None
        return round(MEASURES[self.measure].gain(self.first, self.best), 2)


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
    """How often each account has had a score of each benchmark, most often first."""
    rows = session.execute(
        select(Entry, MeanScore.value, MeanScore.measure)
        .join(MeanScore, MeanScore.entry_id == Entry.id)
        .where(Entry.state == DONE, MeanScore.part == PUBLIC_PART, MeanScore.stem == MEAN)
        .order_by(Entry.id)
    )
    values: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for entry, value, measure in rows:
        if measure == entry.benchmark.measures[0] and value is not None:
            values[entry.account.name, entry.benchmark.name, measure].append(value)
    found = [_team(*key, scores) for key, scores in values.items()]
    return sorted(found, key=lambda team: -team.scores)


def _team(account: str, benchmark: str, measure: str, scores: list[float]) -> Team:
    best = max(scores) if MEASURES[measure].higher_is_better else min(scores)
    return Team(account, benchmark, measure, len(scores), scores[0], best)


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
    """A day such as 2026-12-31, or a moment such as 2026-12-31T18:00, in UTC, as seconds since 1970."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise Refused(
            f"{printable.plain(text, 40)}: expected a date such as 2026-12-31, or with a time, 2026-12-31T18:00"
        ) from None
