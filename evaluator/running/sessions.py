"""Sessions of a submission side by side: each takes track after track, in order, until none is left."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

from evaluator.isolation.output_log import write_log
from evaluator.isolation.sandbox import Isolation, Outcome, Runner, WorkerGoneError, Workplace
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


class SetUpError(Exception):
    """The submission cannot be constructed; `outcome` says why."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class TrackSession:
    """One session of the submission: constructed once it is needed, and again after a track that failed.

    Owns its runner. set_up: is told of each time that the submission was constructed, or could not be.
    """

    def __init__(
        self,
        job: Job,
        workplace: Workplace,
        observer: Observer,
        set_up: Callable[[Outcome, Isolation | None], None],
    ) -> None:
        self._job = job
        self._workplace = workplace
        self._observer = observer
        self._tell_set_up = set_up
        assert job.make_runner is not None
        self._runner: Runner = job.make_runner(workplace)
        self._is_running = False

    def do(self, track: Track, kept: Path) -> Outcome:
        """Separate a track, and put its estimates into the folder `kept`; SetUpError where that is not possible."""
        running = self._is_running and self._make_room(track)
        if not running:
            self._set_up()
            running = self._make_room(track)
        outcome = self._separate(track, kept) if running else GONE
        self._is_running = outcome.status == "ok"
        if not self._is_running:
            self._runner.close()
        return outcome

    def close(self) -> None:
        """End the submission."""
        self._is_running = False
        self._runner.close()

    def cancel(self) -> None:
        """From another thread: end the current work; `do` then raises Cancelled."""
        self._runner.cancel()

    def _set_up(self) -> None:
        self._observer.setting_up()
        outcome = self._runner.start()
        write_log(run_folder.setup_log(self._job.out, self._workplace.number), outcome.log)
        self._tell_set_up(outcome, self._runner.isolation)
        if outcome.status != "ok":
            raise SetUpError(outcome)

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

    def _separate(self, track: Track, kept: Path) -> Outcome:
        """One track under its clock, and its estimates in their folder."""
        challenge = self._job.dataset.challenge
        limit = self._job.plan.limits.track_seconds(track.seconds)
        self._observer.separating(track, limit)
        end = None if limit is None else self._job.patience * limit
        outcome = self._runner.separate(track.folder, end)
        self._observer.separated(track)
        write_log(run_folder.track_log(self._job.out, track.folder), outcome.log)
        if outcome.status == "ok":
            try:
                estimates.collect(self._runner.predictions, track, challenge, kept)
            except estimates.InvalidOutputError as error:
                outcome = replace(outcome, status="invalid_output", reason=str(error))
        return outcome


class SessionLoop:
    """Keeps one session of the submission busy with the tracks of a queue."""

    def __init__(
        self, job: Job, workplace: Workplace, queue: TrackQueue, recorder: Recorder, observer: Observer
    ) -> None:
        self._queue = queue
        self._recorder = recorder
        self._session = TrackSession(job, workplace, observer, recorder.set_up)

    def run(self) -> None:
        """Separate tracks until none is left, or the submission cannot be constructed.

        The estimates of one are scored while the next one is separated.
        """
        try:
            while (track := self._queue.take()) is not None:
                try:
                    outcome = self._session.do(track, self._recorder.estimates(track))
                except SetUpError as error:
                    self._recorder.give_up([track, *self._queue.take_all()], error.outcome)
                    return
                self._recorder.separated(track, outcome)
        finally:
            self._session.close()

    def cancel(self) -> None:
        """From another thread: end the current work and take no more tracks; `run` then raises Cancelled."""
        self._queue.take_all()
        self._session.cancel()


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
