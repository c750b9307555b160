"""An entry's way through the judge, in this process or on a worker of an engine: looked at, checked, scored, shown.

Whoever gives the order and whoever examines both see the entry's folder. In it they tell each other, by a small
file, whose turn it is and how far it has come (`Attempt`): so the order can be taken back wherever it is done.
Needs nothing of the database.
"""

import contextlib
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from evaluator import printable
from evaluator.isolation.limits import Isolation
from evaluator.measures.means import Scores
from evaluator.running import worker_data
from evaluator.running.dataset import DataError
from evaluator.running.predictions import described
from evaluator.service import shown_tracks
from evaluator.service.judging import (
    CHECKED_FILES,
    CHECKED_SECONDS,
    SCORED_SECONDS,
    SCORED_VALUES,
    Judge,
    JudgeError,
    LostJobError,
    NotStartedError,
    RefusedEntry,
    batches,
)
from evaluator.service.task import MOST_PROBLEMS, TASK_FILE, Task
from sdx.engines.engine import Refused
from sdx.engines.held import DISK_FULL, UnfitError, full_disk
from sdx.engines.scratch import scratch_folder

LOOK_SECONDS = 0.5  # between looks whether the order still stands
COUNT_DIGITS = 8  # of a number that is always as long, so that it is read whole while it is written
ATTEMPT_FILE = "attempt-{}"  # in an entry's folder, where uploads have names of ours

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """An entry to be examined.

    folder: of the entry. token: of this attempt, and of no other. shown: numbers of the tracks to keep sounds and
    pictures of, where the disk has more than `spare_bytes`. hashes: of the tracks' files, in the order of the task's
    tracks, which another machine compares with its own. workplace: a folder to make and work in, or "" for any.
    """

    folder: str
    task: Task
    token: str
    shown: tuple[int, ...] = ()
    spare_bytes: int = 0
    hashes: tuple[str, ...] = ()
    workplace: str = ""


@dataclass(frozen=True)
class Findings:
    """What came of it: {measure: {stem: score}} and {stem: oddity} of each track, in the order of the task."""

    stems: list[str]
    content_sha256: str
    scores: Sequence[Mapping[str, Scores]]
    odd: Sequence[Mapping[str, str]]
    isolation: Isolation


class Attempt:
    """One attempt at an entry, as its folder tells of it: it stands until another one begins, or it is ended.

    It stands for as long as its file is there, whose name no other attempt has, and in which is how far it has come.
    So to end it, or to go on with it, is one step: nobody who is late ends another one, or brings back an old one.
    """

    def __init__(self, folder: Path, token: str) -> None:
        self._folder, self._file = folder, folder / ATTEMPT_FILE.format(token)

    def begin(self) -> None:
        """From now on this attempt stands, and none before it."""
        self._file.touch()
        for other in self._folder.glob(ATTEMPT_FILE.format("*")):
            if other != self._file:
                other.unlink(missing_ok=True)

    def end(self) -> None:
        """It stands no more; whoever is at it stops."""
        self._file.unlink(missing_ok=True)

    def stands(self) -> bool:
        """Whether it has neither been ended nor been followed by another one."""
        return os.path.exists(self._file)  # false, too, where that cannot be known

    def tell(self, tracks: int) -> None:
        """So many tracks are scored; LostJobError if it stands no more."""
        try:
            with self._file.open("r+") as file:  # which makes none
                file.write(f"{tracks:0{COUNT_DIGITS}d}")
        except FileNotFoundError:
            raise LostJobError from None

    def tracks_done(self) -> int | None:
        """How many tracks are scored; None while the files are still being checked."""
        try:
            told = self._file.read_text()
        except OSError:
            return None
        return int(told) if told else None


