"""Sessions of a submission side by side: each takes track after track, in order, until none is left."""

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import replace

from evaluator.isolation.output_log import write_log
from evaluator.isolation.sandbox import Outcome, Runner, WorkerGoneError, Workplace
from evaluator.running import estimates
from evaluator.running.dataset import Track
from evaluator.running.job import Job, Observer
from evaluator.running.recorder import Recorder
from evaluator.running.staging import stage_mixture
from evaluator.runs import run_folder

GONE = Outcome("crashed", "the submission ended before it was given the track", 0.0, 0, "")
LOOK_SECONDS = 1.0  # some systems deliver a Ctrl-C only between two waits


class TrackQueue:
    """The remaining tracks, for whichever session is free."""

    def __init__(self, tracks: Iterable[Track]) -> None:
        self._tracks = deque(tracks)

    def take(self) -> Track | None:
        """The next one; None if none is left."""
        try:
            return self._tracks.popleft()
        except IndexError:
            return None

    def take_all(self) -> list[Track]:
        """All that are left."""
        return list(iter(self.take, None))


class SessionLoop:
    """Keeps one session of the submission busy, and starts it again after a track that failed; owns its runner."""

    def __init__(
        self, job: Job, workplace: Workplace, queue: TrackQueue, recorder: Recorder, observer: Observer
    ) -> None:
        self._job = job
        self._workplace = workplace
        self._queue = queue
        self._recorder = recorder
        self._observer = observer
        assert job.make_runner is not None
        self._runner: Runner = job.make_runner(workplace)

    def run(self) -> None:
        """Separate tracks until none is left, or the submission cannot be constructed.

        The estimates of one are scored while the next one is separated.
        """
        running = False
        try:
            while (track := self._queue.take()) is not None:
                running = running and self._make_room(track)
                if not running:
                    setup = self._set_up()
                    if setup.status != "ok":
                        self._recorder.give_up([track, *self._queue.take_all()], setup)
                        return
                    running = self._make_room(track)
                outcome = self._separate(track) if running else GONE
                self._recorder.separated(track, outcome)
                running = outcome.status == "ok"
                if not running:
                    self._runner.close()
        finally:
            self._runner.close()

    def cancel(self) -> None:
        """From another thread: end the current work and take no more tracks; `run` then raises Cancelled."""
        self._queue.take_all()
        self._runner.cancel()

    def _set_up(self) -> Outcome:
        self._observer.setting_up()
        outcome = self._runner.start()
        write_log(run_folder.setup_log(self._job.out, self._workplace.number), outcome.log)
        self._recorder.set_up(outcome, self._runner.isolation)
        return outcome

    def _make_room(self, track: Track) -> bool:
        """Put the mixture where the submission finds it; False if that has ended by itself since the last track."""
        challenge = self._job.dataset.challenge
        try:
            self._runner.make_room(
                estimates.most_bytes(track, challenge),
                lambda mixtures: stage_mixture(track, challenge, mixtures),
            )
        except WorkerGoneError:
            return False
        return True

    def _separate(self, track: Track) -> Outcome:
        """One track under its clock, and its estimates in the run's folder."""
        challenge = self._job.dataset.challenge
        limit = self._job.plan.limits.track_seconds(track.seconds)
        self._observer.separating(track, limit)
        end = None if limit is None else self._job.patience * limit
        outcome = self._runner.separate(track.folder, end)
        self._observer.separated(track)
        write_log(run_folder.track_log(self._job.out, track.folder), outcome.log)
        if outcome.status == "ok":
            kept = self._recorder.estimates(track)
            try:
                estimates.collect(self._runner.predictions, track, challenge, kept)
            except estimates.InvalidOutputError as error:
                outcome = replace(outcome, status="invalid_output", reason=str(error))
        return outcome


def run_all(loops: Sequence[SessionLoop]) -> None:
    """Run all sessions to their end; whatever ends one of them, or this call, ends them all and is raised."""
    with ThreadPoolExecutor(len(loops), "session") as pool:
        try:
            pending = {pool.submit(loop.run) for loop in loops}
            while pending:
                done, pending = wait(pending, LOOK_SECONDS, FIRST_EXCEPTION)
                for future in done:
                    future.result()
        finally:
            for loop in loops:
                loop.cancel()
