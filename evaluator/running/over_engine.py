"""An evaluation whose tracks are separated and scored by the workers of an engine."""

import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluator import printable
from evaluator.isolation.output_log import write_log
from evaluator.isolation.sandbox import Outcome
from evaluator.running import submission, worker_data, worker_side
from evaluator.running.assignment import Assignment, SetUp, TrackAnswer
from evaluator.running.dataset import Track
from evaluator.running.job import Job, Observer
from evaluator.running.recorder import Recorder
from evaluator.running.submission import SubmissionError
from evaluator.runs import run_folder
from evaluator.runs.records import ESTIMATES, Identity
from sdx.engines import work
from sdx.engines.address import PATIENCE_SECONDS, SLOW_SECONDS
from sdx.engines.engine import SHORT, Answer, EngineError, Needs, Worker
from sdx.engines.opening import open_engine
from sdx.engines.work import NobodyLeftError, Stragglers, Task


def separate(job: Job, observer: Observer, recorder: Recorder, left: Sequence[Track]) -> None:
    """Have workers separate and score these tracks; EngineError where nobody may, or nobody comes."""
    assert job.spread is not None
    address = job.spread.address
    engine = open_engine(address, job.out, observer.notice)
    mark = f".shared-{secrets.token_hex(8)}"
    assignment = _assignment(job, mark)
    client = _Client(job, observer, recorder, left)
    limits = job.plan.limits
    try:
        (job.out / mark).touch()
        work.complete(
            engine,
            worker_side.evaluate_track,
            [
                Task(each.name, (assignment, each.name, job.spread.hashes[each.name]), each.seconds)
                for each in left
            ],
            client,
            Needs(limits.cpus or 1, limits.memory_bytes, address.option("gpus", 0)),
            address.option("patience", PATIENCE_SECONDS),
            Stragglers(seconds=address.option("slow", SLOW_SECONDS)),
        )
    except NobodyLeftError:
        if client.set_up_failed is None:
            raise
        recorder.give_up(client.left(), client.set_up_failed)
    finally:
        engine.close()
        (job.out / mark).unlink(missing_ok=True)
        for draft in (job.out / ESTIMATES).glob(f"{mark}-*"):  # of workers that were killed
            shutil.rmtree(draft, ignore_errors=True)
        recorder.finish_scoring()


def _assignment(job: Job, mark: str) -> Assignment:
    """What every worker is told of the run."""
    assert job.spread is not None
    data = replace(job.plan.data, tracks={}, left_out=job.plan.data.left_out[:1])  # it goes with every track
    return Assignment(
        run=mark,
        plan=replace(job.plan, data=data),
        readable=tuple(str(path.resolve()) for path in job.spread.readable),
        require_isolation=job.spread.require_isolation,
        patience=job.patience,
        out=str(job.out),
        mark=mark,
        keep=job.keep_estimates,
        send=job.spread.send_estimates,
        hold=job.spread.address.kind != "slurm",
    )


class _Client:
    """Takes the workers' answers into the run's folder; a `work.Client`."""

    def __init__(self, job: Job, observer: Observer, recorder: Recorder, left: Sequence[Track]) -> None:
        self._job = job
        self._observer = observer
        self._recorder = recorder
        self._left = {track.name: track for track in left}
        self._begun: set[str] = set()
        self._set_ups = 0
        self.set_up_failed: Outcome | None = None  # while it has been constructed nowhere

    def left(self) -> list[Track]:
        """The tracks that have no result yet."""
        return list(self._left.values())

    def notice(self, text: str) -> None:
        self._observer.notice(text)

    def watched(self, workers: Sequence[Worker], busy: Mapping[str, str]) -> None:
        fit = [worker for worker in workers if worker.set_aside is None]
        self._observer.working(len(fit), len({worker.machine for worker in fit}), len(self._left))
        for name in busy.keys() & self._left.keys() - self._begun:
            self._begin(self._left[name])

    def answered(self, task: Task, answer: Answer) -> str | None:
        value: TrackAnswer = answer.value
        if value.result is None:
            return self._not_set_up(value.set_up)
        expected, found = _by_name(self._recorder.weights), _by_name(value.weights)
        if expected is not None and (reason := worker_data.other_weights(expected, found or {})) is not None:
            return reason
        track = self._take(task)
        self._take_set_up(value.set_up)
        self.set_up_failed = None
        write_log(run_folder.track_log(self._job.out, track.folder), value.log)
        self._keep(track, value)
        self._recorder.remote(track, value.result, value.log, value.host)
        return None

    def changed(self, task: Task) -> str | None:
        """EngineError where data or submission are no longer those of the run, whose other results stand."""
        job = self._job
        assert job.spread is not None
        changed = worker_data.changed(job.dataset.path, self._left[task.key], job.spread.hashes[task.key])
        changed = changed or _changed_submission(job.plan.submission)
        if changed is not None:
            raise EngineError(f"{changed}; put it back, and go on with --resume")
        return None

    def gave_up(self, task: Task, reason: str) -> None:
        self._recorder.lost(self._take(task), reason)

    def _begin(self, track: Track) -> None:
        self._begun.add(track.name)
        self._observer.separating(track, self._job.plan.limits.track_seconds(track.seconds))

    def _take(self, task: Task) -> Track:
        track = self._left.pop(task.key)
        if track.name not in self._begun:
            self._begin(track)
        self._observer.separated(track)
        return track

    def _not_set_up(self, set_up: SetUp) -> str:
        outcome = set_up.outcome
        if self._set_ups == 0:
            self.set_up_failed = outcome
            self._recorder.set_up(outcome, set_up.isolation)
        write_log(run_folder.setup_log(self._job.out, self._set_ups), outcome.log)
        return f"cannot construct the submission: {outcome.status}, {printable.plain(outcome.reason or '-')}"

    def _take_set_up(self, set_up: SetUp) -> None:
        if set_up.is_new:
            write_log(run_folder.setup_log(self._job.out, self._set_ups), set_up.outcome.log)
            self._set_ups += 1
            self._recorder.set_up(set_up.outcome, set_up.isolation)

    def _keep(self, track: Track, value: TrackAnswer) -> None:
        """Write down the estimates that were sent, if any were."""
        if value.estimates:
            folder = self._job.out / ESTIMATES / track.folder
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for stem in track.references.keys() & value.estimates.keys():
                (folder / f"{stem}.wav").write_bytes(value.estimates[stem])


def _changed_submission(expected: Identity | None) -> str | None:
    """What is to be said where the submission, or its preset, is no longer that of the run; None if it is."""
    assert expected is not None
    what = "the submission, or its preset, has changed since the run began"
    try:
        path = submission.check_folder(Path(expected.path))
        found = submission.identify(path, expected.requested_preset, expected.requested_time_factor)
    except SubmissionError as error:
        return f"{what}: {error}"
    ours, now = expected.files_sha256, found.files_sha256
    return None if now == ours else f"{what}: {path} has {now[:SHORT]}, and had {ours[:SHORT]}"


def _by_name(weights: Any) -> dict[str, str] | None:
    """{name: SHA-256} of what a submission says of its weights; None where it says nothing."""
    if weights is None:
        return None
    rows = weights if isinstance(weights, list | tuple) else [weights]
    return {
        str(printable.tree(row.get("name"))): str(printable.tree(row.get("sha256")))
        for row in rows
        if isinstance(row, dict)
    }
