"""Files on their way to us, as the tus protocol 1.0 has them: how far each is, and what it may be.

How far it is stands in the database, and is moved on only once the bytes are on the disk. So either side can be
killed at any moment: what the disk has beyond that is written again. Each file lies in its entry's folder under the
upload's id; names of others are looked up, and never part of a path.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from evaluator import printable
from evaluator.digests import sha256_of_file
from evaluator.running.dataset import SUFFIXES
from evaluator.running.estimates import FILE_OVERHEAD_BYTES, WIDEST_SAMPLE_BYTES
from evaluator.running.predictions import look_up
from evaluator.runs.documents import SHA256
from evaluator.service import accounts, benchmarks, entries, received
from evaluator.service.accounts import Caller
from evaluator.service.errors import Refused
from evaluator.service.settings import Settings
from evaluator.service.tables import CANCELLED, UPLOADING, Benchmark, Entry, Upload

INCOMING = "incoming"  # a folder for what is of no entry yet; see one_piece.py
LONGEST_NAME = 400
LEAST_BYTES = 42  # of a file with any sound
MOST_FILES_AT_ONCE = 20_000
DISK_FULL = "The service is short of disk space; nothing was lost, try again later."
CHECKSUM_MISMATCH = 460  # as tus has it


@dataclass(frozen=True)
class Given:
    """A file that somebody wants to send; sha256 in hexadecimal, where they know it."""

    name: str
    length: int
    sha256: str | None = None


def path_of(settings: Settings, upload: Upload) -> Path:
    """Where its bytes lie."""
    return settings.entry_folder(upload.entry_id) / upload.id


def create(
    settings: Settings, session: Session, caller: Caller, entry: Entry, given: Sequence[Given], now: float
) -> list[Upload]:
    """The uploads of these files, in their order; those that were begun earlier go on where they are.

    Refused with a sentence for every file that does not fit, before a byte of any was sent.
    """
    entries.require_owner(caller, entry)
    if entry.state != UPLOADING:
        raise Refused(f"Entry {entry.id} is {entries.STATE_WORDS[entry.state]}; it takes no files.", 409)
    if not 0 < len(given) <= MOST_FILES_AT_ONCE:
        raise Refused(f"Found {len(given)} files, expected 1 to {MOST_FILES_AT_ONCE}.")
    accounts.lock(session, entry.account_id)
    begun = {
        upload.name: upload for upload in session.scalars(select(Upload).where(Upload.entry_id == entry.id))
    }
    new = [file for file in given if not _is_same(begun.get(file.name), file)]
    replaced = [
        begun.pop(file.name) for file in new if file.name in begun
    ]  # somebody has changed the file since
    places, problems = _placed(entry.benchmark, new, list(begun.values()))
    if problems:
        raise Refused("The files do not fit the benchmark.", 422, tuple(problems))
    for upload in replaced:
        _forget(settings, session, upload)
    check_room(settings, session, entry.account_id, sum(file.length for file in new), now)
    settings.entry_folder(entry.id).mkdir(parents=True, exist_ok=True)
    for file in new:
        track, stem = places[file.name]
        begun[file.name] = Upload(
            id=secrets.token_hex(16),
            entry_id=entry.id,
            name=file.name,
            track=track,
            stem=stem,
            length=file.length,
            offset=0,
            sha256=file.sha256,
            is_verified=False,
            created=now,
            touched=now,
        )
        session.add(begun[file.name])
    session.flush()
    return [begun[file.name] for file in given]


def _is_same(upload: Upload | None, given: Given) -> bool:
    return upload is not None and upload.length == given.length and given.sha256 in (None, upload.sha256)


Place = tuple[str | None, str | None]
"""Track and stem; neither for a zip."""
ZIP: Place = (None, None)


def _placed(
    benchmark: Benchmark, new: Sequence[Given], begun: Sequence[Upload]
) -> tuple[dict[str, Place], list[str]]:
    """What each new file is, and one sentence for each that cannot be taken beside those that were begun."""
    meant = _meant(benchmark, new)
    places: dict[str, Place] = {}
    problems: list[str] = []
    taken: dict[Place, str] = {(upload.track, upload.stem): upload.name for upload in begun}
    for file in new:
        place = meant.get(file.name, ZIP)
        problem = _problem(benchmark, file, meant)
        if problem is None and (place in taken or ZIP in taken or (place == ZIP and taken)):
            other = taken.get(place) or next(iter(taken.values()))
            problem = (
                f"cannot be beside {printable.plain(other)}; expected one zip, or one file for each stem"
            )
        if problem is not None:
            problems.append(f"{printable.plain(file.name)}: {problem}")
            continue
        taken[place] = file.name
        places[file.name] = place
    return places, problems


def _meant(benchmark: Benchmark, files: Sequence[Given]) -> dict[str, Place]:
    """Which stem of which track each file is by its name; files of no track, and zips, are left out."""
    names = [tuple(file.name.split("/")) for file in files if len(file.name) <= LONGEST_NAME]
    found = look_up(Path(), names, benchmarks.contents(benchmark)).files
    return {"/".join(parts): place for place, several in found.items() for parts in several}


def _problem(benchmark: Benchmark, file: Given, meant: Mapping[str, Place]) -> str | None:
    """What is wrong with a file by itself, if anything."""
    if len(file.name) > LONGEST_NAME or printable.fault(file.name) is not None:
        return "no name that a file may have here"
    if file.sha256 is not None and not SHA256.fullmatch(file.sha256):
        return "its SHA-256 is none; expected 64 hexadecimal digits"
    if _is_zip(file.name):
        return _length_problem(file.length, most_bytes_of_zip(benchmark), "its tracks")
    track, stem = meant.get(file.name, ZIP)
    if track is None or not file.name.lower().endswith(SUFFIXES):
        example = f"{benchmark.tracks[0]['folder']}_{benchmark.stems[0]}.wav"
        return f"named after no track; expected TRACK_STEM.wav or .flac, such as {example}"
    if stem not in benchmark.stems:
        return f"found the stem {printable.plain(stem or '')}, expected one of {', '.join(benchmark.stems)}"
    described = next(each for each in benchmark.tracks if each["name"] == track)
    return _length_problem(file.length, _most_bytes(described), "its track")


def _is_zip(name: str) -> bool:
    return name.lower().endswith(".zip")


def _most_bytes(track: dict[str, object]) -> int:
    frames, channels = track["frames"], track["channels"]
    assert isinstance(frames, int)
    assert isinstance(channels, list)
    return frames * int(max(channels)) * WIDEST_SAMPLE_BYTES + FILE_OVERHEAD_BYTES


def most_bytes_of_zip(benchmark: Benchmark) -> int:
    """How long a zip of all estimates may be."""
    return sum(map(_most_bytes, benchmark.tracks)) * len(benchmark.stems)


def _length_problem(length: int, most: int, of: str) -> str | None:
    if LEAST_BYTES <= length <= most:
        return None
    return f"{length} bytes, expected {LEAST_BYTES} to {most} by the length of {of}"


def check_room(settings: Settings, session: Session, account: int, length: int, now: float) -> None:
    """Refused for more than an account may send in a day, and where the disk is short."""
    length_in_all = length + received.announced(session, account, now)
    received.require_left(settings, session, account, length_in_all, now)
    if not settings.has_room_for(length):
        raise Refused(DISK_FULL, 507)


def find(session: Session, caller: Caller, number: str) -> Upload:
    """The caller's upload of that id; Refused with 404 if there is none, or 410 if its entry takes no more."""
    upload = session.get(Upload, number)
    if upload is None or not entries.is_own(upload.entry, caller):
        raise Refused("There is no such upload.", 404)
    if upload.entry.state != UPLOADING:
        raise Refused(f"Entry {upload.entry_id} is {entries.STATE_WORDS[upload.entry.state]}.", 410)
    return upload


