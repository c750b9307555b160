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
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from evaluator import printable
from evaluator.challenge import CHALLENGES
from evaluator.isolation import machine
from evaluator.isolation.output_log import last_lines
from evaluator.isolation.process_tree import end_with_parent
from evaluator.isolation.sandbox import Isolation, Outcome
from evaluator.isolation.variables import THREAD_VARIABLES
from evaluator.measures.catalogue import MEASURES
from evaluator.measures.means import Scores
from evaluator.running import scoring
from evaluator.running.dataset import Track
from evaluator.running.estimates import InvalidOutputError
from evaluator.running.job import Job, Observer
from evaluator.runs import results
from evaluator.runs.records import SetupResult, TrackResult
from evaluator.runs.results import Result
from evaluator.runs.run_folder import RESULT_FILE

LOG_LINES = 8
REASON_CHARACTERS = 2000
SCORING_NICENESS = 10


class Recorder:
    """Takes the outcome of each track, in any order and from any thread; owns the thread that scores.

    `previous` is the run that is resumed. `job.out`/result.json holds what is done after every track.
    """

    def __init__(self, job: Job, observer: Observer, previous: Result | None) -> None:
        self._job = job
        self._observer = observer
        self._began = time.monotonic()
        self._machine, self._versions = machine.describe(), machine.versions()
        self._scorer = ThreadPoolExecutor(1, "scoring", initializer=_yield_to_others)
        self._pending: list[Future[None]] = []
        self._lock = threading.Lock()
        self._gave_up = False
        self._start = datetime.now(UTC).isoformat(timespec="seconds") if previous is None else previous.start
        self._earlier_seconds = 0.0 if previous is None else previous.duration_seconds
        self._setup = None if previous is None else previous.setup
        self._provenance = None if previous is None else previous.provenance
        self._isolation = None if previous is None else previous.isolation
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
        )

    def save(self) -> Result:
        """Keep the result as it stands, and return it."""
        result = self.result()
        results.write(self._job.out / RESULT_FILE, result.to_json())
        return result

    def set_up(self, outcome: Outcome, isolation: Isolation | None) -> None:
        """The submission was imported and constructed, or could not be; a failure stays on record."""
        assert self._job.plan.submission is not None
        own = Path(self._job.plan.submission.path) / "my_submission" / "aicrowd_wrapper.py"
        setup = SetupResult(
            status=outcome.status,
            reason=_shown(outcome.reason),
            seconds=round(outcome.seconds, 3),
            limit_seconds=self._job.plan.limits.setup_seconds,
            wrapper="submission" if own.exists() and self._job.plan.challenge in CHALLENGES else "evaluator",
        )
        with self._lock:
            if not self._gave_up:
                self._setup = setup
            self._isolation = isolation
            self._provenance = printable.tree(outcome.provenance) or self._provenance

    def give_up(self, tracks: Sequence[Track], setup: Outcome) -> None:
        """Record that no remaining track can be separated, since the submission cannot be constructed."""
        with self._lock:
            first, self._gave_up = not self._gave_up, True
        if first:
            self._observer.setup_failed(setup, last_lines(setup.log, LOG_LINES))
        for track in tracks:
            result = self._track_result(track, replace(setup, reason=f"setup: {setup.reason}"))
            self._later(self._record, track, replace(result, seconds=None, peak_memory_bytes=None), "")

    def separated(self, track: Track, outcome: Outcome) -> None:
        """A track is done, and if it is ok, its estimates are collected: score them and keep the result."""
        if outcome.status == "ok":
            self._later(self._score, track, self._track_result(track, outcome), outcome.log)
        else:
            self._later(self._record, track, self._track_result(track, outcome), outcome.log)

    def given(self, track: Track, problem: str | None) -> None:
        """The estimates of a track, which somebody made elsewhere, are collected, or cannot be: then `problem`."""
        result = TrackResult(
            name=track.name,
            status="ok" if problem is None else "invalid_output",
            reason=_shown(problem),
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
        for future in self._pending[: max(len(self._pending) - most, 0)]:
            future.result()

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
                self.save()

    def _later(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do this in the one thread that scores and records."""
        self._pending.append(self._scorer.submit(work, *arguments))

    def _score(self, track: Track, result: TrackResult, log: str) -> None:
        metrics = [name for name in self._job.plan.metrics if name in scoring.ENERGY_METRICS]
        try:
            scores = scoring.score_track(track, self.estimates(track), metrics)
            _require_possible(scores)
            result = replace(result, scores=scores)
        except InvalidOutputError as error:
            result = replace(result, status="invalid_output", reason=str(error))
        self._record(track, result, log)
        if not self._job.keep_estimates and not scoring.costly(self._job.plan.metrics):
            shutil.rmtree(self.estimates(track), ignore_errors=True)

    def _track_result(self, track: Track, outcome: Outcome) -> TrackResult:
        return TrackResult(
            name=track.name,
            status=outcome.status,
            reason=_shown(outcome.reason),
            seconds=round(outcome.seconds, 3),
            limit_seconds=self._job.plan.limits.track_seconds(track.seconds),
            audio_seconds=track.seconds,
            peak_memory_bytes=outcome.peak_memory_bytes or None,
            economies=_economies(outcome.provenance),
            scores={},
        )

    def _record(self, track: Track, result: TrackResult, log: str) -> None:
        self._tracks[track.name] = result
        self.save()
        failed = result.status != "ok"
        self._observer.finished(track, result, last_lines(log, LOG_LINES) if failed else [])


def _shown(reason: str | None) -> str | None:
    """A reason, which may be a submission's own words, as one line."""
    return None if reason is None else printable.plain(reason, REASON_CHARACTERS)


def _economies(provenance: Mapping[str, Any] | None) -> tuple[Any, ...]:
    """What the submission says that it left out, if it says so in a list."""
    found = (provenance or {}).get("economies")
    return tuple(printable.tree(found)) if isinstance(found, list | tuple) else ()


def _require_possible(scores: Mapping[str, Scores]) -> None:
    """InvalidOutputError for samples so far from full scale that no reader of results takes their scores."""
    for measure, found in scores.items():
        for stem, value in found.items():
            if not MEASURES[measure].can_be(value):
                raise InvalidOutputError(f"{stem}: samples far beyond full scale ({measure} {value:.0f} dB)")


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