def examine(order: Order) -> Findings:
    """Check and score an entry.

    Raises RefusedEntry for what is the entry's fault, LostJobError once the attempt stands no more, JudgeError and
    OSError for all else.
    """
    attempt = Attempt(Path(order.folder), order.token)
    with (
        _workplace(order) as place,
        Judge(Path(order.folder), order.task, place) as judge,
        _watched(judge, attempt),
    ):
        given = judge.look()
        content = _checked(judge, order.task, given)
        stems = sorted([*given, *order.task.derived(given)])
        scores, odd = [], []
        values = len(stems) * len(order.task.measures)
        for batch in batches(order.task.tracks, values, SCORED_VALUES, SCORED_SECONDS):
            attempt.tell(batch[0])
            for found, strange in judge.score(batch, stems):
                scores.append(found)
                odd.append(strange)
        attempt.tell(len(scores))
        _show(judge, order, stems)
        return Findings(stems, content, scores, odd, judge.isolation)


def examine_for_engine(order: Order) -> Findings | Refused:
    """`examine` on a worker of an engine; Refused where that machine cannot do it, whatever the entry."""
    try:
        _require_same(order)
        return examine(order)
    except UnfitError as error:
        return Refused(str(error))
    except NotStartedError as error:
        return Refused(f"cannot score in the sandbox: {error.detail}")
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        return Refused(full_disk(error.filename))


def _require_same(order: Order) -> None:
    """UnfitError where this machine does not see the entry, or has other data."""
    if not (Path(order.folder) / TASK_FILE).is_file():
        raise UnfitError(
            f"does not see {order.folder}; put the service's --root into a folder that all machines share"
        )
    try:
        data = order.task.load_data()
    except DataError as error:
        raise UnfitError(f"has no such data: {error.problems[0]}") from None
    for track, expected in zip(order.task.tracks, order.hashes, strict=True):
        worker_data.track_of(data, track["name"], expected)


@contextlib.contextmanager
def _workplace(order: Order) -> Iterator[Path]:
    """The folder to work in, which the supervisor removes, whatever becomes of us."""
    if order.workplace:
        yield Path(order.workplace)
        return
    with scratch_folder() as folder:
        yield folder / "work"


@contextlib.contextmanager
def _watched(judge: Judge, attempt: Attempt) -> Iterator[None]:
    """Has the judge stop once the attempt stands no more."""

    def watch(over: threading.Event) -> None:
        while not over.wait(LOOK_SECONDS):
            if not attempt.stands():
                judge.cancel()
                return

    with alongside(watch):
        yield


@contextlib.contextmanager
def alongside(function: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run a function beside a block, in a thread of its own, and wait for it; it is given what is set at the end."""
    over = threading.Event()
    thread = threading.Thread(target=function, args=(over,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _checked(judge: Judge, task: Task, stems: list[str]) -> str:
    """The hash of an entry's contents, however its files are called; RefusedEntry with the problems of all tracks."""
    digest = sha256(" ".join(task.derived(stems)).encode())
    problems: list[str] = []
    for batch in batches(task.tracks, len(stems), CHECKED_FILES, CHECKED_SECONDS):
        try:
            for index, found in zip(batch, judge.check(batch, stems), strict=True):
                for stem, sha256_of_file in sorted(found.items()):
                    digest.update(described(task.tracks[index]["name"], stem, sha256_of_file))
        except RefusedEntry as refusal:
            problems += refusal.problems
    if problems:
        raise RefusedEntry(printable.listed(problems, MOST_PROBLEMS))
    return digest.hexdigest()


def _show(judge: Judge, order: Order, stems: list[str]) -> None:
    """Keep what is heard and seen of some tracks; what cannot be shown costs no score."""
    place = Path(order.folder) / shown_tracks.FOLDER
    if order.shown:
        shutil.rmtree(place, ignore_errors=True)  # of an earlier attempt, or of before it was scored again
    for index in order.shown:
        draft = place / f"draft-{order.token}"
        try:
            if shutil.disk_usage(order.folder).free < order.spare_bytes:
                raise OSError("the disk is short")
            draft.mkdir(parents=True)
            judge.show(index, stems, draft)
            os.rename(draft, place / str(index))
        except (JudgeError, OSError) as error:
            detail = error.detail if isinstance(error, JudgeError) else ""
            LOG.warning("track %d is not shown: %s %s", index, error, printable.lines(detail))
            shutil.rmtree(draft, ignore_errors=True)
            return  # after such an answer the child is not asked again
