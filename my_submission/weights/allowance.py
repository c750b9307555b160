"""What a download may take: bytes, and time by the bytes that came.

A fixed time limit would be too short for gigabytes on a slow line or too long for a small file, so there is a least
rate, and some minutes on top. Time-outs of single reads do not do: a server that sends a byte now and then, be it in
the headers, never exceeds them. So the transfer runs in a thread of its own, and who asked for it stops waiting.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from .errors import DownloadError

Result = TypeVar("Result")


@dataclass(frozen=True)
class Patience:
    """How long to wait and how often to try."""

    connect_seconds: float = 10
    read_seconds: float = 30
    attempts: int = 5  # without a new byte in between
    first_pause_seconds: float = 1  # doubled after each failure
    longest_pause_seconds: float = 60
    grace_seconds: float = 180  # of the whole download, pauses included, however few bytes come
    least_bytes_per_second: float = 20_000  # and what it must reach beyond them


class Allowance:
    """What is left for one download; shared by the thread that downloads and the one that waits for it."""

    def __init__(self, most_bytes: int, why: str, patience: Patience) -> None:
        """most_bytes: the size of the whole file, or the largest that is taken. why: what says so."""
        self.most_bytes, self._why, self._patience = most_bytes, why, patience
        self._began = time.monotonic()
        self._arrived, self._closed = 0, False
        self._lock = threading.Lock()

    def arrived(self, count: int) -> None:
        """Count bytes from the network, which earn time; DownloadError once nobody waits any more."""
        with self.acting():
            self._arrived += count

    def have_arrived(self, total: int) -> None:
        """`arrived` for bytes that are only known in all, as far as they were not counted one by one."""
        with self.acting():
            self._arrived = max(self._arrived, total)

    @contextmanager
    def acting(self) -> Iterator[None]:
        """While files are written; DownloadError once nobody waits any more, and another may be writing there."""
        with self._lock:
            if self._closed:
                raise self._too_slow()
            yield

    def check_size(self, size: int) -> None:
        """DownloadError if a file would become larger than it may be."""
        if size > self.most_bytes:
            raise DownloadError(
                f"the server sends {size:,} bytes or more, expected at most {self.most_bytes:,} ({self._why})"
            )

    def seconds_left(self) -> float:
        """Until the download is too slow; 0 or less if it is. No repetition earns more time than the file's size."""
        earned = min(self._arrived, self.most_bytes) / self._patience.least_bytes_per_second
        return self._patience.grace_seconds + earned - (time.monotonic() - self._began)

    def close(self) -> None:
        """From here on the transfer can neither write nor go on."""
        with self._lock:
            self._closed = True

    def wait(self, call: Callable[[], Result]) -> Result:
        """What `call` returns or raises, from a thread of its own; DownloadError if that takes too long.

        A thread that nobody waits for any more ends once it has something to do again, be it its next byte. It does
        not keep the process from ending.
        """
        results: list[Result] = []
        errors: list[BaseException] = []
        done = threading.Event()

        def run() -> None:
            try:
                results.append(call())
            except BaseException as error:  # for the thread that waits
                errors.append(error)
            finally:
                done.set()

        thread = threading.Thread(target=run, name="download", daemon=True)
        thread.start()
        try:
            while not done.wait(timeout=min(1.0, max(0.0, self.seconds_left()))):
                if self.seconds_left() <= 0:
                    raise self._too_slow()
        finally:
            self.close()
            if not done.is_set():
                _end(thread)
        if errors:
            raise errors[0]
        return results[0]

    def _too_slow(self) -> DownloadError:
        seconds = time.monotonic() - self._began
        return DownloadError(
            f"given up after {seconds:.0f} s with {self._arrived:,} bytes: expected"
            f" {self._patience.least_bytes_per_second:,.0f} bytes a second after the first"
            f" {self._patience.grace_seconds:.0f} s"
        )


def _end(thread: threading.Thread) -> None:
    """Raise SystemExit in a thread, which a library would otherwise let try again for minutes."""
    interpreter = getattr(ctypes, "pythonapi", None)  # CPython's
    if interpreter is not None and thread.ident is not None:
        interpreter.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
