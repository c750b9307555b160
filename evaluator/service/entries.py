"""Entries: what their authors say of them, when they may be scored, who sees what of them."""

import re
import shutil
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session

from evaluator import printable, schema
from evaluator.service import accounts, benchmarks
from evaluator.service.accounts import Caller
from evaluator.service.errors import Refused
from evaluator.service.settings import DAY_SECONDS, Settings
from evaluator.service.tables import (
    ANONYMOUS,
    CANCELLED,
    DONE,
    ENDED,
    FAILED,
    PRIVATE,
    PUBLIC,
    QUEUED,
    REFUSED,
    UNDER_WAY,
    UPLOADING,
    WAITING,
    WITHDRAWN,
    Benchmark,
    Entry,
    Job,
    MeanScore,
    TrackScore,
    Upload,
)

ATTEMPTS_PER_SCORE = 4  # entries a day that may be refused or cancelled, for each that may be scored
LINK = re.compile(r"https://[^\s\"'<>]+")
LONGEST_TEXTS = {"name": 100, "method": 100, "training_data": 400, "checkpoints": 900}
LONGEST_LINK = 400
MOST_LISTED = 500
LAST_MOMENT = 253_402_300_800.0  # the year 10000, which no calendar shows
NOBODY = "anonymous"
STATE_WORDS = {
    UPLOADING: "being uploaded",
    QUEUED: "waiting for a worker",
    "validating": "its files are being checked",
    "scoring": "being scored",
    DONE: "scored",
    REFUSED: "refused: its files do not fit the benchmark",
    FAILED: "failed: the service could not score it, which is no fault of the entry",
    CANCELLED: "cancelled",
    WITHDRAWN: "withdrawn by its author",
}


