"""Memory of large tensors on the CPU: kept by the process instead of returned to the system after every layer."""

import ctypes
import logging
import sys

log = logging.getLogger(__name__)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_NEVER = 2**31 - 1


def keep_heap() -> None:
    """Tell glibc's allocator, for the whole process, to keep freed memory for the next tensor.

    By default every tensor of more than a few MiB is newly mapped, and the kernel fills its pages with zeros on first
    touch: an eighth of a chunk's CPU time. All threads share one arena, since the others do not keep large blocks.
    Threads use the arenas that exist: so call this before anything is computed, which starts torch's threads;
    afterwards an ensemble had four times the page faults. On a system without glibc nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    settings = ((_M_MMAP_THRESHOLD, _NEVER), (_M_TRIM_THRESHOLD, _NEVER), (_M_ARENA_MAX, 1))
    if mallopt is None or not all(mallopt(option, value) for option, value in settings):
        log.debug("malloc cannot be told to keep freed memory, so chunks take longer")
