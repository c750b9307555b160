"""One track of an evaluation on a worker of an engine: the same session, and the same scoring, as at home.

The worker's process keeps the submission constructed between tracks (`held`). Before anything runs, data, submission
and preset are checked against the run's hashes: files may lie in a folder that all machines share, or elsewhere on
each, by the variables of `worker_data` and below.
"""

import os
import secrets
import shutil
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from evaluator.isolation import machine
from evaluator.isolation.sandbox import Isolation, Outcome, SandboxError, Workplace
from evaluator.regular_files import size_words
from evaluator.running import (
    preparation,
    scoring,
    submission,
    track_results,
    worker_data,
    worker_weights,
)
from evaluator.running.assignment import Assignment, SetUp, TrackAnswer
from evaluator.running.dataset import Track
from evaluator.running.job import Job, Observer
from evaluator.running.sessions import SetUpError, TrackSession
from evaluator.running.submission import SubmissionError
from evaluator.runs.records import ESTIMATES, Host, TrackResult
from sdx.engines.engine import SHORT, Refused
from sdx.engines.held import HELD, UnfitError, full_disk
from sdx.engines.scratch import Scratch
from sdx.engines.slots import Slot

SAMPLE_BYTES = 2  # as estimates are usually written
SUBMISSION_VARIABLE = "SDX_WORKER_SUBMISSION"  # where the submission is on this machine, if elsewhere


def evaluate_track(assignment: Assignment, name: str, sha256: str) -> TrackAnswer | Refused:
    """Separate and score the track `name`, whose files have this hash; Refused where this machine may not.

    Raises Cancelled when the work is ended from another thread.
    """
    try:
        return HELD.use(
            assignment,
            lambda: Station(assignment),
            lambda station: station.evaluate(name, sha256),
            lambda answer: assignment.hold and answer.result is not None,
        )
    except SandboxError as error:
        return Refused(f"cannot run the submission: {error}")


class Station:
    """The evaluation of a run on this machine: its data, its session, a slot and a folder of its own.

    Raises UnfitError if the submission or the data is not that of the run.
    """

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self._submission = _submission(assignment)
        self._preset = (
            None if assignment.plan.submission is None else assignment.plan.submission.requested_preset
        )
        self._has_fetched = False
        data = assignment.plan.data
        self._data = worker_data.load(data.path, data.only, assignment.plan.challenge, bool(data.left_out))
        self._set_up: SetUp | None = None
        with ExitStack() as taken:  # given back where the rest cannot be made
            self._slot = Slot()
            taken.callback(self._slot.close)
            self._slot.take_a_gpu(machine.number_of_gpus())
            self._scratch = Scratch()
            taken.callback(self._scratch.close)
            self._folder = self._scratch.path
            self.session = self._session()
            taken.pop_all()

    def _session(self) -> TrackSession:
        """The session of the run, in our folder; SandboxError where the submission may not run here."""
        assignment = self.assignment
        plan = assignment.plan
        self._job = Job(
            plan=plan,
            dataset=self._data,
            out=self._folder,
            keep_estimates=False,
            make_runner=preparation.runner_on_worker(
                assignment, self._submission, [self._folder, Path(assignment.out)], self._data
            ),
            patience=assignment.patience,
        )
        place = Workplace(self._folder / "work", self._slot.number)
        return TrackSession(self._job, place, Observer(), self._note_set_up)

    def cancel(self) -> None:
        """From another thread: end the track that is being separated."""
        self.session.cancel()

    def close(self) -> None:
        """End the submission, and leave nothing."""
        self.session.close()
        self._slot.close()
        self._scratch.close()

    def evaluate(self, name: str, sha256: str) -> TrackAnswer:
        """One track; UnfitError if its files are others than those of the run, or if there is no room for it."""
        track = worker_data.track_of(self._data, name, sha256)
        require_room(self._folder, track)
        kept = self._folder / ESTIMATES / track.folder
        side_by_side = self._slot.side_by_side()
        try:
            outcome = self._separate(track, kept)
        except SetUpError:
            return self._answer(None, side_by_side, "", {})
        if outcome.status != "ok":
            require_room(self._folder, track)  # else its fault may be the disk's
        result = track_results.of_outcome(self._job.plan, track, outcome)
        if outcome.status == "ok":
            result = self._scored(track, result, kept)
        estimates = self._hand_over(track, kept) if result.status == "ok" else {}
        shutil.rmtree(kept, ignore_errors=True)
        return self._answer(result, max(side_by_side, self._slot.side_by_side()), outcome.log, estimates)

    def _separate(self, track: Track, kept: Path) -> Outcome:
        """As the session does; what it lacks of weights is fetched once, where it may be."""
        try:
            return self.session.do(track, kept)
        except SetUpError as error:
            if self._has_fetched or not worker_weights.lacks_weights(self._submission, error.outcome):
                raise
            self._has_fetched = True
            if (reason := worker_weights.fetch(self._preset)) is None:
                return self.session.do(track, kept)
            failed = replace(error.outcome, reason=f"its weights cannot be fetched: {reason}")
            self._note_set_up(failed, None)
            raise SetUpError(failed) from None

    def _scored(self, track: Track, result: TrackResult, kept: Path) -> TrackResult:
        """With all measures: here, nobody's clock runs meanwhile."""
        result = track_results.scored(track, result, kept, self._job.plan.metrics)
        names = scoring.costly(self._job.plan.metrics)
        if result.status != "ok" or not names:
            return result
        return replace(result, scores={**result.scores, **scoring.costly_scores(track, kept, names)})

    def _hand_over(self, track: Track, kept: Path) -> dict[str, bytes]:
        """Put the estimates into the run's folder where we share it; else return them, if they are asked for."""
        out = Path(self.assignment.out)
        if not self.assignment.keep:
            return {}
        if (out / self.assignment.mark).is_file():
            share(kept, out / ESTIMATES / track.folder, self.assignment.mark)
            return {}
        if not self.assignment.send:
            return {}
        return {stem: (kept / f"{stem}.wav").read_bytes() for stem in track.references}

    def _note_set_up(self, outcome: Outcome, isolation: Isolation | None) -> None:
        self._set_up = SetUp(outcome, isolation)

    def _answer(
        self, result: TrackResult | None, at_a_time: int, log: str, estimates: dict[str, bytes]
    ) -> TrackAnswer:
        assert self._set_up is not None
        here = machine.describe()
        gpus = here["gpus"]
        host = Host(
            name=str(os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "?")),
            cores=os.cpu_count(),
            memory_bytes=machine.memory_bytes(),
            gpus=tuple(map(str, gpus)) if isinstance(gpus, list) else (),
            tracks_at_a_time=at_a_time,
        )
        set_up, old = self._set_up, replace(self._set_up.outcome, log="")
        self._set_up = replace(set_up, outcome=old, is_new=False)
        return TrackAnswer(host, set_up, result, log, estimates)


