"""What a submission prints, drained from a pipe as fast as it comes, and kept up to a limit."""

import os
import select
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

CHUNK_BYTES = 1 << 20
HEAD_BYTES = 1 << 18
TAIL_BYTES = 1 << 18
SETTLE_SECONDS = 0.5


class OutputLog:
    """Drains a pipe in a thread; the output between two calls of `take` belongs to one piece of work.

    The first and the last quarter of a megabyte are kept, so a submission may print without end.
    """

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        _enlarge(pipe)
        self._lock = threading.Lock()
        self._clear()
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def _clear(self) -> None:
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._left_out = 0

    def _drain(self) -> None:
        while self._drain_once():
            pass
        os.close(self._pipe)

    def _drain_once(self) -> bool:
        """Wait for output and keep it; False at the end of the pipe.

        Reading and keeping are one step under the lock: what has left the pipe is never missed by `take`. Windows
        cannot wait for a pipe without reading it, so there `take` may miss what is just being read.
        """
        if sys.platform == "win32":
            chunk = os.read(self._pipe, CHUNK_BYTES)
            with self._lock:
                self._keep(chunk)
        else:
            _wait_readable(self._pipe)
            with self._lock:
                chunk = os.read(self._pipe, CHUNK_BYTES)
                self._keep(chunk)
        return bool(chunk)

    def _keep(self, chunk: bytes) -> None:
        room = HEAD_BYTES - len(self._head)
        self._head += chunk[:room]
        rest = chunk[room:] if room < len(chunk) else b""
        if rest:
            self._tail.append(rest)
            self._tail_bytes += len(rest)
        while self._tail_bytes > TAIL_BYTES:
            surplus = self._tail_bytes - TAIL_BYTES
            first = self._tail.popleft()
            if len(first) > surplus:
                self._tail.appendleft(first[surplus:])
            dropped = min(len(first), surplus)
            self._tail_bytes -= dropped
            self._left_out += dropped

    def take(self) -> str:
        """Everything printed so far and not taken yet; waits a moment for what is still in the pipe."""
        self._settle()
        with self._lock:
            gap = f"\n[… {self._left_out} bytes left out …]\n".encode() if self._left_out else b""
            kept = bytes(self._head) + gap + b"".join(self._tail)
            self._clear()
        return kept.decode(errors="backslashreplace")

    def _settle(self) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        while self._thread.is_alive() and self._waiting_bytes() and time.monotonic() < deadline:
            time.sleep(0.002)

    def _waiting_bytes(self) -> int:
        """Bytes in the pipe that were not read yet; 0 if the system cannot say."""
        if sys.platform == "win32":
            return 0
        import fcntl
        import struct
        import termios

        try:
            answer = fcntl.ioctl(self._pipe, termios.FIONREAD, b"\0\0\0\0")
        except OSError:
            return 0  # closed in the meantime
        return int(struct.unpack("i", answer)[0])

    def close(self) -> None:
        """Wait a moment for the end of the pipe, which comes when the last process that holds it is gone."""
        self._thread.join(SETTLE_SECONDS)


def _wait_readable(pipe: int) -> None:
    """Return when the pipe has something to read or has ended."""
    waiting = select.poll()
    waiting.register(pipe, select.POLLIN)
    waiting.poll()


def _enlarge(pipe: int) -> None:
    """Let the pipe hold a megabyte if the system can, so that much output costs few switches between processes."""
    if sys.platform.startswith("linux"):
        import fcntl

        with suppress(OSError):  # more than this user may have
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, CHUNK_BYTES)


def write_log(path: Path, text: str) -> None:
    """Write one log, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def last_lines(text: str, count: int) -> list[str]:
    """The last `count` lines that are not empty."""
    return [line for line in text.splitlines() if line.strip()][-count:]
