"""The tables. All moments are seconds since 1970 (UTC), all tokens SHA-256 of what was shown once."""

from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Float,
    ForeignKey,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
    true,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

NAMES = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}

ROLES = ("reader", "submitter", "organiser")
SCOPES = ("read", "submit")
UPLOADING, QUEUED, VALIDATING, SCORING, DONE = "uploading", "queued", "validating", "scoring", "done"
REFUSED, FAILED, CANCELLED, WITHDRAWN = "refused", "failed", "cancelled", "withdrawn"
UNDER_WAY = (QUEUED, VALIDATING, SCORING)
PRIVATE, ANONYMOUS, PUBLIC = "private", "anonymous", "public"
PUBLIC_PART, PRIVATE_PART = "public", "private"
WAITING, RUNNING, ENDED = "waiting", "running", "ended"


class Base(DeclarativeBase):
    """What all tables have in common."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map: ClassVar[dict[Any, Any]] = {float: Float(53), dict[str, Any]: JSON, list[Any]: JSON}


class Account(Base):
    """Somebody who may do more than read."""

    __tablename__ = "accounts"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    folded_name: Mapped[str] = mapped_column(String(128), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(String(16))
    created: Mapped[float]
    closed: Mapped[float | None]  # since when nobody gets into it; see closing.py


class Invite(Base):
    """A link with which one person makes an account."""

    __tablename__ = "invites"
    id: Mapped[int] = mapped_column(primary_key=True)
    token_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(16))
    created: Mapped[float]
    expires: Mapped[float]
    account_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id"))


class Reset(Base):
    """A link with which somebody chooses another password."""

    __tablename__ = "resets"
    token_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), unique=True)
    expires: Mapped[float]


class Identity(Base):
    """Who somebody is to an OpenID provider; they sign in with it as an account of ours, while it is linked.

    One that is not is kept: it must not make one account after the other, each with scores to ask for.
    """

    __tablename__ = "identities"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    issuer: Mapped[str] = mapped_column(String(255))
    subject: Mapped[str] = mapped_column(String(255))
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), index=True)
    created: Mapped[float]
    is_linked: Mapped[bool] = mapped_column(server_default=true())


class SignedIn(Base):
    """A browser in which somebody has signed in."""

    __tablename__ = "signed_in"
    token_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    created: Mapped[float]
    expires: Mapped[float]


class ApiToken(Base):
    """What a program shows in place of a password; its prefix is kept to recognise it."""

    __tablename__ = "api_tokens"
    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), index=True)
    label: Mapped[str] = mapped_column(String(64))
    prefix: Mapped[str] = mapped_column(String(16))
    token_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    scope: Mapped[str] = mapped_column(String(16))
    created: Mapped[float]
    expires: Mapped[float]
    used: Mapped[float | None]


class Attempt(Base):
    """A failed sign-in, by what its number is limited for."""

    __tablename__ = "attempts"
    id: Mapped[int] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(String(160), index=True)
    at: Mapped[float]


class Benchmark(Base):
    """A data set with references, and the rules for entries.

    tracks: a list of {name, folder, frames, rate_hz, channels, part}, in the data set's order; see benchmarks.py.
    published_sets: names of sets of published scores, which are shown below its board; see references.py.
    """

    __tablename__ = "benchmarks"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    title: Mapped[str] = mapped_column(String(200))
    dataset_type: Mapped[int | None] = mapped_column(unique=True)  # its number for MVSep's clients
    folder: Mapped[str] = mapped_column(Text)
    data_sha256: Mapped[str] = mapped_column(String(64))
    stems: Mapped[list[Any]]
    measures: Mapped[list[Any]]
    tracks: Mapped[list[Any]]
    is_open: Mapped[bool]  # whether everybody may have the references anyway
    seed: Mapped[int]
    opens: Mapped[float | None]
    closes: Mapped[float | None]
    per_day: Mapped[int]  # scored entries of an account
    in_all: Mapped[int]
    created: Mapped[float]
    published_sets: Mapped[list[Any]] = mapped_column(server_default=text("'[]'"))


class Entry(Base):
    """Estimates that somebody uploads, and what came of them."""

    __tablename__ = "entries"
    id: Mapped[int] = mapped_column(primary_key=True)
    benchmark_id: Mapped[int] = mapped_column(ForeignKey("benchmarks.id"), index=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), index=True)
    team: Mapped[str | None] = mapped_column(String(64))  # that an organiser has submitted it for
    name: Mapped[str] = mapped_column(String(120))
    method: Mapped[str] = mapped_column(String(120))
    is_ensemble: Mapped[bool]
    derives_instrumental: Mapped[bool] = mapped_column(server_default=false())  # where there is none
    training_data: Mapped[str] = mapped_column(String(500))
    link: Mapped[str] = mapped_column(String(500))
    description: Mapped[str] = mapped_column(Text)
    checkpoints: Mapped[str] = mapped_column(String(1000))
    visibility: Mapped[str] = mapped_column(String(16))
    named_from: Mapped[float | None]  # when an anonymous entry gets its author's name
    state: Mapped[str] = mapped_column(String(16), index=True)
    problems: Mapped[list[Any]]  # sentences for its owner
    content_sha256: Mapped[str | None] = mapped_column(String(64))
    stems: Mapped[list[Any]]
    created: Mapped[float]
    submitted: Mapped[float | None]
    scored: Mapped[float | None]
    is_counted: Mapped[bool]  # whether its score, which was shown, counts against the quota
    suspicion: Mapped[str | None] = mapped_column(String(500))  # why only the organiser sees its scores
    password_hash: Mapped[str | None] = mapped_column(String(255))  # with which MVSep's clients delete it
    benchmark: Mapped[Benchmark] = relationship()
    account: Mapped[Account] = relationship()

    @property
    def owner(self) -> str:
        """Whose it is: the team's, or the account's."""
        return self.team or self.account.name


class Upload(Base):
    """One file on its way to us; stored below the entry's folder under a name of ours.

    track, stem: what it is an estimate of; None for a zip of all.
    """

    __tablename__ = "uploads"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    entry_id: Mapped[int] = mapped_column(ForeignKey("entries.id"), index=True)
    name: Mapped[str] = mapped_column(String(400))
    track: Mapped[str | None] = mapped_column(String(300))
    stem: Mapped[str | None] = mapped_column(String(64))
    length: Mapped[int] = mapped_column(BigInteger)
    offset: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str | None] = mapped_column(String(64))  # as said by who sends it, or as found at the end
    is_verified: Mapped[bool]
    created: Mapped[float]
    touched: Mapped[float]
    entry: Mapped[Entry] = relationship()


class Received(Base):
    """How many bytes an account has sent in one hour since 1970; see received.py."""

    __tablename__ = "received"
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    hour: Mapped[int] = mapped_column(primary_key=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)


class Job(Base):
    """Scoring one entry; claimed by a worker for as long as it says that it lives."""

    __tablename__ = "jobs"
    id: Mapped[int] = mapped_column(primary_key=True)
    entry_id: Mapped[int] = mapped_column(ForeignKey("entries.id"), unique=True)
    state: Mapped[str] = mapped_column(String(16), index=True)
    attempts: Mapped[int]
    worker: Mapped[str | None] = mapped_column(String(120))
    lease_until: Mapped[float | None]
    not_before: Mapped[float]
    tracks_done: Mapped[int]
    log: Mapped[str] = mapped_column(Text)
    entry: Mapped[Entry] = relationship()


class Worker(Base):
    """A process that scores, and when it was last heard of."""

    __tablename__ = "workers"
    name: Mapped[str] = mapped_column(String(120), primary_key=True)
    seen: Mapped[float]


class TrackScore(Base):
    """One measure of one stem of one track; of hidden sets nobody but the organiser sees it."""

    __tablename__ = "track_scores"
    __table_args__ = (UniqueConstraint("entry_id", "track", "stem", "measure"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    entry_id: Mapped[int] = mapped_column(ForeignKey("entries.id"))
    track: Mapped[str] = mapped_column(String(300))
    stem: Mapped[str] = mapped_column(String(64))
    measure: Mapped[str] = mapped_column(String(32))
    value: Mapped[float | None]


class MeanScore(Base):
    """What is shown: a mean over a part's tracks, already rounded to two decimals."""

    __tablename__ = "mean_scores"
    __table_args__ = (UniqueConstraint("entry_id", "part", "stem", "measure"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    entry_id: Mapped[int] = mapped_column(ForeignKey("entries.id"))
    part: Mapped[str] = mapped_column(String(16))
    stem: Mapped[str] = mapped_column(String(64))  # or "mean", over all stems of the benchmark
    measure: Mapped[str] = mapped_column(String(32))
    value: Mapped[float | None]
