"""The regression gate: a run against a stored baseline, stem by stem and track by track."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluator import text_table
from evaluator.challenge import of_name
from evaluator.measures.catalogue import MEASURES, Measure
from evaluator.measures.means import MEAN
from evaluator.runs import documents, entries, results, run_scores
from evaluator.runs.documents import SDR, ResultError
from evaluator.runs.records import NOTHING_RUNS, Identity, Plan, TrackResult
from evaluator.runs.results import Result
from evaluator.runs.run_scores import RunScores

DEFAULT_TOLERANCE_DB = 0.02
ROUNDING_DB = 1e-9  # a fall of exactly the tolerance passes, however its decimals round
TRACK_KEYS = ("name", "status", "audio_seconds")
SUBMISSION_KEYS = ("commit", "dirty", "files_sha256", "preset", "weights")
ALL_TRACKS = "all tracks"


def to_json(result: Result, run: str | None = None) -> dict[str, Any]:
    """The part of a result's JSON that a later run is checked against, without anything of this machine's paths.

    run: its id, by which a withdrawal of the run is known of the baseline, too.
    Raises ResultError for a run that was not finished.
    """
    if result.status == "incomplete":
        raise ResultError("an unfinished run cannot be a baseline; finish it with --resume")
    item = result.to_json()
    keys = (*TRACK_KEYS, *item["metrics"], "mean")
    return {
        "schema_version": item["schema_version"],
        "kind": "baseline",
        "run": run,
        "status": item["status"],
        "track": item["track"],
        **results.label_to_json(result.label),
        "score": item["score"],
        "metrics": item["metrics"],
        "tracks": [{key: track[key] for key in keys if key in track} for track in item["tracks"]],
        "submission": None
        if item["submission"] is None
        else {key: item["submission"][key] for key in SUBMISSION_KEYS},
        "predictions": None
        if result.plan.predictions is None
        else {"path": result.plan.predictions.name, "files_sha256": result.plan.predictions.files_sha256},
        "data": {**item["data"], "path": run_scores.data_name(item["data"]["path"])},
        "limits": item["limits"],
        "versions": item["versions"],
        "start": item["start"],
    }


def from_json(item: Mapping[str, Any], where: str = "baseline") -> Result:
    """A baseline as the result that it is a part of; what it does not hold is None or empty.

    Raises ResultError with what in `where` is missing or wrong.
    """
    found = documents.parse(documents.Baseline, item, where)
    said, stems = found.submission, of_name(found.track).stems
    result = Result(
        plan=Plan(
            challenge=found.track,
            submission=None
            if said is None
            else Identity("", said.commit, said.dirty, said.files_sha256, None),
            data=found.data,
            limits=found.limits,
            metrics=found.metrics,
            runner="process" if said is not None else NOTHING_RUNS,
            predictions=found.predictions,
        ),
        start=found.start,
        duration_seconds=0.0,
        setup=None,
        provenance=None if said is None else {"preset": said.preset, "weights": said.weights},
        isolation=None,
        machine={},
        versions=found.versions,
        tracks=tuple(
            TrackResult(
                name=track.name,
                status=track.status,
                reason=None,
                seconds=None,
                limit_seconds=None,
                audio_seconds=track.audio_seconds,
                peak_memory_bytes=None,
                economies=(),
                scores=track.scores(found.metrics, stems, f"{where}: tracks.{index}"),
            )
            for index, track in enumerate(found.tracks)
        ),
        label=found.label,
    )
    results.require_agreement(result, item, where)
    return result


def read(path: Path) -> Result:
    """The baseline, or the result, in a file; ResultError if it is neither."""
    return read_with_run(path)[0]


def read_with_run(path: Path) -> tuple[Result, str | None]:
    """The same, and the id of the run that it is, or was made of; None where the file does not say."""
    item = documents.read_json(path)
    if item.get("kind") == "baseline":
        return from_json(item, str(path)), item.get("run")
    return Result.from_json(item, str(path)), entries.run_id(entries.canonical(item))


@dataclass(frozen=True)
class Change:
    """A score that moved by more than the tolerance; `where` is a track, or all tracks."""

    where: str
    stem: str
    before: float
    after: float
    measure: Measure = MEASURES[SDR]

    @property
    def difference(self) -> float:
        """In the measure's unit, above 0 if the score rose."""
        return self.after - self.before

    @property
    def gain(self) -> float:
        """The same, above 0 if the score got better."""
        return self.measure.gain(self.before, self.after)


