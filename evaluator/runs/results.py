"""The result of an evaluation, and its JSON, version 1 (documented in ../README.md)."""

import glob
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from evaluator import printable, regular_files, schema
from evaluator.challenge import of_name
from evaluator.isolation.sandbox import Isolation
from evaluator.measures import means
from evaluator.runs import documents
from evaluator.runs.documents import SCHEMA_VERSION, SDR, ResultError, RunStatus
from evaluator.runs.labels import UNNAMED, Label
from evaluator.runs.records import Host, Plan, SetupResult, TrackResult

SAME_DB = 1e-6  # a file's score is the mean of its tracks but for the order of summation


@dataclass(frozen=True)
class Result:
    """One run, complete or not: tracks in the data set's order, those not done yet left out."""

    plan: Plan
    start: str  # ISO 8601, UTC
    duration_seconds: float
    setup: SetupResult | None
    provenance: Mapping[str, Any] | None  # what the submission says of itself
    isolation: Isolation | None
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    tracks: tuple[TrackResult, ...]
    machines: tuple[Host, ...] = ()  # those that a run is spread over; none where it is not
    label: Label = UNNAMED

    @property
    def stems(self) -> tuple[str, ...]:
        """Those that are scored: the challenge's, or any others."""
        return of_name(self.plan.challenge).stems

    @property
    def status(self) -> RunStatus:
        """ "ok" when every track is, "failed" when one is not, "incomplete" when something was not done yet."""
        measured = all(
            track.status != "ok" or set(track.scores) == set(self.plan.metrics) for track in self.tracks
        )
        if len(self.tracks) < self.plan.data.number or not measured:
            return "incomplete"
        return "failed" if self.failed else "ok"

    @property
    def worked(self) -> tuple[TrackResult, ...]:
        """The tracks that are ok."""
        return tuple(track for track in self.tracks if track.status == "ok")

    @property
    def failed(self) -> tuple[TrackResult, ...]:
        """The tracks that were run and are not ok."""
        return tuple(track for track in self.tracks if track.status != "ok")

    @property
    def preset(self) -> Any:
        """What the submission says it used, or what it was asked to; None for one without presets."""
        submission = self.plan.submission
        requested = None if submission is None else submission.requested_preset
        return (self.provenance or {}).get("preset", requested)

    @property
    def weights(self) -> Any:
        """What the submission says of its weights: for ours a list of {name, file, sha256}."""
        return (self.provenance or {}).get("weights")

    @property
    def name(self) -> str:
        """What it is called: as the user said, else what ran."""
        return self.label.name or self.what_ran

    @property
    def what_ran(self) -> str:
        """The preset, or for a submission without presets its folder; of given estimates, theirs."""
        if self.preset:
            return Path(str(self.preset)).stem
        if self.plan.submission is not None:
            return Path(self.plan.submission.path).name
        return "" if self.plan.predictions is None else self.plan.predictions.name

    @property
    def rtf(self) -> float | None:
        """Compute seconds per second of audio, over the tracks that ran; None if none did."""
        ran = [(track.seconds, track.audio_seconds) for track in self.tracks if track.seconds is not None]
        audio = sum(audio_seconds for _, audio_seconds in ran)
        return sum(seconds for seconds, _ in ran) / audio if audio else None

    def totals(self, measure: str) -> dict[str, float | None]:
        """Mean, and mean per stem, over the tracks that worked."""
        worked = [track.scores[measure] for track in self.tracks if measure in track.scores]
        return means.total(worked, self.stems)

    def score(self) -> dict[str, float | None] | None:
        """The headline score {mean, stem…}: None unless every track is ok."""
        return self.totals(SDR) if self.status == "ok" else None

    def derived(self) -> dict[str, Any]:
        """What the JSON object says of the tracks as a whole."""
        return {
            "status": self.status,
            "score": self.score(),
            "worked": {"tracks": len(self.worked), **self.totals(SDR)},
            "extra_metrics": {name: self.totals(name) for name in self.plan.metrics if name != SDR},
        }

    def to_json(self) -> dict[str, Any]:
        """The documented JSON object, in which some things stand twice to be found easily."""
        plan = self.plan
        return {
            "schema_version": SCHEMA_VERSION,
            "track": plan.challenge,
            **label_to_json(self.label),
            **self.derived(),
            "tracks": [_track_to_json(track) for track in self.tracks],
            "setup": None if self.setup is None else asdict(self.setup),
            "submission": None
            if plan.submission is None
            else {
                **asdict(plan.submission),
                "preset": self.preset,
                "weights": self.weights,
                "provenance": self.provenance,
            },
            "predictions": None if plan.predictions is None else asdict(plan.predictions),
            "data": asdict(plan.data, dict_factory=_with_lists),
            "limits": asdict(plan.limits),
            "isolation": None if self.isolation is None else asdict(self.isolation, dict_factory=_with_lists),
            "metrics": list(plan.metrics),
            "runner": plan.runner,
            "jobs": plan.jobs,
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "machines": [asdict(host, dict_factory=_with_lists) for host in self.machines],
            "start": self.start,
            "duration_seconds": self.duration_seconds,
        }

    @classmethod
    def from_json(cls, item: Mapping[str, Any], where: str = "result") -> Self:
        """The inverse of `to_json`; ResultError says what in `where` is missing, wrong or contradicts itself."""
        if item.get("kind") is not None:
            kind = printable.plain(str(item["kind"]), schema.KEY_CHARACTERS)
            raise ResultError(f"{where}: a {kind}, expected a result")
        run = documents.parse(documents.Run, item, where)
        stems = of_name(run.track).stems
        result = cls(
            plan=Plan(
                challenge=run.track,
                submission=None if run.submission is None else run.submission.identity(),
                data=run.data,
                limits=run.limits,
                metrics=run.metrics,
                runner=run.runner,
                jobs=run.jobs,
                predictions=run.predictions,
            ),
            start=run.start,
            duration_seconds=run.duration_seconds,
            setup=run.setup,
            provenance=None if run.submission is None else run.submission.provenance,
            isolation=run.isolation,
            machine=run.machine.as_given(),
            versions=run.versions,
            tracks=tuple(
                _track_from_json(track, run.metrics, stems, f"{where}: tracks.{index}")
                for index, track in enumerate(run.tracks)
            ),
            machines=run.machines,
            label=run.label,
        )
        require_agreement(result, item, where)
        return result


