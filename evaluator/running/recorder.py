"""The growing result of one evaluation: scores what was separated, and keeps what is done at every step.

Scoring runs in its own low-priority thread, so that it overlaps with the separation of the next track. If the machine
has no core to spare, that takes time from the submission, but very little: 2 to 3 ms of one core for each second of
audio (benchmarks/scoring.py), of which the submission may use 1570 ms on four cores, so 0.05 %. Therefore it does not
wait for a free core. SCHED_IDLE would take less and might cost more: a thread that holds the interpreter's lock and
gets no core would keep the evaluator from stopping the submission's clock. Measures that take far longer, such as
BSS Eval, wait until the submission is done with the machine.
"""

import os
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from evaluator import printable
from evaluator.isolation import machine
from evaluator.isolation.output_log import last_lines
from evaluator.isolation.process_tree import end_with_parent
from evaluator.isolation.sandbox import Isolation, Outcome
from evaluator.isolation.variables import THREAD_VARIABLES
from evaluator.running import scoring, track_results
from evaluator.running.dataset import Track
from evaluator.running.job import Job, Observer
from evaluator.runs import results
from evaluator.runs.labels import Label
from evaluator.runs.records import Host, TrackResult
from evaluator.runs.results import Result
from evaluator.runs.run_folder import RESULT_FILE

LOG_LINES = 8
SCORING_NICENESS = 10
AT_ONCE_SECONDS = 0.02
LARGEST_SHARE = 0.05
"""Of all time, for keeping a result that takes longer than that to write: it has thousands of tracks."""


