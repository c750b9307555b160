"""An entry of many tracks is scored by SDR: how long it takes, and how long it takes to read what it is made of.

To read is to have every sample of estimates and references once, as 32-bit floats from libsndfile.
"""

import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import soundfile
from sqlalchemy import select

from benchmarks.checker.running import NAME, RATE_HZ, noise, prepare, token_of, write_track
from evaluator.challenge import MUSIC
from evaluator.running.parts import BLOCK_FRAMES
from evaluator.service import entries, uploads
from evaluator.service.accounts import Caller
from evaluator.service.database import Database
from evaluator.service.settings import Settings
from evaluator.service.tables import DONE, Account, Benchmark, Entry
from evaluator.service.uploads import Given, Writer
from evaluator.service.worker import Worker


@dataclass(frozen=True)
class Scored:
    """Seconds by the clock, and of a processor, which do not depend on who else uses the machine."""

    tracks: int
    track_seconds: int
    read: tuple[float, float]
    scored: tuple[float, float]

    def rows(self) -> Iterator[tuple[str, str]]:
        """The table."""
        yield "tracks", f"{self.tracks} of {self.track_seconds} s, {len(MUSIC.stems)} stems"
        for what, (clock, cpu) in (("reading", self.read), ("checking and scoring", self.scored)):
            yield what, f"{clock:.1f} s, {cpu:.1f} s of a processor"
        clock, cpu = (after / before for after, before in zip(self.scored, self.read, strict=True))
        yield "scoring over reading", f"{clock:.2f} by the clock, {cpu:.2f} by the processor"


def run(tracks: int, seconds: int) -> Scored:
    """Score one entry of so many tracks."""
    with tempfile.TemporaryDirectory() as place:
        data, frames = Path(place) / "data", seconds * RATE_HZ
        for number in range(tracks):
            write_track(data / f"{number:03d}", noise(frames, seed=number))
        settings, opened = prepare(Path(place) / "root", {NAME: data})
        token_of(opened, "ann")
        entry = _enter(settings, opened, data)
        files = [path for path in data.rglob("*.wav") if path.stem != "mixture"]
        files += list(settings.entry_folder(entry).iterdir())
        read = _timed(lambda: _read(files))
        scored = _timed(lambda: Worker(settings, opened).work_once())
        with opened.reading() as session:
            assert session.get_one(Entry, entry).state == DONE
        opened.close()
        return Scored(tracks, seconds, read, scored)


def _enter(settings: Settings, opened: Database, data: Path) -> int:
    """An entry in the queue whose estimates are the references themselves."""
    now = time.time()
    with opened.writing() as session:
        account = session.scalars(select(Account)).one()
        caller = Caller(account.id, account.name, account.role)
        benchmark = session.scalars(select(Benchmark)).one()
        entry = entries.create(settings, session, caller, benchmark, entries.details({"name": "x"}), now)
        paths = [path for path in sorted(data.rglob("*.wav")) if path.stem != "mixture"]
        given = [Given(f"{path.parent.name}_{path.name}", path.stat().st_size) for path in paths]
        for path, upload in zip(
            paths, uploads.create(settings, session, caller, entry, given, now), strict=True
        ):
            with Writer(uploads.path_of(settings, upload), 0) as writer:
                writer.write(path.read_bytes())
                assert writer.digest is not None
                uploads.verify(session, upload.id, writer.digest.hexdigest(), now)
        entries.submit(session, caller, entry, now)
        return entry.id


def _read(files: list[Path]) -> None:
    """Decode every sample once, as people do."""
    for path in files:
        for _ in soundfile.blocks(path, BLOCK_FRAMES, dtype="float32", always_2d=True):
            pass


def _timed(work: object) -> tuple[float, float]:
    """Seconds by the clock, and of a processor with all children."""

    def cpu() -> float:
        own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime

    assert callable(work)
    before, began = cpu(), time.monotonic()
    work()
    return time.monotonic() - began, cpu() - before
