"""One evaluation from start to end: stage, separate, collect, score, and keep what is done at every step."""

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from evaluator import estimates, machine, results, scoring
from evaluator.challenge import CHALLENGES
from evaluator.dataset import Dataset, Track
from evaluator.output_log import last_lines, write_log
from evaluator.results import Plan, Result, SetupResult, TrackResult
from evaluator.sandbox import THREAD_VARIABLES, Outcome, Runner, Workplace
from evaluator.staging import stage_mixture

RESULT_FILE = "result.json"
SETUP_LOG = "setup.log"
LOG_LINES = 8
SCORING_NICENESS = 10


class Observer:
    """Told what happens, so that a command line can show it; does nothing by itself."""

    def resumed(self, tracks: Sequence[Track]) -> None:
        """These tracks were done by the run that is resumed."""

    def setting_up(self) -> None:
        """The submission is being imported and constructed."""

    def setup_failed(self, outcome: Outcome, log: Sequence[str]) -> None:
        """It cannot be constructed, so all tracks that are left fail; `log` holds its last lines of output."""

    def separating(self, track: Track, limit_seconds: float | None) -> None:
        """The clock of a track starts."""

    def finished(self, track: Track, result: TrackResult, log: Sequence[str]) -> None:
        """A track has its result; `log` holds the last lines of its output where it failed."""

    def measuring(self, metric: str, tracks: int) -> None:
        """A costly metric is being computed for that many tracks."""


@dataclass(frozen=True)
class Job:
    """What to evaluate, where to put it, and how to run it."""

    plan: Plan
    dataset: Dataset
    out: Path
    keep_estimates: bool
    make_runner: Callable[[Workplace], Runner]


def evaluate(job: Job, observer: Observer, resume: bool) -> Result:
    """Run the tracks that are not done yet and return the result, which is also kept in `job.out`.

    After every track `job.out`/result.json holds what is done. `resume` goes on from there; ResultError where
    that run was made with another plan. Whatever ends this function, the submission is ended too.
    """
    run = _Run(job, observer, _previous(job) if resume else None)
    if not resume:
        _clear(job.out)
    run.save()
    observer.resumed([track for track in job.dataset.tracks if track.name in run.tracks])
    remaining = [track for track in job.dataset.tracks if track.name not in run.tracks]
    with _workplace(job.out) as workplace:
        if remaining:
            runner = job.make_runner(workplace)
            try:
                run.separate_all(remaining, runner, workplace)
            finally:
                runner.close()
                run.finish_scoring()
    if "bss_eval_sdr" in job.plan.metrics:
        run.add_bss_eval()
    if not job.keep_estimates:
        shutil.rmtree(job.out / "estimates", ignore_errors=True)
    return run.save()


def _previous(job: Job) -> dict[str, Any] | None:
    path = job.out / RESULT_FILE
    if not path.exists():
        return None
    item = results.read(path)
    if different := results.differences(item, job.plan):
        raise results.ResultError(
            f"{path}: cannot be resumed, it was made with other settings ({'; '.join(different)})"
        )
    return item


def _clear(out: Path) -> None:
    """Remove what an earlier run left in `out`, and nothing else."""
    for name in (RESULT_FILE, SETUP_LOG):
        (out / name).unlink(missing_ok=True)
    for name in ("estimates", "logs"):
        shutil.rmtree(out / name, ignore_errors=True)


@contextmanager
def _workplace(out: Path) -> Iterator[Workplace]:
    """Fresh folders for the submission below `out`, removed at the end."""
    workplace = Workplace(out / "work")
    shutil.rmtree(workplace.root, ignore_errors=True)
    workplace.make()
    try:
        yield workplace
    finally:
        shutil.rmtree(workplace.root, ignore_errors=True)


