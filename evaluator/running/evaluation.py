"""One evaluation from start to end: stage, separate, collect, score, and keep what is done at every step."""

import contextlib
import shutil

from evaluator.isolation import folders
from evaluator.isolation.sandbox import Workplace
from evaluator.running import over_engine, scoring, sessions
from evaluator.running.dataset import Track
from evaluator.running.estimates import InvalidOutputError
from evaluator.running.job import Job, Observer
from evaluator.running.predictions import Predictions
from evaluator.running.recorder import Recorder
from evaluator.running.sessions import SessionLoop, TrackQueue
from evaluator.runs import records, results, run_folder
from evaluator.runs.documents import ResultError
from evaluator.runs.results import Result
from evaluator.runs.run_folder import RESULT_FILE

WORK = "work-{}"  # below a run's folder: of each session, whose supervisor removes it whatever becomes of us
COPIES_AHEAD = 1
"""Tracks that are copied and not scored yet: few, so that an interruption is quick and the disk not full."""


class Interrupted(KeyboardInterrupt):
    """The user has ended a run; `result` holds what is done, and so does the run's folder."""

    def __init__(self, result: Result) -> None:
        super().__init__()
        self.result = result


def evaluate(job: Job, observer: Observer, resume: bool) -> Result:
    """Run the tracks that are not done yet and return the result, which is also kept in `job.out`.

    `job.out`/result.json holds what is done, as `Recorder` says. `resume` continues from there; ResultError where
    that run was made with another plan, or where another run goes on there. Whatever ends this function, the
    submission is ended too; a KeyboardInterrupt leaves it as Interrupted.
    """
    with run_folder.sole_run(job.out):
        return _evaluate(job, observer, resume)


def _evaluate(job: Job, observer: Observer, resume: bool) -> Result:
    recorder = Recorder(job, observer, _previous(job) if resume else None)
    if not resume:
        run_folder.clear(job.out)
    results.remove_drafts(job.out / RESULT_FILE)
    recorder.save()
    try:
        _run(job, observer, recorder)
    except KeyboardInterrupt as interrupt:
        raise Interrupted(recorder.save()) from interrupt
    except BaseException:
        with contextlib.suppress(OSError):  # perhaps the disk is what went wrong
            recorder.save()
        raise
    return recorder.save()


def _run(job: Job, observer: Observer, recorder: Recorder) -> None:
    done, left = recorder.split()
    observer.resumed(done)
    if left:
        run_folder.remove_report(job.out)
        if job.predictions is not None:
            observer.measuring("sdr", len(left))
            _take(job.predictions, left, recorder)
        elif job.spread is not None:
            over_engine.separate(job, observer, recorder, left)
        else:
            _separate(job, observer, recorder, left)
    if scoring.costly(job.plan.metrics):
        recorder.add_costly()
    if not job.keep_estimates:
        shutil.rmtree(job.out / "estimates", ignore_errors=True)


def _separate(job: Job, observer: Observer, recorder: Recorder, left: list[Track]) -> None:
    """Have the submission separate these tracks, in as many sessions as the plan says."""
    places = [Workplace(job.out / WORK.format(n), n) for n in range(min(job.plan.jobs, len(left)))]
    queue = TrackQueue(left)
    try:
        sessions.run_all([SessionLoop(job, place, queue, recorder, observer) for place in places])
    finally:
        for place in places:
            folders.remove(str(place.root))
        recorder.finish_scoring()


def _take(predictions: Predictions, left: list[Track], recorder: Recorder) -> None:
    """Score the estimates of these tracks that somebody made elsewhere."""
    try:
        for track in left:
            problem = None
            try:
                predictions.collect(track, recorder.estimates(track))
            except InvalidOutputError as error:
                problem = str(error)
            recorder.given(track, problem)
            recorder.catch_up(COPIES_AHEAD)
    finally:
        recorder.finish_scoring()


def _previous(job: Job) -> Result | None:
    path = job.out / RESULT_FILE
    if not path.exists():
        return None
    previous = results.read(path)
    if different := records.differences(previous.plan, job.plan):
        raise ResultError(
            f"{path}: cannot be resumed, it was made with other settings ({'; '.join(different)})"
        )
    return previous