@dataclass(frozen=True)
class StatusChange:
    """A track whose status has changed."""

    track: str
    before: str
    after: str


@dataclass(frozen=True)
class Check:
    """What moved between a baseline and a run, by more than `tolerance_db`, which holds for every unit.

    measures: those that both have; `unchecked`: those that the run lacks.
    """

    baseline: str
    tolerance_db: float
    measures: tuple[str, ...]
    unchecked: tuple[str, ...]
    fell: tuple[Change, ...]
    rose: tuple[Change, ...]
    worse: tuple[StatusChange, ...]
    better: tuple[StatusChange, ...]
    other: tuple[StatusChange, ...]  # failed before and now, in another way
    aside: tuple[str, ...] = ()  # tracks of the baseline that --only left aside

    @property
    def passed(self) -> bool:
        """Whether nothing fell and no status got worse."""
        return not self.fell and not self.worse


def check(baseline: RunScores, run: RunScores, tolerance_db: float = DEFAULT_TOLERANCE_DB) -> Check:
    """Compare every stem's score over all tracks, every stem of every track, by every measure, and every status.

    Stems' scores are means over the tracks that worked in both. A track that is missing from the run counts as
    worse, unless --only left it aside. ResultError if the run is neither on the baseline's data nor on a part of it.
    """
    run_scores.require_checkable(baseline, run)
    aside = run_scores.left_aside(baseline, run)
    measures = tuple(name for name in baseline.metrics if name in run.metrics)
    moved = [
        change
        for measure in measures
        for change in _changes(baseline, run, measure)
        if abs(change.gain) > tolerance_db + ROUNDING_DB
    ]
    moved.sort(key=lambda change: (change.where != ALL_TRACKS, change.gain))
    statuses = [change for change in _status_changes(baseline, run) if change.track not in aside]
    return Check(
        baseline=baseline.label,
        tolerance_db=tolerance_db,
        measures=measures,
        unchecked=tuple(name for name in baseline.metrics if name not in run.metrics),
        fell=tuple(change for change in moved if change.gain < 0),
        rose=tuple(change for change in moved if change.gain > 0),
        worse=tuple(change for change in statuses if change.before == "ok"),
        better=tuple(change for change in statuses if change.after == "ok"),
        other=tuple(change for change in statuses if "ok" not in (change.before, change.after)),
        aside=aside,
    )


def _changes(baseline: RunScores, run: RunScores, measure: str) -> Iterator[Change]:
    for column in run.columns:
        pairs = run_scores.pairs(baseline, run, column, measure)
        means = run_scores.mean_pair(pairs)
        if means is not None:
            yield Change(ALL_TRACKS, column, *means, MEASURES[measure])
        for name, (before, after) in pairs.items():
            yield Change(name, column, before, after, MEASURES[measure])


def _status_changes(baseline: RunScores, run: RunScores) -> Iterator[StatusChange]:
    for name, track in baseline.tracks.items():
        lost = run.data is not None and any(each.name == name for each in run.data.left_out)
        now = run.tracks[name].status if name in run.tracks else "left out" if lost else "missing"
        if now != track.status:
            yield StatusChange(name, track.status, now)


