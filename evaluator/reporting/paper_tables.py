"""The tables of a paper: tracks, runs with intervals, groups of tracks, repetitions with their spread.

Each is there twice: numbers for programs, and what is printed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from evaluator.measures import bootstrap
from evaluator.measures.catalogue import MEASURES
from evaluator.measures.means import MEAN
from evaluator.runs import run_scores
from evaluator.runs.entries import Entry
from evaluator.runs.groups import TRACK, Groups
from evaluator.tables import Cell, Table, of_records

DIGITS = 2  # of what is printed
OURS = ("run", "name", "track", "status", "audio_seconds", "seconds", "rtf")
Record = dict[str, Cell]


@dataclass(frozen=True)
class Export:
    """A table: `numbers` for CSV and Parquet, `shown` for Markdown and LaTeX."""

    name: str
    numbers: Table
    shown: Table


def all_of(entries: Sequence[Entry], groups: Groups, measure: str) -> list[Export]:
    """Every table that there is something for; the runs are on the same data, and have the measure."""
    found = [tracks(entries, groups, measure), runs(entries, measure)]
    if groups.columns:
        found.append(by_group(entries, groups, measure))
    if any(len(several) > 1 for several in systems(entries).values()):
        found.append(repetitions(entries, measure))
    return found


def systems(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Runs by name: those of one name are repetitions of one system, as with other seeds."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.result.name, []).append(entry)
    return found


def labels(entries: Sequence[Entry]) -> list[str]:
    """What each run is called where all are shown: its name, with its id where others have that name, too."""
    named = systems(entries)
    return [
        entry.result.name if len(named[entry.result.name]) == 1 else f"{entry.result.name} ({entry.short_id})"
        for entry in entries
    ]


def tracks(entries: Sequence[Entry], groups: Groups, measure: str) -> Export:
    """A row for each track of each run; every measure among the numbers, this one where it is printed."""
    numbers: list[Record] = []
    shown: list[Record] = []
    for entry, label in zip(entries, labels(entries), strict=True):
        result = entry.result
        columns = (MEAN, *result.stems)
        values = {
            (name, column): run_scores.values(result, column, name)
            for name in result.plan.metrics
            for column in columns
        }
        for track in result.tracks:
            seconds = track.seconds
            numbers.append(
                {
                    "run": entry.id,
                    "name": result.name,
                    TRACK: track.name,
                    **{_heading(column): groups.of(track.name).get(column) for column in groups.columns},
                    "status": track.status,
                    "audio_seconds": track.audio_seconds,
                    "seconds": seconds,
                    "rtf": None if seconds is None else seconds / track.audio_seconds,
                    **{f"{name}_{column}": found.get(track.name) for (name, column), found in values.items()},
                }
            )
            shown.append(
                {
                    "name": label,
                    TRACK: track.name,
                    **{column: values[measure, column].get(track.name) for column in columns},
                }
            )
    return Export("tracks", of_records(numbers), of_records(shown, digits=DIGITS))


def _heading(column: str) -> str:
    """A column of groups among ours."""
    is_ours = column in OURS or column.rpartition("_")[0] in MEASURES
    return f"group_{column}" if is_ours else column


def runs(entries: Sequence[Entry], measure: str) -> Export:
    """A row for each run: means over tracks with their 95 % intervals, none unless every track worked."""
    numbers: list[Record] = []
    shown: list[Record] = []
    for entry, label in zip(entries, labels(entries), strict=True):
        result, submission = entry.result, entry.result.plan.submission
        made = submission or result.plan.predictions
        means = _means(entry, measure)
        numbers.append(
            {
                "run": entry.id,
                "name": result.name,
                "note": result.label.note,
                "tags": ", ".join(result.label.tags) or None,
                "preset": result.what_ran,
                "commit": None if submission is None else submission.commit,
                "files_sha256": None if made is None else made.files_sha256,
                "start": result.start,
                "status": result.status,
                "tracks": result.plan.data.number,
                "worked": len(result.worked),
                "rtf": result.rtf,
                "measure": measure,
                **_flat(means),
            }
        )
        shown.append(
            {"name": label, **{column: one.words for column, one in means.items()}, "RTF": result.rtf}
        )
    return Export("runs", of_records(numbers), of_records(shown, digits=DIGITS))


def by_group(entries: Sequence[Entry], groups: Groups, measure: str) -> Export:
    """A row for each group of tracks and run."""
    numbers: list[Record] = []
    shown: list[Record] = []
    names = list(dict.fromkeys(track.name for entry in entries for track in entry.result.tracks))
    for (column, group), members in groups.members(names).items():
        for entry, label in zip(entries, labels(entries), strict=True):
            means = _means(entry, measure, members)
            where: Record = {"column": column, "group": group}
            who: Record = {"run": entry.id, "name": entry.result.name}
            numbers.append({**where, **who, "tracks": len(members), "measure": measure, **_flat(means)})
            cells = {stem: one.words if stem == MEAN else one.value for stem, one in means.items()}
            shown.append({**where, "name": label, "tracks": len(members), **cells})
    return Export("groups", of_records(numbers), of_records(shown, digits=DIGITS))


def repetitions(entries: Sequence[Entry], measure: str) -> Export:
    """A row for each system: mean and standard deviation (of a sample, n − 1) over its runs that have a score."""
    numbers: list[Record] = []
    shown: list[Record] = []
    for name, several in systems(entries).items():
        scored = [_means(entry, measure) for entry in several if entry.result.status == "ok"]
        columns = (MEAN, *several[0].result.stems)
        flat: Record = {}
        words: Record = {}
        for column in columns:
            values = [value for one in scored if (value := one[column].value) is not None]
            spread = stdev(values) if len(values) > 1 else None
            flat |= {column: mean(values) if values else None, f"{column}_sd": spread}
            flat |= {f"{column}_min": min(values, default=None), f"{column}_max": max(values, default=None)}
            words[column] = _with_spread(values, spread)
        numbers.append(
            {"name": name, "runs": len(several), "scored": len(scored), "measure": measure, **flat}
        )
        shown.append({"name": name, "runs": len(scored), **words})
    return Export("repetitions", of_records(numbers), of_records(shown, digits=DIGITS))


def _with_spread(values: Sequence[float], spread: float | None) -> str:
    if not values:
        return "-"
    return _words(mean(values)) + ("" if spread is None else f" ± {_words(spread)}")


def _words(value: float) -> str:
    return f"{value:.{DIGITS}f}".replace("-", "−")


@dataclass(frozen=True)
class Mean:
    """A mean over tracks and its 95 % interval, with enough of them."""

    value: float | None
    interval: tuple[float, float] | None

    @property
    def words(self) -> str:
        """As it is printed."""
        if self.value is None:
            return "-"
        if self.interval is None:
            return _words(self.value)
        low, high = self.interval
        return f"{_words(self.value)} [{_words(low)}, {_words(high)}]"


def _means(entry: Entry, measure: str, members: Sequence[str] | None = None) -> dict[str, Mean]:
    """{stem or "mean": mean over the tracks, or over those named}; none in a run without a score."""
    result = entry.result
    found = {}
    for column in (MEAN, *result.stems):
        by_track = run_scores.values(result, column, measure) if result.status == "ok" else {}
        values = [value for name, value in by_track.items() if members is None or name in members]
        found[column] = Mean(mean(values) if values else None, bootstrap.interval_if_enough(values))
    return found


def _flat(means: Mapping[str, Mean]) -> Record:
    flat: Record = {}
    for column, one in means.items():
        low, high = one.interval or (None, None)
        flat |= {column: one.value, f"{column}_low": low, f"{column}_high": high}
    return flat
