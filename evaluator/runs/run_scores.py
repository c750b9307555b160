"""What of a run is compared with another run: its data, and the status and scores of each track.

Read from the JSON of a result or of a baseline, which has the same keys (README.md of this folder).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from evaluator.challenge import CHALLENGES
from evaluator.reporting import text_table
from evaluator.running import scoring
from evaluator.runs.results import Plan, ResultError

MEAN = "mean"  # the name of a track's mean over stems, beside those of the stems


@dataclass(frozen=True)
class TrackScore:
    """Status of one track, and {stem: SDR in dB}, empty unless the status is ok."""

    name: str
    status: str
    sdr: Mapping[str, float]

    def value(self, stem: str) -> float:
        """SDR of `stem`, or for "mean" the mean over stems, in dB; KeyError where there is none."""
        return sum(self.sdr.values()) / len(self.sdr) if stem == MEAN and self.sdr else self.sdr[stem]


@dataclass(frozen=True)
class RunScores:
    """One run; `label` is how the user named it."""

    label: str
    track: str
    data_name: str
    data_hash: str
    data_number: int
    stems: tuple[str, ...]
    tracks: Mapping[str, TrackScore]

    @property
    def measures(self) -> tuple[str, ...]:
        """The mean, then the stems in the challenge's order."""
        return (MEAN, *self.stems)


def from_json(item: Mapping[str, Any], label: str) -> RunScores:
    """Scores of a result or baseline; ResultError where something needed is missing."""
    try:
        stems = CHALLENGES[item["track"]].stems
        tracks = [
            TrackScore(track["name"], track["status"], _sdr(track, stems, label)) for track in item["tracks"]
        ]
        data = item["data"]
        return RunScores(
            label=label,
            track=item["track"],
            data_name=data_name(data["path"]),
            data_hash=data["hash"],
            data_number=data["number"],
            stems=stems,
            tracks={track.name: track for track in tracks},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ResultError(f"{label}: not a complete result or baseline, {error!r} is missing") from error


def of_plan(plan: Plan) -> RunScores:
    """A run that is about to begin: its data, and no track yet."""
    return RunScores(
        label="this run",
        track=plan.track,
        data_name=data_name(plan.data.path),
        data_hash=plan.data.hash,
        data_number=plan.data.number,
        stems=CHALLENGES[plan.track].stems,
        tracks={},
    )


def _sdr(track: Mapping[str, Any], stems: Sequence[str], label: str) -> dict[str, float]:
    if track["status"] != "ok":
        return {}
    values = {stem: track["sdr"][stem] for stem in stems}
    if not all(isinstance(value, int | float) for value in values.values()):
        raise ResultError(f"{label}: track {track['name']} is ok, but has no SDR for every one of {stems}")
    return values


def data_name(path: str) -> str:
    """How a data folder is called: the last two parts of its path, which say the same on every machine."""
    parts = PurePath(path).parts
    return "/".join(parts[-2:]).lstrip("/") if len(parts) > 1 else path


def require_same_data(a: RunScores, b: RunScores) -> None:
    """ResultError unless both runs were made on the same tracks with the same contents."""
    if a.track != b.track or a.data_hash != b.data_hash:
        raise ResultError(
            f"{a.label} and {b.label} were made on different data, so their scores cannot be compared:\n"
            f"  {a.label}: {_data(a)}\n  {b.label}: {_data(b)}"
        )


def _data(run: RunScores) -> str:
    return f"{run.track}, {run.data_name}, {text_table.count(run.data_number, 'track')}, hash {run.data_hash[:12]}"


def common(a: RunScores, b: RunScores) -> tuple[str, ...]:
    """Names of the tracks that are ok in both runs, in the order of `a`."""
    return tuple(name for name in a.tracks if name in b.tracks and a.tracks[name].sdr and b.tracks[name].sdr)


def mean_over(run: RunScores, names: Sequence[str], stem: str) -> float | None:
    """Mean over the tracks `names` of a stem's SDR, or of the tracks' means, in dB; None without tracks."""
    return scoring.mean([run.tracks[name].value(stem) for name in names])
