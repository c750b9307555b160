"""The queue: one row for each entry to score, in the same database, claimed for as long as a worker says it lives.

A job is claimed by one UPDATE, for LEASE_SECONDS, which the worker extends every HEARTBEAT_SECONDS. One whose lease
is over goes to the next worker; after MOST_ATTEMPTS the entry has failed, with what the last one said. Whoever has
lost a job cannot write its result: every write names the worker and the attempt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from evaluator import printable
from evaluator.measures.means import Scores
from evaluator.service.tables import (
    DONE,
    ENDED,
    FAILED,
    QUEUED,
    REFUSED,
    RUNNING,
    SCORING,
    UNDER_WAY,
    VALIDATING,
    WAITING,
    Entry,
    Job,
    MeanScore,
    TrackScore,
    Worker,
)

LEASE_SECONDS, HEARTBEAT_SECONDS = 60.0, 10.0
MOST_ATTEMPTS = 3
FORGOTTEN_SECONDS = 3600.0
WRONG_CLOCK_SECONDS = 3600.0  # ahead; less than that is how clocks of several hosts may differ
PAUSE_SECONDS = 5.0  # before an attempt after the first, by attempt
LOG_CHARACTERS = 2000
LOST = "its worker stopped without a word"


@dataclass(frozen=True)
class Claim:
    """A job that this worker has, and nobody else."""

    job: int
    entry: int
    worker: str
    attempt: int


@dataclass(frozen=True)
class Waiting:
    """An entry in the queue, as everybody may see it."""

    entry: int
    benchmark: str
    state: str
    place: int
    tracks_done: int
    tracks: int
    attempts: int
    submitted: float


def claim(session: Session, worker: str, now: float) -> Claim | None:
    """The job that has waited longest, or whose worker has gone; None if there is none."""
    free = or_(
        and_(Job.state == WAITING, _has_come(Job.not_before, PAUSE_SECONDS * MOST_ATTEMPTS, now)),
        and_(Job.state == RUNNING, _has_come(Job.lease_until, LEASE_SECONDS, now)),
    )
    first = (
        select(Job.id)
        .where(free, Job.attempts < MOST_ATTEMPTS)
        .order_by(Job.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    taken = (
        update(Job)
        .where(Job.id == first)
        .values(
            state=RUNNING,
            worker=worker,
            attempts=Job.attempts + 1,
            lease_until=now + LEASE_SECONDS,
            tracks_done=0,
        )
        .returning(Job.id, Job.entry_id, Job.attempts)
        .execution_options(synchronize_session=False)
    )
    found = session.execute(taken).first()
    if found is None:
        return None
    job, entry, attempt = found
    _set_state(session, entry, VALIDATING)
    return Claim(job, entry, worker, attempt)


def _has_come(moment: Any, longest: float, now: float) -> ColumnElement[bool]:
    """Whether a moment is over that was at most `longest` seconds ahead when it was set.

    One that is much further ahead was set by a clock that has been put back since: nobody waits for that.
    """
    return or_(moment <= now, moment > now + longest + WRONG_CLOCK_SECONDS)


def beat(session: Session, claimed: Claim, now: float, tracks_done: int) -> bool:
    """Say that the worker lives; False if the job is not its own any more, or was cancelled."""
    return _still(session, claimed, lease_until=now + LEASE_SECONDS, tracks_done=tracks_done)


def scoring(session: Session, claimed: Claim) -> bool:
    """Say that the files fit and that scoring begins; False if the job is lost."""
    if not _still(session, claimed, tracks_done=0):
        return False
    _set_state(session, claimed.entry, SCORING)
    return True


def _still(session: Session, claimed: Claim, **values: object) -> bool:
    """Change the job if it is still the worker's."""
    kept = (
        update(Job)
        .where(
            Job.id == claimed.job,
            Job.state == RUNNING,
            Job.worker == claimed.worker,
            Job.attempts == claimed.attempt,
        )
        .values(**values)
        .returning(Job.id)
    )
    return session.scalar(kept) is not None


def _set_state(session: Session, entry: int, state: str) -> None:
    """Move an entry that is under way to another state; one that was cancelled stays so."""
    session.execute(update(Entry).where(Entry.id == entry, Entry.state.in_(UNDER_WAY)).values(state=state))


def refuse(session: Session, claimed: Claim, problems: Sequence[str]) -> bool:
    """End a job whose entry does not fit its benchmark; False if the job is lost."""
    return _end(session, claimed, REFUSED, list(problems))


def _end(session: Session, claimed: Claim, state: str, problems: list[str], log: str = "") -> bool:
    if not _still(session, claimed, state=ENDED, lease_until=None, log=log):
        return False
    session.execute(
        update(Entry)
        .where(Entry.id == claimed.entry, Entry.state.in_(UNDER_WAY))
        .values(state=state, problems=problems)
    )
    return True


