"""The result of an evaluation and its JSON, version 1 (documented in README.md of this folder)."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from evaluator.challenge import CHALLENGES
from evaluator.isolation.sandbox import Isolation, Limits, Status
from evaluator.running import scoring
from evaluator.running.submission import Identity

SCHEMA_VERSION = 1
Passing = Literal["yes", "no", "unknown"]


class ResultError(Exception):
    """A result file cannot be used; the message says which and why."""


@dataclass(frozen=True)
class TrackResult:
    """What came of one track; `scores` holds {metric: {stem: dB}}, empty unless the status is ok."""

    name: str
    status: Status
    reason: str | None
    seconds: float | None  # None where the submission was not running any more
    limit_seconds: float | None
    audio_seconds: float
    peak_memory_bytes: int | None
    economies: Sequence[Any]
    scores: Mapping[str, scoring.Scores]

    @property
    def late(self) -> bool:
        """Whether it is done but took longer than it may, which only a job with patience lets happen."""
        return is_late(asdict(self))

    def mean(self, metric: str) -> float | None:
        """Mean over stems in dB."""
        return scoring.mean(list(self.scores[metric].values())) if metric in self.scores else None


@dataclass(frozen=True)
class SetupResult:
    """What came of importing and constructing the submission, the last time that was done."""

    status: Status
    reason: str | None
    seconds: float
    limit_seconds: float | None
    wrapper: str  # whose AIcrowdWrapper was called: "submission" or "evaluator"


@dataclass(frozen=True)
class DataInfo:
    """Which data; `hash` covers names and contents of the tracks that were used, those that match `only`."""

    path: str
    number: int
    hash: str
    only: str | None = None  # the pattern of --only


@dataclass(frozen=True)
class Plan:
    """Everything that decides what is computed; a run may be resumed by an equal plan only."""

    track: str
    submission: Identity
    data: DataInfo
    limits: Limits
    metrics: tuple[str, ...]
    runner: str
    jobs: int = 1  # tracks at a time, which share the machine


@dataclass(frozen=True)
class Result:
    """One run, complete or not: tracks in the data set's order, those not done yet left out."""

    plan: Plan
    start: str  # ISO 8601, UTC
    duration_seconds: float
    setup: SetupResult | None
    provenance: Mapping[str, Any] | None
    isolation: Isolation | None
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    tracks: tuple[TrackResult, ...]

    @property
    def status(self) -> str:
        """ "ok" when every track is, "failed" when one is not, "incomplete" when something was not done yet."""
        measured = all(
            track.status != "ok" or set(track.scores) == set(self.plan.metrics) for track in self.tracks
        )
        if len(self.tracks) < self.plan.data.number or not measured:
            return "incomplete"
        return "ok" if all(track.status == "ok" for track in self.tracks) else "failed"

    def totals(self, metric: str) -> dict[str, float | None]:
        """Mean, and mean per stem, over the tracks that worked."""
        stems = CHALLENGES[self.plan.track].stems
        worked = [track.scores[metric] for track in self.tracks if metric in track.scores]
        return scoring.total(worked, stems)

    def score(self) -> dict[str, float | None] | None:
        """The headline score {mean, stem…}: None unless every track is ok."""
        return self.totals("sdr") if self.status == "ok" else None

    def to_json(self) -> dict[str, Any]:
        """The documented JSON object."""
        provenance = dict(self.provenance or {})
        requested = self.plan.submission.requested_preset
        worked = sum(track.status == "ok" for track in self.tracks)
        return {
            "schema_version": SCHEMA_VERSION,
            "status": self.status,
            "track": self.plan.track,
            "score": self.score(),
            "worked": {"tracks": worked, **self.totals("sdr")},
            "extra_metrics": {name: self.totals(name) for name in self.plan.metrics if name != "sdr"},
            "tracks": [_track_to_json(track) for track in self.tracks],
            "setup": None if self.setup is None else asdict(self.setup),
            "submission": {
                **asdict(self.plan.submission),
                "preset": provenance.get("preset", requested),
                "weights": provenance.get("weights"),
                "provenance": self.provenance,
            },
            "data": asdict(self.plan.data),
            "limits": asdict(self.plan.limits),
            "isolation": None
            if self.isolation is None
            else {**asdict(self.isolation), "not_in_force": list(self.isolation.gaps(self.plan.limits))},
            "metrics": list(self.plan.metrics),
            "runner": self.plan.runner,
            "jobs": self.plan.jobs,
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "start": self.start,
            "duration_seconds": round(self.duration_seconds, 3),
        }