def describe(found: Check) -> str:
    """What got worse, what got better, and the verdict, as text."""
    parts = [
        *_section("Statuses that got worse", [_status(change) for change in found.worse]),
        *_section("Scores that fell", _scores(found.fell)),
        *_section("Scores that rose", _scores(found.rose)),
        *_section("Tracks that work now", [_status(change) for change in found.better]),
        *_section("Tracks that fail in another way", [_status(change) for change in found.other]),
    ]
    if found.unchecked:
        parts += [f"Not checked, since this run was made without: {', '.join(found.unchecked)}.", ""]
    if found.aside:
        tracks = text_table.count(len(found.aside), "track")
        parts += [f"Not checked, since --only leaves them aside: {tracks} of the baseline.", ""]
    return "\n".join([*parts, _measures(found), _verdict(found)])


def _measures(found: Check) -> str:
    """What was compared, and which way is better."""
    named = [f"{name} ({MEASURES[name].words})" for name in found.measures]
    return f"Measured by {', '.join(named)}."


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"{title}:", *(f"  {line}" for line in lines), ""] if lines else []


def _status(change: StatusChange) -> str:
    return f"{change.track}: {change.before} -> {change.after}"


def _scores(changes: Sequence[Change]) -> list[str]:
    rows = [
        [
            change.where,
            _label(change),
            text_table.db(change.before),
            "->",
            text_table.db(change.after),
            f"({text_table.signed_db(change.difference)}{' dB' * (change.measure.unit == 'dB')})",
        ]
        for change in changes
    ]
    return text_table.align(rows, left=(0, 1)) if rows else []


def _label(change: Change) -> str:
    """The stem, with the measure if it is not SDR."""
    return change.stem if change.measure.name == SDR else f"{change.stem} {change.measure.name}"


def _verdict(found: Check) -> str:
    against = f"against {found.baseline}, tolerance {found.tolerance_db:g} dB"
    if found.passed:
        return f"No regression {against}."
    stems = sorted(
        {_label(change) for change in found.fell if change.where == ALL_TRACKS and change.stem != MEAN}
    )
    tracks = {change.where for change in found.fell if change.where != ALL_TRACKS}
    counts = [
        f"{len(found.worse)} {'track fails' if len(found.worse) == 1 else 'tracks fail'} that worked"
        if found.worse
        else "",
        f"{', '.join(stems)} fell over all tracks" if stems else "",
        f"{text_table.count(len(tracks), 'track')} fell" if tracks else "",
    ]
    return f"REGRESSION {against}: {'; '.join(part for part in counts if part)}."


def _origin(result: Result) -> str:
    """Where the scores of a baseline come from."""
    submission = result.plan.submission
    if submission is None:
        return f"estimates {result.what_ran}"
    changed = " with uncommitted changes" if submission.dirty else ""
    return f"preset {result.preset}, commit {submission.commit or 'unknown'}{changed}"


def _called(result: Result) -> list[str]:
    """How the user called the run, if at all."""
    parts = [part for part in (result.label.name, result.label.words) if part]
    return [": ".join(parts)] if parts else []


def show(result: Result) -> str:
    """A baseline as text: where it comes from, and its scores."""
    plan, stems = result.plan, result.stems
    header = ["track", "status", *stems, MEAN]
    rows = [
        [
            track.name,
            track.status,
            *(text_table.db(track.scores.get(SDR, {}).get(stem)) for stem in stems),
            text_table.db(track.mean(SDR)),
        ]
        for track in result.tracks
    ]
    score = result.score() or {}
    total = ["score", result.status, *(text_table.db(score.get(stem)) for stem in (*stems, MEAN))]
    table = text_table.align([header, *rows, total], left=(0, 1))
    rule = "-" * max(map(len, table))
    data = run_scores.data_name(plan.data.path)
    return "\n".join(
        [
            f"{plan.challenge} baseline of {result.start}, {_origin(result)}",
            *_called(result),
            f"data {data}, {text_table.count(plan.data.number, 'track')}, hash {plan.data.hash}",
            "",
            table[0],
            rule,
            *table[1:-1],
            rule,
            table[-1],
            f"SDR in {MEASURES[SDR].words}.",
            *(
                f"{name}: {text_table.db(result.totals(name)[MEAN])} on average ({MEASURES[name].words})."
                for name in plan.metrics
                if name != SDR
            ),
        ]
    )
