"""Server and worker are killed at random while people upload and entries are scored.

Afterwards every entry is there and scored once, with the score that is its own, and no file lies about that no row of
the database knows.
"""

import math
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import soundfile
from sqlalchemy import ColumnElement, func, select

from benchmarks.checker.running import (
    NAME,
    RATE_HZ,
    Patience,
    Service,
    level_of,
    noise,
    prepare,
    token_of,
    wait_until,
    write_track,
)
from evaluator.challenge import MUSIC
from evaluator.measures.means import MEAN
from evaluator.service import benchmarks, boards, client, organising, uploads
from evaluator.service.client import Client, UploadError, fitting_files
from evaluator.service.database import Database
from evaluator.service.settings import Settings
from evaluator.service.tables import (
    DONE,
    ENDED,
    PUBLIC_PART,
    RUNNING,
    UPLOADING,
    Entry,
    Job,
    TrackScore,
    Upload,
)
from evaluator.service.task import TASK_FILE
from evaluator.service.worker import Worker

FRAMES = 30_000
IMPATIENT = Patience(lease_seconds=2.0, attempts=1000, beat_seconds=0.3, sweep_seconds=1.0)
PIECE_BYTES = 8000  # so that kills fall between and into pieces
WAIT_SECONDS = 600.0
T = TypeVar("T")


@dataclass
class Killed:
    """What was done, and what was found afterwards."""

    kills: dict[str, int] = field(default_factory=lambda: {"server": 0, "worker": 0})
    people: int = 0
    done: int = 0
    right: int = 0  # of their scores
    counted: int = 0  # scores that count against the quotas
    meanwhile: dict[str, int] = field(default_factory=lambda: {"uploads": 0, "scoring": 0})  # how many kills
    doubled: int = 0  # scores of a track that an entry has twice
    orphans: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def is_well(self) -> bool:
        """Whether nothing was lost, counted twice, or left."""
        found = {self.done, self.right, self.counted, self.people}
        return len(found) == 1 and not (self.doubled or self.orphans or self.problems)

    def rows(self) -> Iterator[tuple[str, str]]:
        """The table."""
        yield "killed", ", ".join(f"{name} {number} times" for name, number in self.kills.items())
        yield "of these, during", ", ".join(f"{name} {number}" for name, number in self.meanwhile.items())
        yield "entries scored", f"{self.done} of {self.people}"
        yield "with their own score", f"{self.right} of {self.people}"
        yield "counted against quotas", f"{self.counted}, {self.doubled} scores twice"
        yield "files that nobody knows", f"{len(self.orphans)} {' '.join(self.orphans[:5])}"
        yield "uploads given up", f"{len(self.problems)} {'; '.join(self.problems[:3])}"


def run(kills: int, people: int = 6, seed: int = 0, url: str | None = None) -> Killed:
    """Kill server or worker so often, then let all be scored; url: of another database than SQLite's."""
    found = Killed(people=people)
    with tempfile.TemporaryDirectory() as place, _small_pieces():
        write_track(Path(place) / "data" / "one", noise(FRAMES, seed=0))
        settings, opened = prepare(Path(place) / "root", {NAME: Path(place) / "data"}, url)
        with Service(settings, IMPATIENT) as service:
            service.start_server()
            service.start_worker()
            crowd = [
                _Sender(Path(place), service.url, token_of(opened, f"person {number}"), number, people)
                for number in range(people)
            ]
            for sender in crowd:
                sender.start()
            _kill(service, opened, random.Random(seed), found, kills)
            for sender in crowd:
                sender.join()
            wait_until(lambda: _is_over(opened, people), WAIT_SECONDS, "not all is scored")
            found.problems = tuple(sender.problem for sender in crowd if sender.problem)
        _look(settings, opened, found)
        opened.close()
    return found


@contextmanager
def _small_pieces() -> Iterator[None]:
    """Have the client send pieces so small that kills fall between and into them."""
    before, client.PIECE_BYTES = client.PIECE_BYTES, PIECE_BYTES
    try:
        yield
    finally:
        client.PIECE_BYTES = before