def require_room(folder: Path, track: Track) -> None:
    """UnfitError where the disk of `folder` has no room for a track: the mixture, its estimates, and our copies.

    Where submission and evaluator write to one disk, it is the submission that fails when that is full.
    """
    files = 1 + 2 * len(track.references)
    expected = files * track.frames * track.estimate_channels * SAMPLE_BYTES
    if (free := shutil.disk_usage(folder).free) < expected:
        words = f"{size_words(free)} free, expected {size_words(expected)} for {track.name}"
        raise UnfitError(f"{full_disk(folder.parent)}: {words}")


def share(kept: Path, final: Path, mark: str) -> None:
    """Copy a folder of files to where others see it, whole or not at all; `mark` begins the name of what is not.

    Raises OSError, such as for a full disk, with the folder that it was for.
    """
    # Workers in containers have the same numbers of processes everywhere.
    draft = final.with_name(f"{mark}-{secrets.token_hex(8)}")
    try:
        draft.mkdir(parents=True)
        for file in kept.iterdir():  # shutil.copytree tells a full disk from nothing else
            shutil.copyfile(file, draft / file.name)
        shutil.rmtree(final, ignore_errors=True)
        with suppress(OSError):  # another worker, that had the same track, was quicker
            draft.rename(final)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(final.parent)) from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _submission(assignment: Assignment) -> Path:
    """The run's submission on this machine, by its hash."""
    expected = assignment.plan.submission
    assert expected is not None
    path = Path(os.environ.get(SUBMISSION_VARIABLE) or expected.path)
    preset = expected.requested_preset
    if preset is not None and Path(preset).is_absolute() and not Path(preset).is_file():
        raise UnfitError(f"has no preset {preset}; put it into a folder that all machines share")
    try:
        found = submission.identify(submission.check_folder(path), preset, expected.requested_time_factor)
    except SubmissionError as error:
        raise UnfitError(f"has no such submission: {error} (or set {SUBMISSION_VARIABLE})") from None
    if found.files_sha256 != expected.files_sha256:
        raise UnfitError(
            f"has another submission, or preset: {path} has {found.files_sha256[:SHORT]}, expected "
            f"{expected.files_sha256[:SHORT]}"
        )
    return Path(found.path)