def advance(session: Session, upload: str, before: int, after: int, now: float) -> bool:
    """Note that the bytes up to `after` are on the disk; False if somebody else has written meanwhile."""
    moved = (
        update(Upload)
        .where(Upload.id == upload, Upload.offset == before, Upload.length >= after)
        .values(offset=after, touched=now)
        .returning(Upload.id)
    )
    return session.scalar(moved) is not None


def digest(settings: Settings, upload: Upload) -> str:
    """The SHA-256 of what has arrived; takes seconds for gigabytes."""
    return sha256_of_file(path_of(settings, upload))


def verify(session: Session, number: str, found: str, now: float) -> bool:
    """Take a complete upload if its hash is as it was said to be; else it begins again, and the answer is False."""
    upload = session.get_one(Upload, number)
    upload.touched = now
    upload.is_verified = upload.sha256 in (None, found)
    if upload.is_verified:
        upload.sha256 = found
    else:
        upload.offset = 0
    return upload.is_verified


def remove(settings: Settings, session: Session, caller: Caller, number: str) -> None:
    """Forget an upload and its bytes."""
    _forget(settings, session, find(session, caller, number))


def _forget(settings: Settings, session: Session, upload: Upload) -> None:
    path = path_of(settings, upload)
    session.delete(upload)
    session.flush()
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def cancel_forgotten(settings: Settings, session: Session, now: float) -> list[int]:
    """Cancel the entries to which nothing has come for a day; returns them."""
    last = select(func.max(Upload.touched)).where(Upload.entry_id == Entry.id).scalar_subquery()
    forgotten = select(Entry).where(
        Entry.state == UPLOADING, func.coalesce(last, Entry.created) < now - settings.upload_seconds
    )
    found = list(session.scalars(forgotten.with_for_update(of=Entry)))  # none is submitted meanwhile
    for entry in found:
        entry.state = CANCELLED
        hours = settings.upload_seconds / 3600
        entry.problems = [f"nothing came for {hours:g} hours, so what had come was removed"]
    return [entry.id for entry in found]


