"""The regression gate: a run against a stored baseline, stem by stem and track by track."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluator.reporting import text_table
from evaluator.runs import results, run_scores
from evaluator.runs.results import ResultError
from evaluator.runs.run_scores import MEAN, RunScores

DEFAULT_TOLERANCE_DB = 0.02
ROUNDING_DB = 1e-9  # a fall of exactly the tolerance passes, however its decimals round
TRACK_KEYS = ("name", "status", "audio_seconds", "sdr", "mean")
SUBMISSION_KEYS = ("commit", "dirty", "files_sha256", "preset", "weights")
ALL_TRACKS = "all tracks"


def from_result(item: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a result's JSON that a later run is checked against, without anything of this machine's paths.

    Raises ResultError for a run that was not finished.
    """
    if item["status"] == "incomplete":
        raise ResultError("an unfinished run cannot be a baseline; finish it with --resume")
    submission = {key: item["submission"].get(key) for key in SUBMISSION_KEYS}
    return {
        "schema_version": item["schema_version"],
        "kind": "baseline",
        "status": item["status"],
        "track": item["track"],
        "score": item["score"],
        "tracks": [{key: track[key] for key in TRACK_KEYS} for track in item["tracks"]],
        "submission": submission,
        "data": {**item["data"], "path": run_scores.data_name(item["data"]["path"])},
        "limits": item["limits"],
        "versions": item["versions"],
        "start": item["start"],
    }


def read(path: Path) -> RunScores:
    """The scores of a baseline, or of a result, from its file; ResultError where it is neither."""
    return run_scores.from_json(results.read(path), str(path))


@dataclass(frozen=True)
class Change:
    """A score that moved by more than the tolerance; `where` is a track, or all tracks."""

    where: str
    stem: str
    before: float
    after: float

    @property
    def difference(self) -> float:
        """In dB, above 0 where the score rose."""
        return self.after - self.before


@dataclass(frozen=True)
class StatusChange:
    """A track whose status is not what it was."""

    track: str
    before: str
    after: str


@dataclass(frozen=True)
class Check:
    """What moved between a baseline and a run, by more than `tolerance_db`."""

    baseline: str
    tolerance_db: float
    fell: tuple[Change, ...]
    rose: tuple[Change, ...]
    worse: tuple[StatusChange, ...]
    better: tuple[StatusChange, ...]
    other: tuple[StatusChange, ...]  # failed before and now, in another way

    @property
    def passed(self) -> bool:
        """Whether nothing fell and no status got worse."""
        return not self.fell and not self.worse


def check(baseline: RunScores, run: RunScores, tolerance_db: float = DEFAULT_TOLERANCE_DB) -> Check:
    """Compare every stem's score, every track's every stem, and every status.

    Stems' scores are means over the tracks that worked in both; a track that is missing from the run counts
    as one that got worse. ResultError where the two were made on different data.
    """
    run_scores.require_same_data(baseline, run)
    moved = [
        change for change in _changes(baseline, run) if abs(change.difference) > tolerance_db + ROUNDING_DB
    ]
    moved.sort(key=lambda change: (change.where != ALL_TRACKS, change.difference))
    statuses = list(_status_changes(baseline, run))
    return Check(
        baseline=baseline.label,
        tolerance_db=tolerance_db,
        fell=tuple(change for change in moved if change.difference < 0),
        rose=tuple(change for change in moved if change.difference > 0),
        worse=tuple(change for change in statuses if change.before == "ok"),
        better=tuple(change for change in statuses if change.after == "ok"),
        other=tuple(change for change in statuses if "ok" not in (change.before, change.after)),
    )


def _changes(baseline: RunScores, run: RunScores) -> Iterator[Change]:
    names = run_scores.common(baseline, run)
    for stem in run.measures:
        before = run_scores.mean_over(baseline, names, stem)
        after = run_scores.mean_over(run, names, stem)
        if before is not None and after is not None:
            yield Change(ALL_TRACKS, stem, before, after)
        for name in names:
            yield Change(name, stem, baseline.tracks[name].value(stem), run.tracks[name].value(stem))


def _status_changes(baseline: RunScores, run: RunScores) -> Iterator[StatusChange]:
    for name, track in baseline.tracks.items():
        now = run.tracks[name].status if name in run.tracks else "missing"
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
    return "\n".join([*parts, _verdict(found)])


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"{title}:", *(f"  {line}" for line in lines), ""] if lines else []


def _status(change: StatusChange) -> str:
    return f"{change.track}: {change.before} -> {change.after}"


def _scores(changes: Sequence[Change]) -> list[str]:
    rows = [
        [
            change.where,
            change.stem,
            text_table.db(change.before),
            "->",
            text_table.db(change.after),
            f"({text_table.signed_db(change.difference)} dB)",
        ]
        for change in changes
    ]
    return text_table.align(rows, left=(0, 1)) if rows else []


def _verdict(found: Check) -> str:
    against = f"against {found.baseline}, tolerance {found.tolerance_db:g} dB"
    if found.passed:
        return f"No regression {against}."
    stems = sorted(
        {change.stem for change in found.fell if change.where == ALL_TRACKS and change.stem != MEAN}
    )
    tracks = {change.where for change in found.fell if change.where != ALL_TRACKS}
    counts = [
        f"{len(found.worse)} {'track fails' if len(found.worse) == 1 else 'tracks fail'} that worked"
        if found.worse
        else "",
        f"{', '.join(stems)} fell over all tracks" if stems else "",
        f"{len(tracks)} {'track' if len(tracks) == 1 else 'tracks'} fell" if tracks else "",
    ]
    return f"REGRESSION {against}: {'; '.join(part for part in counts if part)}."


def show(item: Mapping[str, Any]) -> str:
    """A baseline as text: where it comes from, and its scores."""
    scores = run_scores.from_json(item, "baseline")
    submission, data = item["submission"], item["data"]
    commit = submission["commit"] or "unknown"
    changed = " with uncommitted changes" if submission["dirty"] else ""
    header = ["track", "status", *scores.stems, MEAN]
    rows = [
        [
            track.name,
            track.status,
            *(text_table.db(track.sdr.get(stem)) for stem in scores.stems),
            _mean(track),
        ]
        for track in scores.tracks.values()
    ]
    total = ["score", item["status"], *(_score(item, stem) for stem in (*scores.stems, MEAN))]
    table = text_table.align([header, *rows, total], left=(0, 1))
    rule = "-" * max(map(len, table))
    return "\n".join(
        [
            f"{scores.track} baseline of {item['start']}, preset {submission['preset']}, commit {commit}{changed}",
            f"data {scores.data_name}, {text_table.count(data['number'], 'track')}, hash {data['hash']}",
            "",
            table[0],
            rule,
            *table[1:-1],
            rule,
            table[-1],
        ]
    )


def _mean(track: run_scores.TrackScore) -> str:
    return text_table.db(track.value(MEAN) if track.sdr else None)


def _score(item: Mapping[str, Any], stem: str) -> str:
    return text_table.db(None if item["score"] is None else item["score"][stem])
