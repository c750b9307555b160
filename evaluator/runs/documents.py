"""The JSON files of results and baselines, version 1 (documented in ../README.md): what they must hold."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError, field_validator

from evaluator import schema
from evaluator.challenge import of_name
from evaluator.isolation.sandbox import Isolation, Limits, Status
from evaluator.measures.means import Scores
from evaluator.runs.records import DataInfo, Identity, SetupResult

SCHEMA_VERSION = 1
SDR = "sdr"

RunStatus = Literal["ok", "failed", "incomplete"]


class ResultError(Exception):
    """A result cannot be used; the message says which and why."""


class ScoredTrack(schema.Document):
    """A track; what has no field here may be a measure, {stem: dB}."""

    model_config = ConfigDict(extra="allow")

    name: str
    status: Status
    audio_seconds: float

    def scores(self, measures: Sequence[str], stems: Sequence[str], where: str) -> dict[str, Scores]:
        """{measure: {stem: dB}} of those `measures` that the track has; ResultError if a stem is missing."""
        extra = self.model_extra or {}
        found = {name: _scores(extra[name], stems, f"{where}.{name}") for name in measures if extra.get(name)}
        if self.status == "ok" and None in found.get(SDR, {"": None}).values():
            raise ResultError(f"{where}: the track is ok, but has no SDR for every one of {', '.join(stems)}")
        return found


_SCORES = TypeAdapter(dict[str, float | None])


def _scores(value: object, stems: Sequence[str], where: str) -> Scores:
    try:
        scores = _SCORES.validate_python(value, strict=True)
    except ValidationError as error:
        raise ResultError(schema.sentence(where, error)) from None
    if scores.keys() != set(stems):
        raise ResultError(f"{where}: found {', '.join(scores)}, expected {', '.join(stems)}")
    return scores


class Track(ScoredTrack):
    """A track of a result."""

    reason: str | None
    seconds: float | None
    limit_seconds: float | None
    peak_memory_bytes: int | None
    economies: tuple[Any, ...]


class BaselineSubmission(schema.Document):
    """Whose scores a baseline holds, without a path."""

    commit: str | None
    dirty: bool | None
    files_sha256: str
    preset: Any
    weights: Any


class ScoredRun(schema.Document):
    """What results and baselines share."""

    schema_version: Literal[1]
    track: str
    status: RunStatus
    score: dict[str, float | None] | None
    data: DataInfo
    limits: Limits
    versions: dict[str, str]
    start: str

    @field_validator("track")
    @classmethod
    def _is_known(cls, track: str) -> str:
        return of_name(track).name


class Baseline(ScoredRun):
    """The file of a baseline."""

    kind: Literal["baseline"]
    tracks: tuple[ScoredTrack, ...]
    submission: BaselineSubmission


class Submission(schema.Document):
    """What a result says of a submission: its identity, and what it says of itself."""

    path: str
    commit: str | None
    dirty: bool | None
    files_sha256: str
    requested_preset: str | None
    requested_time_factor: float | None = None
    provenance: dict[str, Any] | None

    def identity(self) -> Identity:
        """Which code it is."""
        return Identity(**self.model_dump(exclude={"provenance"}))


class Run(ScoredRun):
    """The file of a result. `jobs` and `data.only` were added later, hence their defaults."""

    tracks: tuple[Track, ...]
    setup: SetupResult | None
    submission: Submission
    isolation: Isolation | None
    metrics: tuple[str, ...]
    runner: str
    jobs: int = 1
    machine: dict[str, Any]
    duration_seconds: float


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
        item = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(item, dict):
        raise ResultError(f"{path}: found {type(item).__name__}, expected a JSON object")
    return item