def give_back(session: Session, claimed: Claim, reason: str, detail: str, now: float) -> bool:
    """Have another attempt follow one that went wrong for a reason of ours, or fail after the last.

    reason: for the author. detail: for the organiser.
    """
    log = printable.plain(f"{reason}: {detail}", LOG_CHARACTERS)
    if claimed.attempt >= MOST_ATTEMPTS:
        return _end(session, claimed, FAILED, [_failure(claimed.attempt, reason)], log)
    again = now + PAUSE_SECONDS * claimed.attempt
    if not _still(session, claimed, state=WAITING, worker=None, lease_until=None, not_before=again, log=log):
        return False
    _set_state(session, claimed.entry, QUEUED)
    return True


def hand_back(session: Session, claimed: Claim) -> bool:
    """Have another worker take up a job at once, through no fault of anybody's: the attempt does not count."""
    values = {"state": WAITING, "worker": None, "lease_until": None, "attempts": claimed.attempt - 1}
    if not _still(session, claimed, **values):
        return False
    _set_state(session, claimed.entry, QUEUED)
    return True


def fail_lost(session: Session, now: float) -> list[int]:
    """Fail the entries whose workers have gone in every attempt; returns them."""
    lost = list(
        session.scalars(
            select(Job).where(
                Job.state == RUNNING,
                _has_come(Job.lease_until, LEASE_SECONDS, now),
                Job.attempts >= MOST_ATTEMPTS,
            )
        )
    )
    for job in lost:
        claimed = Claim(job.id, job.entry_id, job.worker or "", job.attempts)
        _end(session, claimed, FAILED, [_failure(job.attempts, LOST)], job.log or LOST)
    return [job.entry_id for job in lost]


def _failure(attempts: int, reason: str) -> str:
    return f"the service tried {attempts} times and could not score it; the last time: {reason}"


@dataclass(frozen=True)
class Scored:
    """What came of an entry. Scores are {track: {measure: {stem: value}}}, means (part, stem, measure) -> value."""

    stems: list[str]
    content_sha256: str
    tracks: Mapping[str, Mapping[str, Scores]]
    means: Mapping[tuple[str, str, str], float | None]
    suspicion: str | None


def finish(session: Session, claimed: Claim, found: Scored, now: float) -> bool:
    """Keep the scores of an entry, once; False if the job is lost."""
    if not _end(session, claimed, DONE, []):
        return False
    entry = session.get_one(Entry, claimed.entry, populate_existing=True)
    if entry.state != DONE:
        return False
    entry.stems, entry.content_sha256 = found.stems, found.content_sha256
    if entry.scored is None:  # else it is scored again, which costs nothing and changes no decision
        entry.scored, entry.suspicion = now, found.suspicion
        entry.is_counted = found.suspicion is None and not _was_scored_before(session, entry)
    for table in (MeanScore, TrackScore):
        session.execute(delete(table).where(table.entry_id == entry.id))
    session.add_all(
        TrackScore(entry_id=entry.id, track=track, stem=stem, measure=measure, value=value)
        for track, measures in found.tracks.items()
        for measure, scores in measures.items()
        for stem, value in scores.items()
    )
    session.add_all(
        MeanScore(entry_id=entry.id, part=part, stem=stem, measure=measure, value=value)
        for (part, stem, measure), value in found.means.items()
    )
    return True


def _was_scored_before(session: Session, entry: Entry) -> bool:
    """Whether the author, or the team, has seen the score of the same files on the same benchmark."""
    same = select(func.count()).where(
        Entry.id != entry.id,
        Entry.benchmark_id == entry.benchmark_id,
        Entry.account_id == entry.account_id,
        Entry.team.is_not_distinct_from(entry.team),
        Entry.content_sha256 == entry.content_sha256,
        Entry.is_counted,
    )
    return (session.scalar(same) or 0) > 0


def queue(session: Session) -> list[Waiting]:
    """What is under way, in the order in which it will be done."""
    rows = session.execute(
        select(Job, Entry)
        .join(Entry, Entry.id == Job.entry_id)
        .where(Job.state.in_((WAITING, RUNNING)))
        .order_by(Job.state, Job.id)  # "running" before "waiting"
    )
    return [
        Waiting(
            entry.id,
            entry.benchmark.name,
            entry.state,
            place,
            job.tracks_done,
            len(entry.benchmark.tracks),
            job.attempts,
            entry.submitted or entry.created,
        )
        for place, (job, entry) in enumerate(rows, 1)
    ]


def greet(session: Session, worker: str, now: float) -> None:
    """Note that a worker lives, and forget those that have not been heard of for long."""
    session.merge(Worker(name=worker, seen=now))
    session.execute(delete(Worker).where(Worker.seen < now - FORGOTTEN_SECONDS))


def living_workers(session: Session, now: float) -> int:
    """How many workers were heard of of late."""
    heard = select(func.count()).select_from(Worker).where(Worker.seen >= now - LEASE_SECONDS)
    return session.scalar(heard) or 0
