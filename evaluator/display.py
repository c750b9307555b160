"""What a run looks like at the terminal: progress with time left on standard error, the table on standard output."""

import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from evaluator.challenge import CHALLENGES
from evaluator.dataset import Dataset, Track
from evaluator.evaluation import Observer
from evaluator.results import Result, TrackResult
from evaluator.sandbox import Outcome

REFRESH_SECONDS = 0.5
BAR = "{desc} |{bar}| {percentage:3.0f}% [{elapsed}, left {remaining}]"


class ProgressBar(Observer):
    """One bar over the seconds of audio to separate; a line for each track that fails."""

    def __init__(self, dataset: Dataset) -> None:
        total = sum(track.seconds for track in dataset.tracks)
        self._bar = tqdm(total=total, file=sys.stderr, bar_format=BAR, desc="starting")
        self._closed = threading.Event()
        self._what = "starting"
        self._began: float | None = None
        self._limit: float | None = None
        self._thread = threading.Thread(target=self._refresh, daemon=True)
        self._thread.start()

    def _refresh(self) -> None:
        while not self._closed.wait(REFRESH_SECONDS if sys.stderr.isatty() else 30 * REFRESH_SECONDS):
            self._show()

    def _show(self) -> None:
        clock = ""
        if self._began is not None:
            clock = f" {time.monotonic() - self._began:.0f}"
            clock += f" of at most {self._limit:.0f} s" if self._limit is not None else " s"
        self._bar.set_description_str(f"{self._what}{clock}")

    def resumed(self, tracks: Sequence[Track]) -> None:
        self._bar.initial = sum(track.seconds for track in tracks)
        self._bar.update(self._bar.initial)

    def setting_up(self) -> None:
        self._what, self._began, self._limit = "loading the submission", time.monotonic(), None
        self._show()

    def setup_failed(self, outcome: Outcome, log: Sequence[str]) -> None:
        self._report(f"the submission could not be constructed: {outcome.status}, {outcome.reason}", log)

    @staticmethod
    def _report(headline: str, log: Sequence[str]) -> None:
        tqdm.write(headline, file=sys.stderr)
        for line in log:
            tqdm.write(f"    {line}", file=sys.stderr)

    def separating(self, track: Track, limit_seconds: float | None) -> None:
        self._what, self._began, self._limit = track.name, time.monotonic(), limit_seconds
        self._show()

    def finished(self, track: Track, result: TrackResult, log: Sequence[str]) -> None:
        self._bar.update(track.seconds)
        if result.status != "ok" and result.seconds is not None:
            self._report(f"{track.name}: {result.status}, {result.reason}", log)

    def measuring(self, metric: str, tracks: int) -> None:
        self._what, self._began, self._limit = f"{metric} of {tracks} tracks", time.monotonic(), None
        self._show()

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._closed.set()
        self._thread.join()
        self._bar.close()


class CheckBar:
    """A bar over the tracks whose files are read, shown only where that takes longer than a moment."""

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


def table(result: Result) -> str:
    """The result as text: a line a track, totals, what was not in force, and the verdict."""
    stems = CHALLENGES[result.plan.track].stems
    extra = [metric for metric in result.plan.metrics if metric != "sdr"]
    header = ["track", "status", "seconds", "allowed", *stems, "mean", *(f"{name} mean" for name in extra)]
    rows = [_row(track, stems, extra) for track in result.tracks]
    score = result.totals("sdr")
    label = "score" if result.status == "ok" else "mean of the tracks that worked"
    totals = [label, "", "", "", *(_db(score[stem]) for stem in stems), _db(score["mean"])]
    totals += [_db(result.totals(name)["mean"]) for name in extra]
    lines = _align([header, *rows, totals])
    rule = "-" * max(map(len, lines))
    parts = [lines[0], rule, *lines[1:-1], rule, lines[-1], "SDR in dB (the challenge's global SDR)."]
    if result.isolation is not None and (gaps := result.isolation.gaps(result.plan.limits)):
        parts.append(f"Not as at the organisers': {'; '.join(gaps)}.")
    return "\n".join([*parts, "", verdict(result)])


def _row(track: TrackResult, stems: Sequence[str], extra: Sequence[str]) -> list[str]:
    sdr = track.scores.get("sdr", {})
    return [
        track.name,
        track.status,
        "-" if track.seconds is None else f"{track.seconds:.1f}",
        "-" if track.limit_seconds is None else f"{track.limit_seconds:.1f}",
        *(_db(sdr.get(stem)) for stem in stems),
        _db(track.mean("sdr")),
        *(_db(track.mean(name)) for name in extra),
    ]


def _db(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest cell; the first two to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def verdict(result: Result) -> str:
    """One sentence: whether this submission would have passed, and with what score."""
    score = result.score()
    unlimited = result.plan.limits.time_factor is None
    if score is not None and unlimited:
        return f"All tracks were scored, without limits, so this says nothing of passing: {_db(score['mean'])} dB."
    if score is not None:
        return f"This submission would have passed, with a score of {_db(score['mean'])} dB."
    if result.status == "incomplete":
        return f"Incomplete: {len(result.tracks)} of {result.plan.data.number} tracks were separated."
    failed = [track for track in result.tracks if track.status != "ok"]
    names = ", ".join(f"{track.name} ({track.status})" for track in failed[:5])
    names += f" and {len(failed) - 5} more" if len(failed) > 5 else ""
    return f"This submission would NOT have passed: {len(failed)} of {len(result.tracks)} tracks failed: {names}."
