"""Memory of large tensors on the CPU: kept by the process instead of returned to the system after every layer."""

import contextlib
import ctypes
import logging
import mmap
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

SPARE_BYTES = 64 << 20
"""Of freed memory that `near_need` leaves with the process beyond what was ever in use."""
LOOK_SECONDS = 0.02

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_NEVER = 2**31 - 1
_ON_LINUX = sys.platform.startswith("linux")


def keep_heap() -> None:
    """Tell glibc's allocator, for the whole process, to keep freed memory for the next tensor.

    By default every tensor of more than a few MiB is newly mapped, and the kernel fills its pages with zeros on first
    touch: an eighth of a chunk's CPU time. All threads share one arena, since the others do not keep large blocks.
    Threads use the arenas that exist: so call this before anything is computed, which starts torch's threads;
    afterwards an ensemble had four times the page faults. On a system without glibc nothing changes.
    """
    if not _ON_LINUX:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    settings = ((_M_MMAP_THRESHOLD, _NEVER), (_M_TRIM_THRESHOLD, _NEVER), (_M_ARENA_MAX, 1))
    if mallopt is None or not all(mallopt(option, value) for option, value in settings):
        log.debug("malloc cannot be told to keep freed memory, so chunks take longer")


@contextlib.contextmanager
def near_need() -> Iterator[None]:
    """While within, freed memory that no longer fits what is asked for goes back to the system.

    glibc before 2.38 cannot give an aligned block to the next tensor of its size once something small has taken the
    bytes beside it. So some networks come to hold twice what they use. A thread looks how much the process holds;
    where that is SPARE_BYTES more than it ever used, and twice as many more than it uses now, all that is free goes.
    What is asked for next is newly mapped: benchmarks/README.md has what that costs, and what it saves.
    Contexts of several threads share one such thread. Where glibc (2.33) cannot tell, nothing happens.
    """
    watch = _watch
    watch.enter()
    try:
        yield
    finally:
        watch.leave()


class _Counts(ctypes.Structure):
    """`struct mallinfo2` of malloc.h."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks"),
            "keepcost",
        )
    )


class _Watch:
    """Looks at the heap while anybody is within, and trims it; see `near_need`.

    It learns by itself what the process holds besides the heap: the least that was ever left beside what is in use,
    or what is left after the heap has been trimmed.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._within, self._leaving = 0, threading.Event()
        self._most_used, self._besides = 0, 0
        libc = ctypes.CDLL(None) if _ON_LINUX else None
        self._libc: Any = libc if hasattr(libc, "mallinfo2") else None
        if self._libc is not None:
            self._libc.mallinfo2.restype = _Counts

    def enter(self) -> None:
        with self._changing:
            self._within += 1
            if self._within == 1 and self._libc is not None:
                self._leaving = threading.Event()
                with contextlib.suppress(RuntimeError):  # no thread can be started
                    threading.Thread(target=self._until, args=(self._leaving,), daemon=True).start()

    def leave(self) -> None:
        with self._changing:
            self._within -= 1
            if self._within == 0:
                self._leaving.set()

    def _until(self, leaving: threading.Event) -> None:
        with contextlib.suppress(OSError):  # no /proc
            while not leaving.wait(LOOK_SECONDS):
                self.look()

    def look(self) -> None:
        """Trim the heap, if it holds too much."""
        used, resident = self._used(), self._resident()
        self._besides = min(self._besides, max(0, resident - used))
        self._most_used, held = max(self._most_used, used), resident - self._besides
        if held > self._most_used + SPARE_BYTES and held > used + 2 * SPARE_BYTES:
            self._libc.malloc_trim(0)
            self._besides = max(0, self._resident() - self._used())

    def _used(self) -> int:
        """Bytes of the heap that are in use, and those of blocks so large that they are mapped one by one."""
        counts = self._libc.mallinfo2()
        return int(counts.uordblks + counts.hblkhd)

    def _resident(self) -> int:
        """Bytes of memory that the process holds, without files that are mapped."""
        _, resident, shared, *_ = Path("/proc/self/statm").read_text().split()
        return (int(resident) - int(shared)) * mmap.PAGESIZE


_watch = _Watch()


def _begin_again() -> None:
    """In a fork, where the thread that looks is missing, and the lock may be held for ever."""
    global _watch
    _watch = _Watch()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)
