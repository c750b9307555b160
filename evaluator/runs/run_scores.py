"""What of a run is compared with another run: its data, and the status and scores of each track."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from evaluator import text_table
from evaluator.challenge import of_name
from evaluator.measures import means
from evaluator.measures.means import MEAN
from evaluator.runs.documents import SDR, ResultError
from evaluator.runs.records import Plan
from evaluator.runs.results import Result


@dataclass(frozen=True)
class TrackScore:
    """Status of one track, and {stem: SDR in dB}, empty unless the status is ok."""

    name: str
    status: str
    sdr: Mapping[str, float]

    def value(self, stem: str) -> float:
        """SDR of `stem`, or for "mean" the mean over stems, in dB; KeyError if it has none."""
        return sum(self.sdr.values()) / len(self.sdr) if stem == MEAN and self.sdr else self.sdr[stem]


@dataclass(frozen=True)
class RunScores:
    """One run; `label` is how the user named it."""

    label: str
    challenge: str
    data_name: str
    data_hash: str
    data_number: int
    stems: tuple[str, ...]
    tracks: Mapping[str, TrackScore]

    @property
    def measures(self) -> tuple[str, ...]:
        """The mean, then the stems in their order."""
        return (MEAN, *self.stems)


def of_result(result: Result, label: str) -> RunScores:
    """The scores of a run, or of a baseline."""
    tracks = {
        track.name: TrackScore(
            track.name,
            track.status,
            {stem: value for stem, value in track.scores.get(SDR, {}).items() if value is not None},
        )
        for track in result.tracks
    }
    return _scores(result.plan, label, tracks)


def of_plan(plan: Plan) -> RunScores:
    """A run that is about to begin: its data, and no track yet."""
    return _scores(plan, "this run", {})


def _scores(plan: Plan, label: str, tracks: Mapping[str, TrackScore]) -> RunScores:
    return RunScores(
        label=label,
        challenge=plan.challenge,
        data_name=data_name(plan.data.path),
        data_hash=plan.data.hash,
        data_number=plan.data.number,
        stems=of_name(plan.challenge).stems,
        tracks=tracks,
    )


def data_name(path: str) -> str:
    """How a data folder is called: the last two parts of its path, which say the same on every machine."""
    parts = PurePath(path).parts
    return "/".join(parts[-2:]).lstrip("/") if len(parts) > 1 else path


def require_same_data(a: RunScores, b: RunScores) -> None:
    """ResultError unless both runs were made on the same tracks with the same contents."""
    if a.challenge != b.challenge or a.data_hash != b.data_hash:
        raise ResultError(
            f"{a.label} and {b.label} were made on different data, so their scores cannot be compared:\n"
            f"  {a.label}: {_data(a)}\n  {b.label}: {_data(b)}"
        )


def _data(run: RunScores) -> str:
    tracks = text_table.count(run.data_number, "track")
    return f"{run.challenge}, {run.data_name}, {tracks}, hash {run.data_hash[:12]}"


def common(a: RunScores, b: RunScores) -> tuple[str, ...]:
    """Names of the tracks that are ok in both runs, in the order of `a`."""
    return tuple(name for name in a.tracks if name in b.tracks and a.tracks[name].sdr and b.tracks[name].sdr)


def mean_over(run: RunScores, names: Sequence[str], stem: str) -> float | None:
    """Mean over the tracks `names` of a stem's SDR, or of the tracks' means, in dB; None without tracks."""
    return means.mean([run.tracks[name].value(stem) for name in names])