class Recorder:
    """Takes the outcome of each track, in any order and from any thread; owns the thread that scores.

    `previous` is the run that is resumed. `job.out`/result.json is written after every track, or, where that would
    take more than LARGEST_SHARE of all time, so much less often.
    """

    def __init__(self, job: Job, observer: Observer, previous: Result | None) -> None:
        self._job = job
        self._observer = observer
        self._began = time.monotonic()
        self._next_save = 0.0
        self._machine, self._versions = machine.describe(), machine.versions()
        self._scorer = ThreadPoolExecutor(1, "scoring", initializer=_yield_to_others)
        self._pending: deque[Future[None]] = deque()
        self._lock = threading.Lock()
        self._gave_up = False
        self._start = datetime.now(UTC).isoformat(timespec="seconds") if previous is None else previous.start
        self._earlier_seconds = 0.0 if previous is None else previous.duration_seconds
        self._setup = None if previous is None else previous.setup
        self._provenance = None if previous is None else previous.provenance
        self._isolation = None if previous is None else previous.isolation
        self._machines = {host.name: host for host in (() if previous is None else previous.machines)}
        self._label = job.label if previous is None else _relabelled(previous.label, job.label)
        self._tracks = {track.name: track for track in (() if previous is None else previous.tracks)}

    def split(self) -> tuple[list[Track], list[Track]]:
        """The tracks that are done, and those that are left, each in the data set's order."""
        done: tuple[list[Track], list[Track]] = ([], [])
        for track in self._job.dataset.tracks:
            done[track.name not in self._tracks].append(track)
        return done

    def result(self) -> Result:
        """The result as it stands."""
        done = [self._tracks[t.name] for t in self._job.dataset.tracks if t.name in self._tracks]
        return Result(
            plan=self._job.plan,
            start=self._start,
            duration_seconds=round(self._earlier_seconds + time.monotonic() - self._began, 3),
            setup=self._setup,
            provenance=self._provenance,
            isolation=self._isolation,
            machine=self._machine,
            versions=self._versions,
            tracks=tuple(done),
            machines=tuple(self._machines[name] for name in sorted(self._machines)),
            label=self._label,
        )

    def save(self) -> Result:
        """Keep the result as it stands, and return it."""
        began = time.monotonic()
        result = self.result()
        results.write(self._job.out / RESULT_FILE, result.to_json())
        ended = time.monotonic()
        seconds = ended - began
        self._next_save = ended + (seconds / LARGEST_SHARE if seconds > AT_ONCE_SECONDS else 0.0)
        return result

    def _save_in_turn(self) -> None:
        """After a track: keep the result, unless that has just been done and takes long."""
        if time.monotonic() >= self._next_save:
            self.save()

    def set_up(self, outcome: Outcome, isolation: Isolation | None) -> None:
        """The submission was imported and constructed, or could not be; a failure stays on record."""
        setup = track_results.of_set_up(self._job.plan, outcome)
        with self._lock:
            if not self._gave_up:
                self._setup = setup
            self._isolation = _with_all_gaps(isolation, self._isolation)
            before = (self._provenance or {}).get("forecast")
            self._provenance = printable.tree(outcome.provenance) or self._provenance
        forecast = (outcome.provenance or {}).get("forecast")
        if isinstance(forecast, str) and not isinstance(before, str):
            self._observer.notice(f"The submission's forecast: {forecast}")

    def give_up(self, tracks: Sequence[Track], setup: Outcome) -> None:
        """Record that no remaining track can be separated, since the submission cannot be constructed."""
        with self._lock:
            first, self._gave_up = not self._gave_up, True
        if first:
            self._observer.setup_failed(setup, last_lines(setup.log, LOG_LINES))
        for track in tracks:
            result = track_results.of_outcome(
                self._job.plan, track, replace(setup, reason=f"setup: {setup.reason}")
            )
            self._later(self._record, track, replace(result, seconds=None, peak_memory_bytes=None), setup.log)

    def separated(self, track: Track, outcome: Outcome) -> None:
        """A track is done, and if it is ok, its estimates are collected: score them and keep the result."""
        result = track_results.of_outcome(self._job.plan, track, outcome)
        self._later(self._score if outcome.status == "ok" else self._record, track, result, outcome.log)

    def remote(
        self,
        track: Track,
        result: TrackResult,
        log: str,
        host: Host,
    ) -> None:
        """A track was separated and scored by a worker on `host`; its estimates are in their place, if kept."""
        with self._lock:
            before = self._machines.get(host.name, host)
            most = max(before.tracks_at_a_time, host.tracks_at_a_time)
            self._machines[host.name] = replace(host, tracks_at_a_time=most)
        self._later(self._record, track, replace(result, machine=host.name), log)

    def lost(self, track: Track, reason: str) -> None:
        """A track was given up, since it was lost with every worker that had it."""
        outcome = Outcome("crashed", reason, 0.0, 0, "")
        result = track_results.of_outcome(self._job.plan, track, outcome)
        self._later(self._record, track, replace(result, seconds=None), "")

    @property
    def weights(self) -> Any:
        """What the submission said of its weights, where it did for an earlier track."""
        return (self._provenance or {}).get("weights")

    def given(self, track: Track, problem: str | None) -> None:
        """The estimates of a track, which somebody made elsewhere, are collected, or cannot be: then `problem`."""
        result = TrackResult(
            name=track.name,
            status="ok" if problem is None else "invalid_output",
            reason=track_results.shown(problem),
            seconds=None,
            limit_seconds=None,
            audio_seconds=track.seconds,
            peak_memory_bytes=None,
            economies=(),
            scores={},
        )
        self._later(self._score if problem is None else self._record, track, result, "")

    def catch_up(self, most: int) -> None:
        """Wait until no more than `most` tracks are still to be scored; raises what went wrong with the others."""
        while len(self._pending) > most:
            self._pending.popleft().result()

    def estimates(self, track: Track) -> Path:
        """The folder for the estimates of a track."""
        return self._job.out / "estimates" / track.folder

    def finish_scoring(self) -> None:
        """Wait for the tracks that are being scored; raises what went wrong there."""
        self._scorer.shutdown(wait=True)
        for future in self._pending:
            future.result()

    def add_costly(self) -> None:
        """The costly measures of the tracks that lack any, several at once, after the submission is done."""
        names = scoring.costly(self._job.plan.metrics)
        todo = [
            track
            for track in self._job.dataset.tracks
            if self._tracks[track.name].status == "ok"
            and not set(names) <= set(self._tracks[track.name].scores)
        ]
        if not todo:
            return
        self._observer.measuring(", ".join(names), len(todo))
        workers = min(len(todo), os.cpu_count() or 1)
        with (
            _one_thread_each(),
            ProcessPoolExecutor(workers, get_context("spawn"), end_with_parent, (os.getpid(),)) as pool,
        ):
            futures = [
                pool.submit(scoring.costly_scores, track, self.estimates(track), names) for track in todo
            ]
            for track, future in zip(todo, futures, strict=True):
                before = self._tracks[track.name]
                self._tracks[track.name] = replace(before, scores={**before.scores, **future.result()})
                self._save_in_turn()

    def _later(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do this in the one thread that scores and records."""
        self._pending.append(self._scorer.submit(work, *arguments))

    def _score(self, track: Track, result: TrackResult, log: str) -> None:
        metrics = self._job.plan.metrics
        self._record(track, track_results.scored(track, result, self.estimates(track), metrics), log)
        if not self._job.keep_estimates and not scoring.costly(metrics):
            shutil.rmtree(self.estimates(track), ignore_errors=True)

    def _record(self, track: Track, result: TrackResult, log: str) -> None:
        failed = result.status != "ok"
        if failed or result.late:
            result = replace(result, last_line=track_results.shown("".join(last_lines(log, 1)) or None))
        self._tracks[track.name] = result
        self._save_in_turn()
        self._observer.finished(track, result, last_lines(log, LOG_LINES) if failed else [])


def _relabelled(before: Label, now: Label) -> Label:
    """What a resumed run is called: as it was, but for what is said anew."""
    return Label(now.name or before.name, now.note or before.note, now.tags or before.tags)


def _with_all_gaps(isolation: Isolation | None, before: Isolation | None) -> Isolation | None:
    """What is in force here, and what was not in force here or on another machine of the same run."""
    if isolation is None or before is None:
        return isolation
    gaps = dict.fromkeys([*before.not_in_force, *isolation.not_in_force])
    return replace(isolation, not_in_force=tuple(gaps))


def _yield_to_others() -> None:
    """Give this thread a low priority, so that scoring does not slow down a submission under its clock."""
    if sys.platform.startswith("linux"):  # elsewhere priorities belong to processes
        thread = threading.get_native_id()
        niceness = max(SCORING_NICENESS, os.getpriority(os.PRIO_PROCESS, thread))  # which only root may lower
        os.setpriority(os.PRIO_PROCESS, thread, niceness)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started inside compute with one thread each, since there is one for every core."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
