"""Promise 6: nothing of it runs from the end of a track to the next request.

Threads, processes of other sessions, processes that wake each other, and what makes the kernel send SIGCONT:
timers, message queues, leases, changes of a folder that the evaluator itself makes when it collects the estimates.
"""

import ctypes
import fcntl
import mmap
import os
import signal
import struct
import threading
import time

from my_submission.attack import Model, daemon, say, syscall, tried

SYSTEMS = ["root", "user", "bare", "docker"]
EXPECTED = {
    "threads": "ok",
    "daemons": "ok",
    "wake_each_other": ("ok", "crashed"),
    "timers": "ok",
    "leases": ("ok", "invalid_output"),
    "folders_that_change": "ok",
    "sockets": "ok",
    "many_processes": "ok",
}
SLOWLY = True
SLOTS, SPANS = 8, 500
SLOT_BYTES = 16 * SPANS
STOP = SLOTS * SLOT_BYTES  # where a byte tells the spinners to end
WATCHED = STOP + 8
DN_ACCESS, DN_MODIFY, DN_CREATE, DN_MULTISHOT = 1, 2, 4, 1 << 31


class MySeparationModel(Model):
    """Attacks when a track is done, from the wrapper beside this file, and compares when the next is asked for."""

    def __init__(self) -> None:
        self.shared = mmap.mmap(-1, WATCHED + 16)
        self.way, self.ended = "", 0
        if os.fork() == 0:
            self._watch()
        self.started: list[int] = []

    def begin(self) -> None:
        """The next track is asked for: say when that was, and when something ran since the last one."""
        if self.way:
            say(f"NEXT {self.way} {self._woken()}")
            for slot in range(SLOTS):
                numbers = struct.unpack_from(f"{2 * SPANS}q", self.shared, SLOT_BYTES * slot)
                for start, end in zip(numbers[::2], numbers[1::2], strict=True):
                    if end > self.ended:
                        say(f"RAN {self.way} {start} {end}")
        self.way = ""
        self._stop()
        self.shared[: SLOTS * SLOT_BYTES] = bytes(SLOTS * SLOT_BYTES)

    def end(self) -> None:
        """The track is done, and the evaluator about to be told so."""
        self.ended = time.monotonic_ns()
        struct.pack_into("2q", self.shared, WATCHED, self.ended, self.ended)

    def _watch(self) -> None:
        """Note the longest break: threads that compute would keep their own process from seeing when it ended."""
        last = time.monotonic_ns()
        while True:
            time.sleep(0.001)
            now = time.monotonic_ns()
            start, end = struct.unpack_from("2q", self.shared, WATCHED)
            if now - last > end - start:
                struct.pack_into("2q", self.shared, WATCHED, last, now)
            last = now

    def _woken(self) -> int:
        """When it could go on, by the watching process."""
        time.sleep(0.01)
        return int(struct.unpack_from("2q", self.shared, WATCHED)[1])

    def _spin(self, slot: int, seconds: float = 10.0) -> None:
        """Compute, and write down from when to when that went without a break."""
        number, start = 0, time.monotonic_ns()
        last, end = start, start + int(seconds * 1e9)
        while last < end and self.shared[STOP] == 0 and number < SPANS:
            now = time.monotonic_ns()
            if now - last > 2_000_000:
                number, start = number + 1, now
            if number < SPANS:
                struct.pack_into("2q", self.shared, SLOT_BYTES * slot + 16 * number, start, now)
            last = now

    def _stop(self) -> None:
        self.shared[STOP] = 1
        for pid in self.started:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                continue
        self.started = []
        time.sleep(0.01)
        self.shared[STOP] = 0

    def _child(self, slot: int, before=lambda: None) -> int:  # type: ignore[no-untyped-def]
        child = os.fork()
        if child == 0:
            try:
                before()
                self._spin(slot)
            finally:
                os._exit(0)
        self.started.append(child)
        tried()
        return child

    def threads(self) -> None:
        for slot in range(4):
            tried()
            threading.Thread(target=self._spin, args=(slot,), daemon=True).start()

    def daemons(self) -> None:
        for slot in range(4):
            tried()
            daemon(lambda at=slot: self._spin(at))

    def many_processes(self) -> None:
        for slot in range(8):
            self._child(slot)

    def wake_each_other(self) -> None:
        """Each sends SIGCONT to all the others, all the time."""
        pids = mmap.mmap(-1, 4096)

        def wake() -> None:
            end = time.monotonic() + 20
            while time.monotonic() < end and self.shared[STOP] == 0:
                for pid in struct.unpack("8i", pids[:32]):
                    if pid and pid != os.getpid():
                        try:
                            os.kill(pid, signal.SIGCONT)
                        except OSError:
                            continue

        for slot in range(8):
            child = self._child(slot, wake)
            struct.pack_into("i", pids, 4 * slot, child)

    def timers(self) -> None:
        """The kernel sends SIGCONT, by its own clock."""

        def arm() -> None:
            signal.signal(
                signal.SIGCONT, lambda number, frame: None
            )  # else it is nothing to a process that runs
            for milliseconds in range(10, 400, 10):
                event = (ctypes.c_uint32 * 16)(0, 0, signal.SIGCONT, 0)
                timer = (ctypes.c_int * 1)(0)
                try:
                    syscall("timer_create", 1, event, timer)
                    syscall(
                        "timer_settime",
                        timer[0],
                        0,
                        (ctypes.c_long * 4)(0, 0, 0, milliseconds * 1_000_000),
                        0,
                    )
                except OSError:
                    continue

        for slot in range(2):
            self._child(slot, arm)

    def leases(self) -> None:
        """Whoever opens the estimates breaks a lease, of which its holder is told by a signal of its choice."""

        def hold() -> None:
            for name in os.listdir(self.folder):
                descriptor = os.open(f"{self.folder}/{name}", os.O_RDONLY)
                for call, value in ((fcntl.F_SETSIG, signal.SIGCONT), (fcntl.F_SETLEASE, fcntl.F_RDLCK)):
                    try:
                        fcntl.fcntl(descriptor, call, value)
                    except OSError:
                        continue

        self._child(0, hold)

    def folders_that_change(self) -> None:
        """The evaluator reads the estimates: the kernel tells whoever has asked for it, by a signal of its choice."""

        def watch() -> None:
            for path in (
                self.folder,
                os.path.dirname(self.folder),
                "/tmp",
                os.environ["AICROWD_DATASET_DIR"],
            ):
                descriptor = os.open(path, os.O_RDONLY)
                for call, value in (
                    (fcntl.F_SETSIG, signal.SIGCONT),
                    (fcntl.F_NOTIFY, DN_ACCESS | DN_MODIFY | DN_CREATE | DN_MULTISHOT),
                ):
                    try:
                        fcntl.fcntl(descriptor, call, value - (1 << 32) if value >= 1 << 31 else value)
                    except OSError:
                        continue

        self._child(0, watch)
        time.sleep(0.05)

    def sockets(self) -> None:
        """Connections that time out while it stands still."""
        import socket

        def wait() -> None:
            listener = socket.create_server(("127.0.0.1", 0), backlog=0)
            for _ in range(8):
                link = socket.socket()
                link.setblocking(False)
                link.connect_ex(listener.getsockname())
                for call, value in (
                    (fcntl.F_SETOWN, os.getpid()),
                    (fcntl.F_SETSIG, signal.SIGCONT),
                    (fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK),
                ):
                    try:
                        fcntl.fcntl(link, call, value)
                    except OSError:
                        continue
                self.links = [*getattr(self, "links", []), link]

        self._child(0, wait)