@contextlib.contextmanager
def _enough_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Refused(DISK_FULL, 507) from None
        raise


def _flags() -> int:
    """With which a file is opened; without the last, Windows makes two bytes of each end of a line."""
    return os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class Writer:
    """The open file of an upload, from an offset on; a context manager. Its folder is gone once its entry is over.

    One thread may write while another flushes; closing waits for both, since their descriptor may be another file's
    afterwards.

    offset: up to where it is written. digest: the SHA-256 of all that is written, if that is the file from its
    beginning.
    """

    def __init__(self, path: Path, offset: int) -> None:
        self.offset = offset
        self.digest = hashlib.sha256() if offset == 0 else None
        self._writing, self._flushing = threading.Lock(), threading.Lock()
        self._is_closed = False
        try:
            self._file = os.open(path, _flags(), 0o644)
        except FileNotFoundError:
            raise Refused("Its entry takes no more files.", 410) from None
        if (
            os.lseek(self._file, 0, os.SEEK_END) < offset
        ):  # removed, and the service ended before it was noted
            os.close(self._file)
            raise Refused("What had come of this upload is gone; delete it and begin again.", 410)
        os.lseek(self._file, offset, os.SEEK_SET)

    def write(self, block: bytes) -> None:
        """Append bytes."""
        with self._writing, _enough_disk():
            left = memoryview(block)
            while left:
                written = os.write(self._file, left)
                if self.digest is not None:
                    self.digest.update(left[:written])
                self.offset += written
                left = left[written:]

    def flush(self) -> None:
        """Return once everything is on the disk that was written before."""
        with self._flushing, _enough_disk():
            getattr(os, "fdatasync", os.fsync)(self._file)

    def close(self) -> None:
        """Close the file, if it is open yet."""
        with self._writing, self._flushing:
            if not self._is_closed:
                self._is_closed = True
                os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()
