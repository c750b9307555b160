"""The JSON files of results and baselines, version 1 (documented in ../README.md): what they must hold.

They may come from anybody, so this is where everything is checked: types, ranges, names. Text that is only shown,
such as the reason of a failure, is made visible here (`printable`), and from here on nothing checks again.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from evaluator import printable, schema, strict_json
from evaluator.challenge import of_name
from evaluator.isolation.sandbox import Isolation, Limits, Status
from evaluator.measures.catalogue import MEASURES
from evaluator.measures.means import Scores
from evaluator.runs.labels import Label, NameText, NoteText, Tags
from evaluator.runs.records import DataInfo, GivenEstimates, Host, Identity, LeftOut, SetupResult

SCHEMA_VERSION = 1
SDR = "sdr"

NAME_CHARACTERS = 300
PATH_CHARACTERS = 4096
MOST_TRACKS = 1_000_000
LONGEST_SECONDS = 1e9  # thirty years
MOST_BYTES = 1 << 59
FIRST_DAY, LAST_DAY = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
SHA256 = re.compile(r"[0-9a-f]{64}")
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
WHEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(\+00:00|Z)", re.ASCII)

RunStatus = Literal["ok", "failed", "incomplete"]


class ResultError(Exception):
    """A result cannot be used; the message says which and why."""


# Kinds of text and numbers


def _visible(name: str) -> str:
    if (wrong := printable.fault(name)) is not None:
        raise ValueError(f"found the character {wrong}, which no name may have")
    return name


def track_name(name: str) -> str:
    """A name that a track can have, "/" between a split and its track; ValueError for any other."""
    if not name or len(name) > NAME_CHARACTERS or any(part in ("", ".", "..") for part in name.split("/")):
        raise ValueError(f"found {schema.found(name)}, expected a name of 1 to {NAME_CHARACTERS} characters")
    return _visible(name)


def _shown(text: str) -> str:
    return printable.plain(text, printable.TEXT_CHARACTERS)


def _matching(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def match(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"found {schema.found(text)}, expected {what}")
        return text

    return AfterValidator(match)


def moment(text: str) -> datetime:
    """The time that a text names; ValueError unless it is ISO 8601 in UTC, of this century."""
    try:
        when = datetime.fromisoformat(text) if WHEN.fullmatch(text) else None
    except ValueError:  # the 31st of February
        when = None
    if when is None or not FIRST_DAY <= when < LAST_DAY:
        expected = f"a time as 2026-01-31T12:00:00+00:00, from {FIRST_DAY.year} to {LAST_DAY.year - 1}"
        raise ValueError(f"found {schema.found(text)}, expected {expected}")
    return when


def _when(text: str) -> str:
    moment(text)
    return text


Name = Annotated[str, Field(min_length=1, max_length=NAME_CHARACTERS), AfterValidator(_visible)]
PathText = Annotated[str, Field(max_length=PATH_CHARACTERS), AfterValidator(_visible)]
TrackName = Annotated[str, AfterValidator(track_name)]
Shown = Annotated[str, AfterValidator(_shown)]
ShownTree = Annotated[Any, AfterValidator(printable.tree)]
When = Annotated[str, AfterValidator(_when)]
Sha256 = Annotated[str, _matching(SHA256, "64 hexadecimal digits")]
Commit = Annotated[str, _matching(COMMIT, "the 40 or 64 hexadecimal digits of a commit")]
Seconds = Annotated[float, Field(ge=0, le=LONGEST_SECONDS)]
Positive = Annotated[float, Field(gt=0)]
Bytes = Annotated[int, Field(ge=0, le=MOST_BYTES)]


def _known_measures(metrics: tuple[str, ...]) -> tuple[str, ...]:
    if SDR not in metrics or len(set(metrics)) < len(metrics) or not set(metrics) <= set(MEASURES):
        found = printable.plain(", ".join(metrics), schema.KEY_CHARACTERS) or "none"
        raise ValueError(f"found {found}, expected {SDR} among them, and each once, of {', '.join(MEASURES)}")
    return metrics


Metrics = Annotated[tuple[str, ...], AfterValidator(_known_measures)]
Record = TypeVar("Record", SetupResult, Isolation, Host)


def _sane_limits(limits: Limits) -> Limits:
    for field in fields(limits):
        value = getattr(limits, field.name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and value < 0:
            raise ValueError(f"{field.name}: found {value}, expected a number from 0")
    return limits


def _sane_data(data: DataInfo) -> DataInfo:
    if not 0 < data.number <= MOST_TRACKS:
        raise ValueError(f"number: found {data.number}, expected from 1 to {MOST_TRACKS} tracks")
    if not SHA256.fullmatch(data.hash):
        raise ValueError(f"hash: found {schema.found(data.hash)}, expected 64 hexadecimal digits")
    for name in (*(each.name for each in data.left_out), *data.tracks):
        track_name(name)
    for digest in data.tracks.values():
        if not SHA256.fullmatch(digest):
            raise ValueError(f"tracks: found {schema.found(digest)}, expected 64 hexadecimal digits")
    for name, text in (("path", data.path), ("only", data.only or "")):
        if len(text) > PATH_CHARACTERS:
            raise ValueError(f"{name}: {len(text)} characters, expected at most {PATH_CHARACTERS}")
        if (wrong := printable.fault(text)) is not None:
            raise ValueError(f"{name}: found the character {wrong}, which no name may have")
    return replace(data, left_out=tuple(LeftOut(each.name, _shown(each.reason)) for each in data.left_out))


def _sane_estimates(given: GivenEstimates) -> GivenEstimates:
    if not given.path or len(given.path) > PATH_CHARACTERS:
        raise ValueError(f"path: {len(given.path)} characters, expected from 1 to {PATH_CHARACTERS}")
    if not SHA256.fullmatch(given.files_sha256):
        raise ValueError(
            f"files_sha256: found {schema.found(given.files_sha256)}, expected 64 hexadecimal digits"
        )
    _visible(given.path)
    return given


def _sane_setup(setup: SetupResult) -> SetupResult:
    for name, seconds in (("seconds", setup.seconds), ("limit_seconds", setup.limit_seconds)):
        if seconds is not None and not 0 <= seconds <= LONGEST_SECONDS:
            raise ValueError(f"{name}: found {seconds}, expected a number from 0")
    return _shown_record(setup)


def _sane_host(host: Host) -> Host:
    numbers = {
        "cores": host.cores,
        "memory_bytes": host.memory_bytes,
        "tracks_at_a_time": host.tracks_at_a_time,
    }
    for name, number in numbers.items():
        if number is not None and not 0 < number <= MOST_BYTES:
            raise ValueError(f"{name}: found {number}, expected a number from 1")
    return _shown_record(host)


def _shown_record(record: Record) -> Record:
    """The record with all text in it visible."""
    return replace(
        record, **{field.name: printable.tree(getattr(record, field.name)) for field in fields(record)}
    )


class Machine(schema.Document):
    """What a result says of the machine, as far as it is shown; the rest may be anything."""

    model_config = ConfigDict(extra="allow")

    system: Shown | None = None
    architecture: Shown | None = None
    processor: Shown | None = None
    cores: Annotated[int, Field(ge=1, le=1 << 20)] | None = None
    memory_bytes: Bytes | None = None
    gpus: list[Shown] | None = None

    def as_given(self) -> dict[str, Any]:
        """What was said, with all text in it visible."""
        return dict(printable.tree(self.model_dump(exclude_unset=True)))


# Documents


class ScoredTrack(schema.Document):
    """A track; what has no field here may be a measure, {stem: dB}."""

    model_config = ConfigDict(extra="allow")

    name: TrackName
    status: Status
    audio_seconds: Annotated[float, Field(gt=0, le=LONGEST_SECONDS)]

    def scores(self, measures: Sequence[str], stems: Sequence[str], where: str) -> dict[str, Scores]:
        """{measure: {stem: dB}} of those `measures` that the track has; ResultError if a stem is missing."""
        extra = self.model_extra or {}
        found = {
            name: _scores(extra[name], name, stems, f"{where}.{name}") for name in measures if extra.get(name)
        }
        if self.status == "ok" and None in found.get(SDR, {"": None}).values():
            raise ResultError(f"{where}: the track is ok, but has no SDR for every one of {', '.join(stems)}")
        if self.status != "ok" and found:
            raise ResultError(f"{where}: the track is {self.status}, but has scores")
        return found


def _scores(value: object, measure: str, stems: Sequence[str], where: str) -> Scores:
    known = MEASURES[measure]
    if not isinstance(value, dict):
        raise ResultError(f"{where}: found {schema.found(value)}, expected a valid dictionary")
    for stem, score in value.items():
        if score is None:
            continue
        key = f"{where}: {printable.plain(stem, schema.KEY_CHARACTERS)}"
        if isinstance(score, bool) or not isinstance(score, int | float):
            raise ResultError(f"{key}: found {schema.found(score)}, expected a valid number")
        if not known.can_be(score):
            between = f"from {known.lowest:g} to {known.highest:g}{' dB' if known.unit == 'dB' else ''}"
            raise ResultError(f"{key}: found {score}, expected {between}, as no {measure} lies beyond")
    if value.keys() != set(stems):
        names = printable.plain(", ".join(value), schema.KEY_CHARACTERS)
        raise ResultError(f"{where}: found {names}, expected {', '.join(stems)}")
    return {stem: None if score is None else float(score) for stem, score in value.items()}


class Track(ScoredTrack):
    """A track of a result."""

    reason: Shown | None
    seconds: Seconds | None
    limit_seconds: Positive | None
    peak_memory_bytes: Bytes | None
    economies: tuple[ShownTree, ...]
    machine: Shown | None = None
    last_line: Shown | None = None


class BaselineSubmission(schema.Document):
    """Whose scores a baseline holds, without a path."""

    commit: Commit | None
    dirty: bool | None
    files_sha256: Sha256
    preset: ShownTree
    weights: ShownTree


class ScoredRun(schema.Document):
    """What results and baselines share. What has a default was added later; `predictions` replaces `submission`."""

    schema_version: Literal[1]
    track: str
    status: RunStatus
    score: dict[str, float | None] | None
    data: Annotated[DataInfo, AfterValidator(_sane_data)]
    limits: Annotated[Limits, AfterValidator(_sane_limits)]
    versions: dict[Name, Shown]
    start: When
    tracks: tuple[ScoredTrack, ...]
    submission: Any
    predictions: Annotated[GivenEstimates, AfterValidator(_sane_estimates)] | None = None
    name: NameText | None = None
    note: NoteText | None = None
    tags: Tags = ()

    @property
    def label(self) -> Label:
        """What it is called."""
        return Label(self.name, self.note, self.tags)

    @field_validator("track")
    @classmethod
    def _is_known(cls, track: str) -> str:
        return of_name(track).name

    @model_validator(mode="after")
    def _something_was_scored(self) -> "ScoredRun":
        if (self.submission is None) == (self.predictions is None):
            found = "neither" if self.submission is None else "both"
            raise ValueError(f"submission, predictions: found {found}, expected one of the two")
        return self

    @model_validator(mode="after")
    def _tracks_are_of_the_data(self) -> "ScoredRun":
        if len(self.tracks) > self.data.number:
            raise ValueError(
                f"tracks: found {len(self.tracks)}, expected at most the {self.data.number} of the data"
            )
        seen: set[str] = set()
        for track in self.tracks:
            if track.name in seen:
                raise ValueError(f"tracks: found {schema.found(track.name)} twice, expected each track once")
            seen.add(track.name)
        return self


class Baseline(ScoredRun):
    """The file of a baseline. `run` and `metrics` were added later."""

    kind: Literal["baseline"]
    submission: BaselineSubmission | None
    run: Sha256 | None = None
    metrics: Metrics = (SDR,)


class Submission(schema.Document):
    """What a result says of a submission: its identity, and what it says of itself."""

    path: PathText
    commit: Commit | None
    dirty: bool | None
    files_sha256: Sha256
    requested_preset: PathText | None
    requested_time_factor: Positive | None = None
    provenance: Annotated[dict[str, Any], AfterValidator(printable.tree)] | None

    def identity(self) -> Identity:
        """Which code it is."""
        return Identity(**self.model_dump(exclude={"provenance"}))


class Run(ScoredRun):
    """The file of a result. What has a default was added later."""

    tracks: tuple[Track, ...]
    setup: Annotated[SetupResult, AfterValidator(_sane_setup)] | None
    submission: Submission | None
    isolation: Annotated[Isolation, AfterValidator(_shown_record)] | None
    metrics: Metrics
    runner: Annotated[str, _matching(re.compile(r"[a-z][a-z0-9_-]{0,30}"), "the name of a runner")]
    jobs: Annotated[int, Field(ge=1, le=MOST_TRACKS)] = 1
    machine: Machine
    machines: tuple[Annotated[Host, AfterValidator(_sane_host)], ...] = ()
    duration_seconds: Seconds


Kind = TypeVar("Kind", bound=schema.Document)


def parse(kind: type[Kind], item: Mapping[str, Any], where: str) -> Kind:
    """The JSON object `item` as a document; ResultError says what is wrong in `where`."""
    try:
        return kind.model_validate_json(json.dumps(item, allow_nan=False))
    except ValidationError as error:
        raise ResultError(schema.sentence(where, error)) from None
    except ValueError as error:  # NaN or infinity
        raise ResultError(f"{where}: {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file; ResultError if it cannot be read or holds something else."""
    try:
        return strict_json.read_object(path)
    except OSError as error:
        raise ResultError(f"{path}: not readable as JSON ({error.strerror or error})") from error
    except strict_json.JsonError as error:
        raise ResultError(f"{path}: {error}") from None