def _track_to_json(track: TrackResult) -> dict[str, Any]:
    described = {key: value for key, value in asdict(track).items() if key != "scores"}
    measures: dict[str, Any] = {"sdr": None, **track.scores}
    return {**described, **measures, "mean": track.mean("sdr")}


def differences(item: Mapping[str, Any], plan: Plan) -> list[str]:
    """What of `plan` differs from the plan of the result `item`, as "name: there, here"."""
    wanted = json.loads(json.dumps(asdict(plan)))
    found = []
    for name, here in wanted.items():
        there = jobs_of(item) if name == "jobs" else item.get(name)
        if isinstance(here, dict) and isinstance(there, dict):
            found += [
                f"{name}.{key}: {there.get(key)}, now {here[key]}"
                for key in here
                if there.get(key) != here[key]
            ]
        elif here != there:
            found.append(f"{name}: {there}, now {here}")
    return found


def isolation_from_json(item: Mapping[str, Any] | None) -> Isolation | None:
    """The inverse of what `to_json` does to the isolation."""
    return (
        None if item is None else Isolation(**{field.name: item[field.name] for field in fields(Isolation)})
    )


def track_from_json(item: Mapping[str, Any], metrics: Sequence[str]) -> TrackResult:
    """The inverse of what `to_json` does to a track."""
    names = {field.name for field in fields(TrackResult)} - {"scores"}
    scores = {metric: item[metric] for metric in metrics if item.get(metric) is not None}
    return TrackResult(**{name: item[name] for name in names}, scores=scores)


def read(path: Path) -> dict[str, Any]:
    """The JSON object of a result file; ResultError where it is none, or of another schema version."""
    try:
        item = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultError(f"{path}: not a readable result ({error})") from error
    version = item.get("schema_version") if isinstance(item, dict) else None
    if version != SCHEMA_VERSION:
        raise ResultError(f"{path}: schema_version {version}, expected {SCHEMA_VERSION}")
    return dict(item)


def jobs_of(item: Mapping[str, Any]) -> int:
    """How many tracks at a time a result's run separated; one where that was not recorded yet."""
    return int(item.get("jobs", 1))


def is_late(track: Mapping[str, Any]) -> bool:
    """`TrackResult.late` of a track in JSON."""
    seconds, limit = track["seconds"], track["limit_seconds"]
    return track["status"] == "ok" and limit is not None and seconds > limit


def would_pass(result: Mapping[str, Any]) -> Passing:
    """Whether the run says that the organisers' limits would be met: only limits as strict as theirs can.

    A failure under limits stricter than theirs says nothing either, and tracks separated side by side had to
    share the machine. A track that was late has its score, and counts as one that failed.
    """
    organisers, limits = Limits(), result["limits"]
    names = ("time_factor", "setup_seconds", "cpus", "memory_bytes")
    compared = [_compare(limits[name], getattr(organisers, name)) for name in names]
    late = any(map(is_late, result["tracks"]))
    if result["status"] == "ok" and not late:
        return "yes" if all(value <= 0 for value in compared) else "unknown"
    if result["status"] in ("ok", "failed"):
        alone = jobs_of(result) == 1
        return "no" if alone and all(value >= 0 for value in compared) else "unknown"
    return "unknown"


def _compare(limit: float | None, organisers: float) -> int:
    """Below 0 where `limit` is stricter than the organisers', above 0 where it is looser; None is no limit."""
    if limit is None:
        return 1
    return (limit > organisers) - (limit < organisers)


def write(path: Path, item: Mapping[str, Any]) -> None:
    """Write JSON so that the file is, at every moment, either the old one or the new one in full."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(item, file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
