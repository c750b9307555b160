"""A worker: claims one job after the other and scores it, in a process of its own.

It can be killed at any moment: what it had claimed goes to the next one when the lease is over, its children end with
it, and nothing of a job is written before all of it.
"""

import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from evaluator import printable
from evaluator.isolation import folders, process_tree
from evaluator.isolation.limits import Isolation
from evaluator.measures import means
from evaluator.measures.means import MEAN
from evaluator.running.dataset import DataError
from evaluator.service import jobs, shown_tracks, sweeping, uploads
from evaluator.service.benchmark_data import Unchanged
from evaluator.service.database import Database, connect
from evaluator.service.entries import remove_files
from evaluator.service.examining import LOOK_SECONDS, Attempt, Findings, Order, alongside, examine
from evaluator.service.jobs import HEARTBEAT_SECONDS, Claim, Scored
from evaluator.service.judging import JudgeError, LostJobError, RefusedEntry
from evaluator.service.settings import Settings
from evaluator.service.tables import (
    PRIVATE_PART,
    PUBLIC_PART,
    REFUSED,
    Entry,
    Upload,
)
from evaluator.service.task import TASK_FILE, Task

IDLE_SECONDS = 0.5  # between looks at an empty queue
SWEEP_SECONDS = 60.0
DIGITS = 2  # of every mean that is ever shown; more would tell what the references are
MOST_ODD_SHARE = 0.1  # of the tracks in which a stem may be silent, or the mixture itself
HANDED_BACK = "handed back, since this worker is stopped"
DATABASE_VARIABLE = "SDX_SERVICE_DATABASE"  # not an argument, since an URL may hold a password

LOG = logging.getLogger(__name__)


@dataclass
class Worker:
    """Scores what is in the queue of one service until it is told to stop; clock gives the seconds since 1970."""

    settings: Settings
    database: Database
    name: str = field(default_factory=lambda: f"{socket.gethostname()[:80]}-{os.getpid()}")
    clock: Callable[[], float] = time.time
    stopped: threading.Event = field(default_factory=threading.Event)
    _unchanged: Unchanged = field(default_factory=Unchanged)
    retired: threading.Event = field(default_factory=threading.Event)  # set: this job is its last
    examine: Callable[[Order], Findings] = examine
    _has_told: bool = False

    def run(self) -> None:
        """Work until `stopped` is set, or `retired` and nothing is in hand."""
        swept = -SWEEP_SECONDS
        while not (self.stopped.is_set() or self.retired.is_set()):
            try:
                if time.monotonic() - swept >= SWEEP_SECONDS:
                    self.sweep()
                    swept = time.monotonic()
                if not self.work_once():
                    self.stopped.wait(IDLE_SECONDS)
            except OperationalError as error:  # the database is away, or busy beyond all patience
                LOG.warning("worker %s: %s", self.name, printable.plain(str(error.orig)))
                self.stopped.wait(HEARTBEAT_SECONDS)

    def sweep(self) -> None:
        """Fail what no worker has finished, cancel what nobody goes on sending, remove what nobody needs."""
        now = self.clock()
        with self.database.writing() as session:
            jobs.greet(session, self.name, now)
            jobs.fail_lost(session, now)
            uploads.cancel_forgotten(self.settings, session, now)
        sweeping.sweep(self.settings, self.database, now)

    def work_once(self) -> bool:
        """Do one job, if there is one; whether there was."""
        with self.database.writing() as session:
            jobs.greet(session, self.name, self.clock())
            claimed = jobs.claim(session, self.name, self.clock())
        if claimed is None:
            return False
        try:
            found = self._judged(claimed)
        except RefusedEntry as refusal:
            with self.database.writing() as session:
                jobs.refuse(session, claimed, refusal.problems)
                is_refused = session.get_one(Entry, claimed.entry).state == REFUSED
            if is_refused:
                remove_files(self.settings, claimed.entry)
        except LostJobError:
            with self.database.writing() as session:
                ours = self.stopped.is_set() and jobs.hand_back(session, claimed)
            LOG.info(
                "entry %d: %s",
                claimed.entry,
                HANDED_BACK if ours else "cancelled, or taken by another worker",
            )
        except Exception as error:
            # Whatever it is, the entry must not stay where it is.
            reason, detail = _words(error)
            LOG.warning("entry %d: %s: %s", claimed.entry, reason, printable.lines(detail))
            with self.database.writing() as session:
                jobs.give_back(session, claimed, reason, detail, self.clock())
        else:
            with self.database.writing() as session:
                jobs.finish(session, claimed, found, self.clock())
        return True

    def _judged(self, claimed: Claim) -> Scored:
        """Check and score an entry; LostJobError once the job is not ours any more."""
        with self.database.reading() as session:
            entry = session.get_one(Entry, claimed.entry)
            task = task_of(session, entry)
            parts = {track["name"]: track["part"] for track in entry.benchmark.tracks}
            is_open, data_sha256 = entry.benchmark.is_open, entry.benchmark.data_sha256
        data = task.load_data()  # whose faults are ours
        folder = self.settings.entry_folder(claimed.entry)
        task.write(folder / TASK_FILE)
        order = Order(
            folder=str(folder.resolve()),
            task=task,
            token=secrets.token_hex(8),
            shown=tuple(shown_tracks.chosen(task.tracks, PUBLIC_PART)) if is_open else (),
            spare_bytes=self.settings.kept_free_bytes(),
            workplace=str(self.settings.root / "work" / self.name),
        )
        with self._heart(claimed, Attempt(folder, order.token)):
            self._unchanged.require(data, data_sha256)
            found = self.examine(order)
        self._tell_of(found.isolation)
        tracks = {track["name"]: each for track, each in zip(task.tracks, found.scores, strict=True)}
        return Scored(
            found.stems,
            found.content_sha256,
            tracks,
            shown_means(tracks, parts, found.stems, complete=set(found.stems) == set(task.stems)),
            None if is_open else suspicion(found.odd, found.stems),
        )

    def _tell_of(self, isolation: Isolation) -> None:
        """Say once which walls this system does not let us build."""
        if isolation.open_promises() and not self._has_told:
            LOG.warning("not held on this system: %s; see SECURITY.md", "; ".join(isolation.open_promises()))
        self._has_told = True

    @contextmanager
    def _heart(self, claimed: Claim, attempt: Attempt) -> Iterator[None]:
        """Extends the lease meanwhile, passes on how far it has come, and ends the attempt when the lease is lost."""

        def live(over: threading.Event) -> None:
            beaten, scores = -HEARTBEAT_SECONDS, False
            while not over.wait(LOOK_SECONDS):
                done = attempt.tracks_done()
                begins = done is not None and not scores
                if begins or time.monotonic() - beaten >= HEARTBEAT_SECONDS:
                    beaten = time.monotonic()
                    held = self._beat(claimed, done or 0, begins)
                    scores = scores or (begins and bool(held))
                    if held is False:
                        break
                if self.stopped.is_set():
                    break
            attempt.end()

        attempt.begin()
        with alongside(live):
            yield

    def _beat(self, claimed: Claim, done: int, begins: bool) -> bool | None:
        """Whether the job is still ours; None while the database is away, since the lease is longer than that."""
        try:
            with self.database.writing() as session:
                jobs.greet(session, self.name, self.clock())
                held = jobs.beat(session, claimed, self.clock(), done)
                return held and (not begins or jobs.scoring(session, claimed))
        except OperationalError:
            return None