def label_to_json(label: Label) -> dict[str, Any]:
    """What a run is called, as its file has it."""
    return {"name": label.name, "note": label.note, "tags": list(label.tags)}


def _with_lists(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in pairs}


def _track_to_json(track: TrackResult) -> dict[str, Any]:
    described = {
        key: value for key, value in asdict(track, dict_factory=_with_lists).items() if key != "scores"
    }
    return {**described, SDR: None, **track.scores, "mean": track.mean(SDR)}


def _track_from_json(
    track: documents.Track, measures: Sequence[str], stems: Sequence[str], where: str
) -> TrackResult:
    return TrackResult(
        name=track.name,
        status=track.status,
        reason=track.reason,
        seconds=track.seconds,
        limit_seconds=track.limit_seconds,
        audio_seconds=track.audio_seconds,
        peak_memory_bytes=track.peak_memory_bytes,
        economies=track.economies,
        scores=track.scores(measures, stems, where),
        machine=track.machine,
        last_line=track.last_line,
    )


def require_agreement(result: Result, item: Mapping[str, Any], where: str) -> None:
    """ResultError if what a file says of its tracks, or a track of its stems, contradicts them."""
    for key, expected in result.derived().items():
        if key in item:
            _require_equal(item[key], expected, f"{where}: {key}")
    for index, (found, track) in enumerate(zip(item["tracks"], result.tracks, strict=True)):
        if "mean" in found:
            _require_equal(found["mean"], track.mean(SDR), f"{where}: tracks.{index}.mean")


def _require_equal(found: Any, expected: Any, where: str) -> None:
    """ResultError unless a value of a file is what its tracks give, but for rounding."""
    if isinstance(found, Mapping) and isinstance(expected, Mapping) and found.keys() == expected.keys():
        for name, value in expected.items():
            _require_equal(found[name], value, f"{where}.{name}")
        return
    numbers = type(found) in (int, float) and type(expected) in (int, float)
    if not (abs(found - expected) <= SAME_DB if numbers else found == expected):
        raise ResultError(
            f"{where}: found {schema.found(found)}, expected {schema.found(expected)} by its tracks"
        )


def read(path: Path) -> Result:
    """The result in a file; ResultError if it holds something else."""
    return Result.from_json(documents.read_json(path), str(path))


def _draft_prefix(path: Path) -> str:
    return f".{path.name}."


def remove_drafts(path: Path) -> None:
    """Remove what a process that was killed while it wrote this file has left beside it."""
    for draft in path.parent.glob(f"{glob.escape(_draft_prefix(path))}*"):
        if draft.name.removeprefix(_draft_prefix(path)).isdecimal():
            draft.unlink(missing_ok=True)


def write(path: Path, item: Mapping[str, Any]) -> None:
    """Write JSON so that the file is, at every moment, either the old one or the new one in full.

    To a device or a pipe it is written as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not regular_files.is_replaceable(path):
        path.write_text(
            f"{json.dumps(item, indent=2, ensure_ascii=False, allow_nan=False)}\n", encoding="utf-8"
        )
        return
    temporary = path.with_name(f"{_draft_prefix(path)}{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(item, file, indent=2, ensure_ascii=False, allow_nan=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
