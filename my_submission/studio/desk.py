"""The one who works: songs are separated one at a time, in a child process, as `separate` does it."""

import contextlib
import logging
import shutil
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path

from my_submission.files.bars import Pace
from my_submission.files.decode import probe
from my_submission.files.errors import FileSeparationError
from my_submission.files.inputs import Recording
from my_submission.files.listening import fits_a_browser, write_listening_copy
from my_submission.files.model import ModelChoice
from my_submission.files.options import FileOptions, SeparatedFile
from my_submission.files.workers import (
    Event,
    Failed,
    Finished,
    Logged,
    ModelFailed,
    Progressed,
    RunSettings,
    separate_all,
)
from my_submission.studio.songs import ACTIVE, Song, folder_name, shown_name

log = logging.getLogger(__name__)

_SPARE_BYTES = 2**30  # that no song may take of a disk


@dataclass(frozen=True)
class Work:
    """How songs are separated. root: where their folders are made. keeps: whether their stems stay at the end."""

    root: Path
    model: ModelChoice
    options: FileOptions
    stems: tuple[str, ...]
    keeps: bool = False


class Desk:
    """Songs in the order in which they came, and the thread that works at them.

    separate: what separates recordings; another one in tests.
    """

    def __init__(self, work: Work, separate: Callable[..., Generator[Event]] = separate_all) -> None:
        self._work = work
        self._separate = separate
        self._songs: list[Song] = []
        self._changed = threading.Condition()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="studio", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def close(self) -> None:
        """Give up what is under way, and wait until its process is gone; what is not to be kept is deleted."""
        with self._changed:
            self._over.set()
            songs = list(self._songs)
            self._changed.notify_all()
        for song in songs:
            song.given_up.set()
        if self._thread.is_alive():
            self._thread.join()
        for song in songs:
            self._clear(song)

    @property
    def songs(self) -> list[Song]:
        """All of them; each may change meanwhile."""
        with self._changed:
            return list(self._songs)

    def find(self, song_id: str) -> Song | None:
        return next((song for song in self.songs if song.id == song_id), None)

    @property
    def room_bytes(self) -> int:
        """How large a song may be: half of what is free, since its stems need room, too."""
        return max(0, (shutil.disk_usage(self._work.root).free - _SPARE_BYTES) // 2)

    def expect(self, name: str) -> Song:
        """A song that is about to arrive, with a folder of its own. Raises OSError if that cannot be made."""
        shown = shown_name(name)
        with self._changed:
            number = len(self._songs) + 1
            while (folder := self._work.root / folder_name(number, shown)).exists():
                number += 1
            folder.mkdir()
            song = Song(shown, folder)
            self._songs.append(song)
        return song

    def arrived(self, song: Song) -> None:
        """All of it is there: it waits for its turn."""
        with self._changed:
            song.state = "waiting"
            self._changed.notify_all()

    def remove(self, song: Song) -> None:
        """Forget a song: give it up if it is under way, and delete what there is of it, but for stems to be kept."""
        song.given_up.set()
        with self._changed:
            if song in self._songs:
                self._songs.remove(song)
            if song.state != "working":  # else it is cleared once its process is gone
                self._clear(song)
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:  # within which nobody can end it unseen
                if self._over.is_set():
                    return
                song = next((each for each in self._songs if each.state == "waiting"), None)
                if song is None:
                    self._changed.wait()
                    continue
                song.state = "working"
            self._separate_song(song)
            with self._changed:
                if song not in self._songs:
                    self._clear(song)

    def _separate_song(self, song: Song) -> None:
        """Work at one song until it is done, has failed, or is given up."""
        try:
            work, recording = self._work, Recording(song.upload, track="stems")
            options = replace(work.options, template="{stem}.{ext}", many_channels="downmix")
            info = probe(song.upload, options.many_channels)
            options.encoding.check_form(info.sample_rate, info.channels)
            settings = RunSettings(work.model, options, work.stems, song.folder)
            events = self._separate([recording], settings, 1, song.given_up.is_set)
            pace = Pace(time.monotonic())
            with contextlib.closing(events) as running:
                for event in running:
                    self._take(song, event, pace)
            if song.state == "working" and not song.given_up.is_set():
                self._fail(song, "it was not separated, for no known reason")
        except (FileSeparationError, ModelFailed, OSError) as error:
            self._fail(song, str(error))
        except Exception as error:  # whatever it is, one song must not end the studio for those that wait
            log.exception("%s", song.name)
            self._fail(song, f"{type(error).__name__}: {error}")
        finally:
            with contextlib.suppress(OSError):
                song.upload.unlink(missing_ok=True)

    def _take(self, song: Song, event: Event, pace: Pace) -> None:
        match event:
            case Progressed(_, fraction):
                song.fraction = fraction
                song.seconds_left = pace.seconds_left(fraction, time.monotonic())
            case Logged(message):
                song.notes = (*song.notes, self._in_words(song, message))
            case Failed(_, reason):
                self._fail(song, reason)
            case Finished(_, result):
                self._finish(song, result)

    def _finish(self, song: Song, result: SeparatedFile) -> None:
        song.fraction, song.seconds_left = 1.0, None
        notes, copies = list(result.notes), {}
        if fits_a_browser(result.seconds, len(result.files)):
            try:
                copies = self._listening_copies(song, result)
            except FileSeparationError as error:  # the stems are there
                notes.append(f"they can be saved, but not played here: {error}")
        else:
            notes.append("it is too long to be played here")
        song.notes = (*song.notes, *(self._in_words(song, note) for note in notes))
        song.seconds, song.stems, song.listening = result.seconds, result.files, copies
        song.state = "done"

    @staticmethod
    def _listening_copies(song: Song, result: SeparatedFile) -> dict[str, Path]:
        """Raises FileSeparationError, and leaves no copy, if not all can be made."""
        copies = {stem: song.folder / f".listen-{number}.mp3" for number, stem in enumerate(result.files, 1)}
        try:
            for stem, copy in copies.items():
                write_listening_copy(result.files[stem], copy, result.seconds)
        except FileSeparationError:
            for copy in copies.values():
                copy.unlink(missing_ok=True)
            raise
        return copies

    def _fail(self, song: Song, reason: str) -> None:
        song.reason, song.state = self._in_words(song, reason), "failed"

    @staticmethod
    def _in_words(song: Song, text: str) -> str:
        """What was said of a file, of the song: paths of ours mean nothing to anybody."""
        own = text.replace(f"{song.upload}: ", "").replace(str(song.upload), song.name)
        return own.replace(str(song.folder), "its folder")

    def _clear(self, song: Song) -> None:
        """Delete what there is of a song, but for stems that are to be kept."""
        keeps = self._work.keeps and song.state == "done"
        for path in list(song.folder.iterdir()) if song.folder.is_dir() else []:
            if not keeps or path not in song.stems.values():
                with contextlib.suppress(OSError):
                    path.unlink()
        with contextlib.suppress(OSError):
            song.folder.rmdir()


def is_active(song: Song) -> bool:
    """Whether there is still something to come of it."""
    return song.state in ACTIVE