def task_of(session: Session, entry: Entry) -> Task:
    """What the child is told of an entry."""
    found = session.scalars(select(Upload).where(Upload.entry_id == entry.id)).all()
    zips = [upload.id for upload in found if upload.track is None]
    return Task(
        folder=entry.benchmark.folder,
        stems=entry.benchmark.stems,
        tracks=entry.benchmark.tracks,
        measures=entry.benchmark.measures,
        names={upload.id: upload.name for upload in found},
        zip=zips[0] if zips else "",
        derives=entry.derives_instrumental,
    )


def shown_means(
    tracks: Mapping[str, Mapping[str, Mapping[str, float | None]]],
    parts: Mapping[str, str],
    stems: list[str],
    complete: bool,
) -> dict[tuple[str, str, str], float | None]:
    """The means of each part to two decimals, as (part, stem, measure); over all stems only if all are there."""
    found: dict[tuple[str, str, str], float | None] = {}
    for part in (PUBLIC_PART, PRIVATE_PART):
        names = [name for name in tracks if parts[name] == part]
        for measure in dict.fromkeys(name for each in tracks.values() for name in each):
            totals = means.total([tracks[name][measure] for name in names], stems) if names else {}
            for stem, value in totals.items():
                if stem != MEAN or complete:
                    found[part, stem, measure] = None if value is None else round(value, DIGITS) + 0.0
    return found


def suspicion(odd: Sequence[Mapping[str, str]], stems: list[str]) -> str | None:
    """Why only the organiser should see a score: silence, or the mixture, reads single tracks through a mean."""
    for stem in stems:
        for kind, words in (("silent", "silent"), ("mixture", "the mixture itself")):
            number = sum(each.get(stem) == kind for each in odd)
            if number > MOST_ODD_SHARE * len(odd):
                return f"{stem} is {words} in {number} of {len(odd)} tracks"
    return None


def _words(error: Exception) -> tuple[str, str]:
    """An error as its entry's author may know it, and as the organiser must."""
    if isinstance(error, JudgeError):
        return str(error), error.detail
    if isinstance(error, DataError):
        return "the benchmark's data is not as it was", str(error)
    return "something is wrong with the service", f"{type(error).__name__}: {error}"


def main(root: str, parent: str) -> None:
    """Be a worker of the service in `root` until SIGTERM, or until `parent`, which started this one, is gone."""
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    process_tree.end_with_parent(int(parent))
    settings = Settings(Path(root), os.environ.get(DATABASE_VARIABLE) or None)
    worker = Worker(settings, connect(settings))

    def stop(number: int, frame: FrameType | None) -> None:
        worker.stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        worker.run()
    finally:
        folders.remove(str(settings.root / "work" / worker.name))
        worker.database.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
