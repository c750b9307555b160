"""How sure a board is: bootstrap intervals over tracks, and which entries it cannot tell apart.

Computed from the scores of single tracks, about which an interval tells something. So there are none while references
are hidden and entries are taken.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from evaluator.measures import bootstrap
from evaluator.measures.bootstrap import FEWEST_TRACKS
from evaluator.measures.means import MEAN
from evaluator.service import benchmarks
from evaluator.service.tables import Benchmark, Entry, TrackScore

MOST_KNOWN = 256  # boards

Values = Mapping[str, float]
"""{track: value}"""


@dataclass(frozen=True)
class Sureness:
    """95 % intervals by entry; groups: numbers by entry, of which equal ones cannot be told apart from their best."""

    intervals: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    groups: Mapping[int, int] = field(default_factory=dict)


class Known:
    """What was computed of late, one after the other: each reads the scores of all tracks of a board's entries."""

    def __init__(self) -> None:
        self._computing = threading.Lock()
        self._found: OrderedDict[Hashable, Sureness] = OrderedDict()

    def of(self, board: Hashable, compute: Callable[[], Sureness]) -> Sureness:
        """What is known of a board; board: all that it depends on."""
        with self._computing:
            found = self._found.pop(board, None) or compute()
            self._found[board] = found
            if len(self._found) > MOST_KNOWN:
                self._found.popitem(last=False)
            return found


def of_ranked(
    session: Session,
    known: Known,
    benchmark: Benchmark,
    measure: str,
    stem: str,
    part: str,
    ranked: Mapping[int, Hashable],
    now: float,
) -> Sureness:
    """Of entries in the order of the board; nothing where it may not be told, or with too few tracks.

    ranked: {entry: its means}, whose tracks have the same scores for as long as these are the same.
    """
    if not (benchmark.is_open or benchmarks.is_closed(benchmark, now)):
        return Sureness()
    tracks = [track["name"] for track in benchmark.tracks if track["part"] == part]
    if len(tracks) < FEWEST_TRACKS or not ranked:
        return Sureness()

    def compute() -> Sureness:
        values = _values(session, benchmark, measure, stem, tracks)
        complete = {entry: values[entry] for entry in ranked if len(values.get(entry, ())) == len(tracks)}
        return sureness({entry: [found[track] for track in tracks] for entry, found in complete.items()})

    return known.of((benchmark.id, measure, stem, part, *ranked.items()), compute)


def sureness(scores: Mapping[int, Sequence[float]]) -> Sureness:
    """Of {entry: scores of all tracks}, best first."""
    intervals: dict[int, tuple[float, float]] = {}
    groups: dict[int, int] = {}
    best: np.ndarray | None = None
    group = 0
    for entry, row in scores.items():
        values = np.array(row)
        low, high = bootstrap.interval(values)
        intervals[entry] = round(low, 2), round(high, 2)
        if best is not None:
            below, above = bootstrap.interval(best - values)
        if best is None or below > 0 or above < 0:
            best, group = values, group + 1
        groups[entry] = group
    return Sureness(intervals, groups)


def _values(
    session: Session, benchmark: Benchmark, measure: str, stem: str, tracks: Sequence[str]
) -> dict[int, dict[str, float]]:
    """{entry: {track: value}} of a stem, or of the mean over all stems where there are all."""
    wanted = benchmark.stems if stem == MEAN else [stem]
    query = (
        select(TrackScore.entry_id, TrackScore.track, TrackScore.value)
        .join(Entry, Entry.id == TrackScore.entry_id)
        .where(
            Entry.benchmark_id == benchmark.id,
            TrackScore.measure == measure,
            TrackScore.stem.in_(wanted),
        )
    )
    known = set(tracks)
    several: dict[int, dict[str, list[float]]] = {}
    for entry, track, value in session.execute(query):
        if track in known and value is not None:
            several.setdefault(entry, {}).setdefault(track, []).append(value)
    return {
        entry: {
            track: sum(found) / len(found) for track, found in by_track.items() if len(found) == len(wanted)
        }
        for entry, by_track in several.items()
    }
