"""How far a run is, at the terminal: a bar on standard error with the time left, and lines for what failed."""

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from evaluator import printable, text_table
from evaluator.isolation.sandbox import Outcome
from evaluator.running.dataset import Dataset, Track
from evaluator.running.job import Observer
from evaluator.running.track_results import REASON_CHARACTERS
from evaluator.runs.records import TrackResult

REFRESH_SECONDS = 0.5
REFRESH_SECONDS_IN_A_FILE = 15.0
CURRENT_SHARE = 0.95  # of a track counts as done at most, until it is
RUN_BAR = "{desc} |{bar}| {percentage:3.0f}% [{elapsed}{postfix}]"
BAR = "{desc} |{bar}| {percentage:3.0f}% [{elapsed}, left {remaining}{postfix}]"


@dataclass(frozen=True)
class _Current:
    """A track that is being separated."""

    track: Track
    limit_seconds: float | None
    began: float

    def seconds(self) -> float:
        """How long it has been separated."""
        return time.monotonic() - self.began

    def description(self) -> str:
        """Its name and time, in words."""
        limit = "" if self.limit_seconds is None else f" of {self.limit_seconds:.0f} allowed"
        return f"{self.track.name} {self.seconds():.0f} s{limit}"


class ProgressBar(Observer):
    """One bar over the seconds of audio to separate, with the time left, and some lines for each failed track.

    `jobs` is how many tracks are separated at a time.
    """

    def __init__(self, dataset: Dataset, jobs: int = 1) -> None:
        self._total = sum(track.seconds for track in dataset.tracks)
        self._number, self._done_before, self._start = len(dataset.tracks), 0, time.monotonic()
        self._jobs = min(jobs, len(dataset.tracks))
        self._bar = tqdm(total=self._total, file=sys.stderr, bar_format=RUN_BAR, desc="starting")
        self._what, self._began = "starting", time.monotonic()
        self._current: dict[str, _Current] = {}
        self._is_given_up = False  # the tracks that follow all fail for a reason that was told
        self._done: dict[str, float] = {}  # seconds of audio, by track
        self._spent, self._covered = 0.0, 0.0  # compute seconds and seconds of audio of tracks of this run
        self._workers: tuple[int, int] | None = None  # of an engine, and their machines
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._refresh, daemon=True)
        self._thread.start()

    def _refresh(self) -> None:
        while not self._closed.wait(REFRESH_SECONDS if sys.stderr.isatty() else REFRESH_SECONDS_IN_A_FILE):
            with self._lock:
                self._show()

    def _show(self) -> None:
        pace = self._spent / self._covered if self._covered else self._slowest_pace()
        current = 0.0
        if pace:
            current = sum(
                min(each.seconds() / pace, CURRENT_SHARE * each.track.seconds)
                for each in self._current.values()
            )
        self._bar.n = min(sum(self._done.values()) + current, self._total)
        left = (self._total - self._bar.n) / self._jobs
        remaining = time_left(left, pace, not self._covered)
        self._bar.set_postfix_str(", ".join(filter(None, (remaining, self._engine_words()))), refresh=False)
        self._bar.set_description_str(self._description())

    def _description(self) -> str:
        """What is going on; of several tracks, the one that has taken longest."""
        if not self._current:
            return f"{self._what} {time.monotonic() - self._began:.0f} s"
        first, *others = self._current.values()
        return first.description() + (f" (and {len(others)} more)" if others else "")

    def _slowest_pace(self) -> float | None:
        """Compute seconds per second of audio if every track took all that it may; None where one takes longer."""
        for each in self._current.values():
            if each.limit_seconds is not None and each.seconds() <= each.limit_seconds:
                return each.limit_seconds / each.track.seconds
            return None
        return None

    def _turn_to(self, what: str) -> None:
        with self._lock:
            self._what, self._began = what, time.monotonic()
            self._show()

    def resumed(self, tracks: Sequence[Track]) -> None:
        self._done = {track.name: track.seconds for track in tracks}
        self._done_before = len(tracks)

    def setting_up(self) -> None:
        self._turn_to("loading the submission")

    def setup_failed(self, outcome: Outcome, log: Sequence[str]) -> None:
        self._is_given_up = True
        self._report(f"the submission could not be constructed: {outcome.status}, {outcome.reason}", log)

    def separating(self, track: Track, limit_seconds: float | None) -> None:
        with self._lock:
            self._current[track.name] = _Current(track, limit_seconds, time.monotonic())
            self._show()

    def separated(self, track: Track) -> None:
        with self._lock:
            del self._current[track.name]
            self._done[track.name] = track.seconds
            self._what, self._began = "scoring", time.monotonic()

    def finished(self, track: Track, result: TrackResult, log: Sequence[str]) -> None:
        with self._lock:
            self._done[track.name] = track.seconds
            if result.seconds is not None:
                self._spent += result.seconds
                self._covered += track.seconds
        if result.status != "ok" and (result.seconds is not None or not self._is_given_up):
            self._report(f"{track.name}: {result.status}, {result.reason}", log)

    def measuring(self, metric: str, tracks: int) -> None:
        self._turn_to(f"{metric} of {text_table.count(tracks, 'track')}")

    def working(self, workers: int, machines: int, left: int) -> None:
        with self._lock:
            self._jobs = max(workers, 1)
            self._workers = (workers, machines)

    def _engine_words(self) -> str:
        """Who is at work, and how fast; nothing where there is no engine."""
        if self._workers is None:
            return ""
        pace = (len(self._done) - self._done_before) / max(time.monotonic() - self._start, 1)
        return engine_words(*self._workers, len(self._done), self._number, pace)

    def notice(self, text: str) -> None:
        self._report(text, [])

    @staticmethod
    def _report(headline: str, log: Sequence[str]) -> None:
        tqdm.write(printable.plain(headline, REASON_CHARACTERS), file=sys.stderr)
        for line in log:
            tqdm.write(f"    {printable.plain(line)}", file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._closed.set()
        self._thread.join()
        self._current.clear()
        self._show()
        self._bar.close()


def engine_words(workers: int, machines: int, done: int, tracks: int, pace: float) -> str:
    """Who is at work on an engine, and what of it is done; `pace` in tracks a second."""
    there = f"{text_table.count(workers, 'worker')} on {text_table.count(machines, 'machine')}"
    return f"{there}, {done} of {tracks} tracks, {60 * pace:.1f} a minute"


def time_left(audio_seconds: float, pace: float | None, bound: bool) -> str:
    """How long that much audio will take at this pace (compute seconds per second of audio), in words.

    `bound` marks a pace that has not been measured: the slowest allowed one.
    """
    if pace is None:
        return "left ?"
    return f"left {'at most ' if bound else ''}{tqdm.format_interval(round(audio_seconds * pace))}"


class CheckBar:
    """A bar over the tracks whose files are read, shown only if that takes longer than a moment."""

    def __enter__(self) -> "CheckBar":
        self._bar: tqdm[Any] | None = None
        return self

    def __call__(self, track: Track, total: int) -> None:
        if self._bar is None:
            self._bar = tqdm(total=total, file=sys.stderr, bar_format=BAR, desc="checking the data", delay=2)
        self._bar.update()

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()