class _Run:
    """The growing result of one evaluation."""

    def __init__(self, job: Job, observer: Observer, previous: Mapping[str, Any] | None) -> None:
        self._job = job
        self._observer = observer
        self._challenge = CHALLENGES[job.plan.track]
        self._began = time.monotonic()
        self._machine, self._versions = machine.describe(), machine.versions()
        self._scorer = ThreadPoolExecutor(1, "scoring", initializer=_yield_to_others)
        self._pending: list[Future[None]] = []
        earlier = previous or {}
        self._start = earlier.get("start") or datetime.now(UTC).isoformat(timespec="seconds")
        self._earlier_seconds = float(earlier.get("duration_seconds", 0.0))
        self._setup = SetupResult(**earlier["setup"]) if earlier.get("setup") else None
        self._provenance = earlier.get("submission", {}).get("provenance")
        self._isolation = results.isolation_from_json(earlier.get("isolation"))
        self.tracks = {
            item["name"]: results.track_from_json(item, job.plan.metrics)
            for item in earlier.get("tracks", [])
        }

    def result(self) -> Result:
        """The result as it stands."""
        done = [self.tracks[t.name] for t in self._job.dataset.tracks if t.name in self.tracks]
        return Result(
            plan=self._job.plan,
            start=self._start,
            duration_seconds=self._earlier_seconds + time.monotonic() - self._began,
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

    def separate_all(self, tracks: Sequence[Track], runner: Runner, workplace: Workplace) -> None:
        """Have the submission separate these tracks; it is started again after one that failed."""
        running = False
        for index, track in enumerate(tracks):
            if not running:
                setup = self._set_up(runner)
                if setup.status != "ok":
                    self._give_up(tracks[index:], setup)
                    return
            outcome = self._separate(track, runner, workplace)
            running = outcome.status == "ok"
            if not running:
                runner.close()

    def _set_up(self, runner: Runner) -> Outcome:
        self._observer.setting_up()
        outcome = runner.start()
        limit = self._job.plan.limits.setup_seconds
        self._setup = SetupResult(
            outcome.status, outcome.reason, round(outcome.seconds, 3), limit, self._wrapper()
        )
        self._isolation = runner.isolation
        self._provenance = outcome.provenance or self._provenance
        write_log(self._job.out / SETUP_LOG, outcome.log)
        return outcome

    def _wrapper(self) -> str:
        own = Path(self._job.plan.submission.path) / "my_submission" / "aicrowd_wrapper.py"
        return "submission" if own.exists() else "evaluator"

    def _give_up(self, tracks: Sequence[Track], setup: Outcome) -> None:
        """No track can be separated by a submission that cannot be constructed."""
        self._observer.setup_failed(setup, last_lines(setup.log, LOG_LINES))
        for track in tracks:
            result = self._track_result(track, replace(setup, reason=f"setup: {setup.reason}"))
            result = replace(result, seconds=None, peak_memory_bytes=None)
            self._later(self._record, track, result, "")

    def _separate(self, track: Track, runner: Runner, workplace: Workplace) -> Outcome:
        """One track under its clock; the estimates are scored while the next one is separated."""
        staged = stage_mixture(track, self._challenge, workplace.mixtures)
        limit = self._job.plan.limits.track_seconds(track.seconds)
        self._observer.separating(track, limit)
        outcome = runner.separate(track.folder, limit)
        write_log(self._job.out / "logs" / f"{track.folder}.log", outcome.log)
        if outcome.status == "ok":
            try:
                estimates.collect(workplace.predictions, track, self._challenge, self._estimates(track))
            except estimates.InvalidOutputError as error:
                outcome = replace(outcome, status="invalid_output", reason=str(error))
        shutil.rmtree(staged, ignore_errors=True)
        _empty(workplace.predictions)
        if outcome.status == "ok":
            self._later(self._score, track, outcome)
        else:
            self._later(self._record, track, self._track_result(track, outcome), outcome.log)
        return outcome

    def _later(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do this in the one thread that scores and records."""
        self._pending.append(self._scorer.submit(work, *arguments))

    def _estimates(self, track: Track) -> Path:
        return self._job.out / "estimates" / track.folder

    def _score(self, track: Track, outcome: Outcome) -> None:
        metrics = [name for name in self._job.plan.metrics if name in scoring.ENERGY_METRICS]
        result = self._track_result(track, outcome)
        try:
            result = replace(result, scores=scoring.score_track(track, self._estimates(track), metrics))
        except estimates.InvalidOutputError as error:
            result = replace(result, status="invalid_output", reason=str(error))
        self._record(track, result, outcome.log)
        if not self._job.keep_estimates and "bss_eval_sdr" not in self._job.plan.metrics:
            shutil.rmtree(self._estimates(track), ignore_errors=True)

    def _track_result(self, track: Track, outcome: Outcome) -> TrackResult:
        return TrackResult(
            name=track.name,
            status=outcome.status,
            reason=outcome.reason,
            seconds=round(outcome.seconds, 3),
            limit_seconds=self._job.plan.limits.track_seconds(track.seconds),
            audio_seconds=track.seconds,
            peak_memory_bytes=outcome.peak_memory_bytes or None,
            economies=(outcome.provenance or {}).get("economies", []),
            scores={},
        )

    def _record(self, track: Track, result: TrackResult, log: str) -> None:
        self.tracks[track.name] = result
        self.save()
        failed = result.status != "ok"
        self._observer.finished(track, result, last_lines(log, LOG_LINES) if failed else [])

    def finish_scoring(self) -> None:
        """Wait for the tracks that are being scored; raises what went wrong there."""
        self._scorer.shutdown(wait=True)
        for future in self._pending:
            future.result()

    def add_bss_eval(self) -> None:
        """BSS Eval of the tracks that have none yet, several at once, after the submission has had the machine."""
        todo = [
            track
            for track in self._job.dataset.tracks
            if self.tracks[track.name].status == "ok" and "bss_eval_sdr" not in self.tracks[track.name].scores
        ]
        if not todo:
            return
        self._observer.measuring("bss_eval_sdr", len(todo))
        workers = min(len(todo), os.cpu_count() or 1)
        with _one_thread_each(), ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            futures = [pool.submit(scoring.bss_eval_track, track, self._estimates(track)) for track in todo]
            for track, future in zip(todo, futures, strict=True):
                before = self.tracks[track.name]
                scores = {**before.scores, "bss_eval_sdr": future.result()}
                self.tracks[track.name] = replace(before, scores=scores)
                self.save()


def _yield_to_others() -> None:
    """Give this thread a low priority, so that scoring does not slow down a submission under its clock."""
    if sys.platform.startswith("linux"):  # elsewhere priorities belong to processes
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), SCORING_NICENESS)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started meanwhile compute with one thread each, since there is one of them for every core."""
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


def _empty(folder: Path) -> None:
    """Remove everything in a folder that the submission may write to, following no link."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