def _kill(service: Service, opened: Database, chance: random.Random, found: Killed, kills: int) -> None:
    """Kill server or worker so often, and start it again each time; the second half while entries are scored."""
    for number in range(kills):
        if number >= kills // 2:
            wait_until(lambda: _is_scoring(opened, found.people), WAIT_SECONDS, "nothing is scored")
        time.sleep(chance.uniform(0.0, 0.8))
        found.meanwhile["uploads"] += _count(opened, Entry.state == UPLOADING) > 0
        found.meanwhile["scoring"] += _count(opened, Job.state == RUNNING) > 0
        if chance.random() < 0.5 and service.server is not None:
            service.kill(service.server)
            found.kills["server"] += 1
            service.start_server()
        else:
            service.kill(service.workers.pop())
            found.kills["worker"] += 1
            service.start_worker()


def _is_scoring(opened: Database, people: int) -> bool:
    """Whether something is being scored; where all is, it is scored again."""
    if _is_over(opened, people):
        with opened.writing() as session:
            organising.rescore(session, benchmarks.named(session, NAME), ["sdr"], time.time())
    return _count(opened, Job.state == RUNNING) > 0


def _is_over(opened: Database, people: int) -> bool:
    """Whether all entries are scored, and none waits to be scored again."""
    return _count(opened, Job.state != ENDED) == 0 and _count(opened, Entry.state == DONE) == people


def _count(opened: Database, which: ColumnElement[bool]) -> int:
    """How many rows there are of one table that are so."""
    with opened.reading() as session:
        return session.scalar(select(func.count()).where(which)) or 0


def _look(settings: Settings, opened: Database, found: Killed) -> None:
    """Compare the database and the disk with what they should be."""
    Worker(settings, opened).sweep()  # as the next worker does
    with opened.reading() as session:
        entries = session.scalars(select(Entry)).all()
        found.done = sum(entry.state == DONE for entry in entries)
        found.counted = sum(entry.is_counted for entry in entries)
        scores = session.execute(select(TrackScore.entry_id, TrackScore.track, TrackScore.stem)).all()
        found.doubled = len(scores) - len({tuple(score) for score in scores})
        for entry in entries:
            number = int(entry.name.removeprefix("entry "))
            expected = -20 * math.log10(1 - level_of(number, found.people))
            mean = boards.means_of(session, entry, PUBLIC_PART).get("sdr", {}).get(MEAN)
            found.right += mean is not None and abs(mean - expected) < 0.02
        known = {uploads.path_of(settings, upload) for upload in session.scalars(select(Upload))}
    there = {path for path in settings.root.rglob("*") if path.is_file()}
    ours = {settings.mixtures_file(NAME)} | {settings.entry_folder(entry.id) / TASK_FILE for entry in entries}
    strange = {path for path in there - known - ours if path.parent != settings.root} | (known - there)
    found.orphans = tuple(sorted(str(path.relative_to(settings.root)) for path in strange))


class _Sender(threading.Thread):
    """Somebody who uploads an entry slowly, and goes on after whatever interrupts it."""

    def __init__(self, place: Path, url: str, token: str, number: int, people: int) -> None:
        super().__init__()
        self.problem = ""
        self._number = number
        folder = place / f"{number}"
        folder.mkdir()
        estimate = level_of(number, people) * noise(FRAMES, seed=0)
        for stem in MUSIC.stems:
            soundfile.write(folder / f"one_{stem}.wav", estimate, RATE_HZ, "FLOAT")
        self._folder = folder
        self._client = Client(url, token)
        self._client._pause = lambda seconds: time.sleep(0.1)

    def run(self) -> None:
        """Upload and submit."""
        try:
            files = fitting_files(self._folder, _patiently(lambda: self._client.benchmark(NAME)))
            said = {"name": f"entry {self._number}", "visibility": "public"}
            entry = _patiently(lambda: self._client.begin(NAME, said))
            for each in _patiently(lambda: self._client.declare(entry, files)):
                _patiently(lambda each=each: self._client.send(each, _dawdle))  # type: ignore[misc]
            _patiently(lambda: self._client.submit(entry))
        except (UploadError, TimeoutError) as error:
            self.problem = str(error)


def _dawdle(offset: int) -> None:
    time.sleep(0.02)


def _patiently(work: Callable[[], T]) -> T:
    """Do something again until there is a server to do it."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return work()
        except UploadError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
