"""What of a run is compared with another run: its data, and the status and scores of each track."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath

from evaluator import text_table
from evaluator.challenge import of_name
from evaluator.measures import bootstrap
from evaluator.measures.means import MEAN
from evaluator.runs.documents import SDR, ResultError
from evaluator.runs.records import DataInfo, Plan
from evaluator.runs.results import Result


@dataclass(frozen=True)
class TrackScore:
    """Status of one track, and {measure: {stem: value}} where that is defined, empty unless the status is ok."""

    name: str
    status: str
    scores: Mapping[str, Mapping[str, float]]

    @property
    def sdr(self) -> Mapping[str, float]:
        """{stem: SDR in dB}."""
        return self.scores.get(SDR, {})


@dataclass(frozen=True)
class RunScores:
    """One run; `label` is how the user named it."""

    label: str
    challenge: str
    data_name: str
    data_hash: str
    data_number: int
    stems: tuple[str, ...]
    metrics: tuple[str, ...]
    tracks: Mapping[str, TrackScore]
    data: DataInfo | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The mean, then the stems in their order."""
        return (MEAN, *self.stems)


def of_result(result: Result, label: str) -> RunScores:
    """The scores of a run, or of a baseline."""
    tracks = {
        track.name: TrackScore(
            track.name,
            track.status,
            {
                measure: {stem: value for stem, value in scores.items() if value is not None}
                for measure, scores in track.scores.items()
            },
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
        metrics=plan.metrics,
        tracks=tracks,
        data=plan.data,
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


def require_checkable(baseline: RunScores, run: RunScores) -> None:
    """ResultError unless the run is on the baseline's data, or on the part of it that --only or --skip-bad leave."""
    here, there = run.data, baseline.data
    part = here is not None and (here.only is not None or here.left_out)
    if not part or here is None or there is None or (baseline.data_hash == run.data_hash):
        require_same_data(baseline, run)
        return
    if baseline.challenge != run.challenge:
        require_same_data(baseline, run)
    for run_or_baseline, data, again in ((baseline, there, "save it again"), (run, here, "run it again")):
        if not data.tracks or set(run_or_baseline.tracks) - set(data.tracks):
            raise ResultError(
                f"{run_or_baseline.label} does not say what each track's data is, so no part of the baseline can be"
                f" checked; {again}"
            )
    for name, digest in here.tracks.items():
        if name not in there.tracks:
            raise ResultError(f"{baseline.label} has no track {name}; check tracks that it has")
        if there.tracks[name] != digest:
            raise ResultError(f"{baseline.label} was made with another {name}, so scores cannot be compared")


def left_aside(baseline: RunScores, run: RunScores) -> tuple[str, ...]:
    """The baseline's tracks that --only leaves aside; not those that could not be used."""
    if run.data is None or run.data.only is None or run.data_hash == baseline.data_hash:
        return ()
    lost = {each.name for each in run.data.left_out}
    return tuple(name for name in baseline.tracks if name not in run.data.tracks and name not in lost)


def _data(run: RunScores) -> str:
    tracks = text_table.count(run.data_number, "track")
    return f"{run.challenge}, {run.data_name}, {tracks}, hash {run.data_hash[:12]}"


def pairs(a: RunScores, b: RunScores, column: str, measure: str = SDR) -> dict[str, tuple[float, float]]:
    """What both runs have of a stem, or of the mean over the stems that both have, by track, in the order of `a`."""
    found = {}
    for name, track in a.tracks.items():
        if name in b.tracks:
            one, other = (each.scores.get(measure, {}) for each in (track, b.tracks[name]))
            stems = [stem for stem in one if stem in other and column in (MEAN, stem)]
            if stems:
                found[name] = (_mean(one[stem] for stem in stems), _mean(other[stem] for stem in stems))
    return found


def mean_pair(pairs: Mapping[str, tuple[float, float]]) -> tuple[float, float] | None:
    """Means over tracks; None without tracks."""
    if not pairs:
        return None
    return _mean(one for one, _ in pairs.values()), _mean(other for _, other in pairs.values())


def values(result: Result, column: str, measure: str = SDR) -> dict[str, float]:
    """What the tracks of a run have of a stem, or of the mean over their stems, by track."""
    scores = of_result(result, "")
    return {track: value for track, (value, _) in pairs(scores, scores, column, measure).items()}


def interval(result: Result, column: str, measure: str = SDR) -> tuple[float, float] | None:
    """The 95 % interval of the mean over tracks, in the measure's unit; None with too few of them."""
    return bootstrap.interval_if_enough(list(values(result, column, measure).values()))


def _mean(values: Iterable[float]) -> float:
    every = list(values)
    return sum(every) / len(every)