class Details(BaseModel):
    """What an author says of an entry."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, frozen=True)
    name: Annotated[str, Field(min_length=1, max_length=LONGEST_TEXTS["name"])]
    method: Annotated[str, Field(max_length=LONGEST_TEXTS["method"])] = ""
    is_ensemble: bool = False
    derives_instrumental: bool = False  # where the benchmark has this stem and the upload has not
    training_data: Annotated[str, Field(max_length=LONGEST_TEXTS["training_data"])] = ""
    link: Annotated[str, Field(max_length=LONGEST_LINK)] = ""
    description: Annotated[str, Field(max_length=5000)] = ""
    checkpoints: Annotated[str, Field(max_length=LONGEST_TEXTS["checkpoints"])] = (
        ""  # hashes, or a preset of this kit
    )
    visibility: Literal["private", "anonymous", "public"] = "private"
    named_from: Annotated[float, Field(ge=0, lt=LAST_MOMENT, allow_inf_nan=False)] | None = None

    @field_validator("name", "method", "training_data", "checkpoints")
    @classmethod
    def _one_line(cls, text: str, info: ValidationInfo) -> str:
        # Escapes are longer than what they stand for, and a column is no longer than this.
        return printable.plain(text, LONGEST_TEXTS[str(info.field_name)])

    @field_validator("description")
    @classmethod
    def _lines(cls, text: str) -> str:
        return printable.lines(text.replace("\r\n", "\n"))

    @field_validator("link")
    @classmethod
    def _https(cls, link: str) -> str:
        if link and not LINK.fullmatch(link):
            raise ValueError("link: expected one that begins with https://")
        # An address may hold what is not seen, or turns round the text after it, but is shown as well as followed.
        link = "".join(each if printable.fault(each) is None else quote(each) for each in link)
        if len(link) > LONGEST_LINK:
            raise ValueError(f"link: {len(link)} characters, expected at most {LONGEST_LINK}")
        return link


class Change(Details):
    """What an author says anew of an entry, which may leave its name out, too."""

    name: Annotated[str, Field(min_length=1, max_length=LONGEST_TEXTS["name"])] = ""


def details(given: dict[str, Any]) -> Details:
    """What was given, checked; Refused in one sentence."""
    try:
        return Details.model_validate(given)
    except ValidationError as error:
        raise Refused(schema.sentence("entry", error)) from None


def create(
    settings: Settings,
    session: Session,
    caller: Caller,
    benchmark: Benchmark,
    said: Details,
    now: float,
    team: str | None = None,
) -> Entry:
    """A new entry, whose files come next; Refused outside of the dates, or with too many begun ones.

    team: whose entry it is, where an organiser submits for others; each has quotas of its own.
    """
    if not caller.may_submit:
        raise Refused("Your account or token may read, not submit.", 403)
    if team is not None and not caller.may_submit_for_teams:
        raise Refused("Only an organiser submits for a team.", 403)
    _check_dates(benchmark, now)
    accounts.lock(session, caller.account)
    begun = select(Entry.id).where(
        Entry.account_id == caller.account, Entry.team.is_not_distinct_from(team), Entry.state == UPLOADING
    )
    if _count(session, begun) >= settings.open_uploads:
        raise Refused(
            f"You have begun {settings.open_uploads} entries that are not submitted; submit or cancel one first.",
            409,
        )
    entry = Entry(
        benchmark_id=benchmark.id,
        account_id=caller.account,
        team=team,
        state=UPLOADING,
        problems=[],
        stems=[],
        created=now,
        is_counted=False,
        **said.model_dump(),
    )
    session.add(entry)
    session.flush()
    remove_files(settings, entry.id)  # of one of that number that was never made: SQLite gives it again
    return entry


def _check_dates(benchmark: Benchmark, now: float) -> None:
    if benchmark.opens is not None and now < benchmark.opens:
        raise Refused(f"The benchmark {benchmark.name} is not open yet.", 409)
    if benchmarks.is_closed(benchmark, now):
        raise Refused(f"The benchmark {benchmark.name} is closed.", 409)


def submit(session: Session, caller: Caller, entry: Entry, now: float) -> None:
    """Put an entry whose files are complete into the queue; Refused without a quota, or while another is scored."""
    require_owner(caller, entry)
    accounts.lock(session, entry.account_id)
    session.refresh(entry, with_for_update=True)  # it may have been cancelled since it was looked up
    if entry.state in UNDER_WAY:  # asked twice: the first time counts
        return
    if entry.state != UPLOADING:
        raise Refused(f"Entry {entry.id} is {STATE_WORDS[entry.state]}; it cannot be submitted.", 409)
    _check_dates(entry.benchmark, now)
    _check_files(session, entry)
    own = select(Entry.id).where(
        Entry.account_id == entry.account_id,
        Entry.team.is_not_distinct_from(entry.team),
        Entry.benchmark_id == entry.benchmark_id,
    )
    if _count(session, own.where(Entry.state.in_(UNDER_WAY))):
        raise Refused("Another entry of yours is being scored; submit this one when it is done.", 409)
    check_quota(session, entry.benchmark, own, now)
    entry.state, entry.submitted = QUEUED, now
    session.add(
        Job(
            entry_id=entry.id,
            state=WAITING,
            attempts=0,
            not_before=now,
            tracks_done=0,
            log="",
        )
    )


def _check_files(session: Session, entry: Entry) -> None:
    uploads = session.scalars(select(Upload).where(Upload.entry_id == entry.id)).all()
    if not uploads:
        raise Refused(f"Entry {entry.id} has no files yet; upload them first.", 409)
    if missing := [each.name for each in uploads if not each.is_verified]:
        names = ", ".join(map(printable.plain, printable.listed(missing, 5)))
        raise Refused(f"Entry {entry.id} is not uploaded in full: {names}.", 409)


def check_quota(session: Session, benchmark: Benchmark, own: Select[int], now: float) -> None:
    """Refused where an account has had all the scores that it may have; own: its entries of the benchmark."""
    counted = own.where(Entry.is_counted)
    if _count(session, counted) >= benchmark.in_all:
        raise Refused(
            f"You have had {benchmark.in_all} scores of {benchmark.name}, which is all there is.", 429
        )
    today = now - DAY_SECONDS
    if _count(session, counted.where(Entry.scored >= today)) >= benchmark.per_day:
        raise Refused(f"You have had {benchmark.per_day} scores of {benchmark.name} within a day; wait.", 429)
    if _count(session, own.where(Entry.submitted >= today)) >= ATTEMPTS_PER_SCORE * benchmark.per_day:
        raise Refused("Too many of your entries were refused or cancelled within a day; wait.", 429)


def quota_left(session: Session, caller: Caller, benchmark: Benchmark, now: float) -> tuple[int, int]:
    """How many scores the caller may still have within a day, and in all."""
    counted = select(Entry.id).where(
        Entry.account_id == caller.account,
        Entry.team.is_(None),
        Entry.benchmark_id == benchmark.id,
        Entry.is_counted,
    )
    today = _count(session, counted.where(Entry.scored >= now - DAY_SECONDS))
    in_all = benchmark.in_all - _count(session, counted)
    return max(0, min(benchmark.per_day - today, in_all)), max(0, in_all)


def _count(session: Session, query: Select[int]) -> int:
    return session.scalar(select(func.count()).select_from(query.subquery())) or 0


def change(session: Session, caller: Caller, entry: Entry, said: Details) -> None:
    """Say something else of an entry. What is not said stays, and what is derived of it as it was submitted."""
    require_owner(caller, entry)
    if entry.state == WITHDRAWN:
        raise Refused(f"Entry {entry.id} was withdrawn.", 409)
    fixed = set() if entry.state == UPLOADING else {"derives_instrumental"}
    for key, value in said.model_dump(exclude_unset=True, exclude=fixed).items():
        setattr(entry, key, value)


def stop(session: Session, caller: Caller, entry: Entry) -> None:
    """Cancel an entry without scores, or withdraw one that has some, which leaves its number and its date."""
    require_owner(caller, entry)
    end(session, entry)


def end(session: Session, entry: Entry) -> None:
    """The same, whoever asks."""
    # First the job, as its worker has it (jobs.py), or each could wait for the other; then the entry as it is now.
    job = session.scalar(select(Job).where(Job.entry_id == entry.id).with_for_update())
    session.refresh(entry, with_for_update=True)
    if entry.state in (UPLOADING, *UNDER_WAY, FAILED):  # whose files go, so that it cannot be tried again
        entry.state = CANCELLED
    elif entry.state == DONE:
        entry.state = WITHDRAWN
        for table in (MeanScore, TrackScore):
            session.execute(delete(table).where(table.entry_id == entry.id))
    else:
        return
    if job is not None:
        job.state, job.worker, job.lease_until = ENDED, None, None


def remove_files(settings: Settings, entry: int) -> None:
    """Remove what was uploaded for an entry."""
    shutil.rmtree(settings.entry_folder(entry), ignore_errors=True)


def find(session: Session, number: int) -> Entry:
    """The entry of a number; Refused with 404 if there is none."""
    found = session.get(Entry, number) if 0 < number < 1 << 31 else None
    if found is None:
        raise Refused(f"There is no entry {number}.", 404)
    return found


def find_visible(session: Session, number: int, caller: Caller | None) -> Entry:
    """The entry of a number if the caller may see it; else the same as if there were none."""
    found = find(session, number)
    if not is_visible(found, caller):
        raise Refused(f"There is no entry {number}.", 404)
    return found


def is_own(entry: Entry, caller: Caller | None) -> bool:
    """Whether the caller is its author, or the organiser, who has signed in."""
    return caller is not None and (caller.is_organiser or caller.account == entry.account_id)


def require_owner(caller: Caller, entry: Entry) -> None:
    """Refused unless the caller may change the entry."""
    if not caller.may_submit or not is_own(entry, caller):
        raise Refused(f"Entry {entry.id} is not yours.", 403)


def is_visible(entry: Entry, caller: Caller | None) -> bool:
    """Whether the caller may open its page."""
    shown = entry.visibility != PRIVATE and entry.state in (DONE, WITHDRAWN) and entry.suspicion is None
    return shown or is_own(entry, caller)


def scores_visible(entry: Entry, caller: Caller | None) -> bool:
    """Whether the caller may see its scores; suspicious ones are the organiser's to look at."""
    if entry.state != DONE:
        return False
    return entry.suspicion is None or (caller is not None and caller.is_organiser)


def author(entry: Entry, caller: Caller | None, now: float) -> str:
    """The author's name, if the caller may know it."""
    return entry.owner if is_named(entry, now) or is_own(entry, caller) else NOBODY


def is_named(entry: Entry, now: float) -> bool:
    """Whether everybody may know whose it is."""
    due = entry.named_from is not None and now >= entry.named_from
    return entry.visibility == PUBLIC or (entry.visibility == ANONYMOUS and due)


def own(session: Session, caller: Caller) -> list[Entry]:
    """The caller's entries, newest first, up to a number that nobody looks through."""
    query = select(Entry).where(Entry.account_id == caller.account).order_by(Entry.id.desc())
    return list(session.scalars(query.limit(MOST_LISTED)))
