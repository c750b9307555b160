"""Promises 7 and 10: processes, threads and descriptors have limits, and whatever it starts ends with it."""

import os
import resource
import socket
import threading
import time

from my_submission.attack import Model, breach, say_tried, tried

OPTIONS = ["--memory", "1g", "--time-factor", "8"]
MOST = 4200
EXPECTED = {
    "children": ("ok", "crashed", "timeout", "out_of_memory"),
    "children_of_children": ("ok", "crashed", "timeout", "out_of_memory"),
    "threads": ("ok", "crashed", "timeout", "out_of_memory"),
    "descriptors": ("ok", "crashed"),
    "descriptors_in_flight": ("ok", "crashed"),
}


class MySeparationModel(Model):
    def children(self) -> None:
        say_tried()
        for number in range(MOST + 200):
            tried()
            try:
                if os.fork() == 0:
                    _wait()
            except OSError:
                return
            if number > MOST:
                breach(f"{number} children")

    def children_of_children(self) -> None:
        """Twice as many in each generation, none of which waits for the last."""
        tried()
        say_tried()
        end = time.monotonic() + 2
        while time.monotonic() < end:
            try:
                os.fork()
            except OSError:
                break
        if os.getppid() != 1:
            _wait()

    def threads(self) -> None:
        threading.stack_size(65536)
        for _ in range(MOST):
            tried()
            try:
                threading.Thread(target=_wait, daemon=True).start()
            except RuntimeError:
                return

    def descriptors(self) -> None:
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        for number in range(1 << 17):
            tried()
            try:
                os.open("/dev/null", os.O_RDONLY)
            except OSError:
                return
            if number > most:
                breach(f"{number} descriptors")
                return

    def descriptors_in_flight(self) -> None:
        """Descriptors that are on their way through a socket belong to no process."""
        one, other = socket.socketpair()
        folder = os.open("/", os.O_RDONLY)
        for _ in range(100_000):
            tried()
            try:
                socket.send_fds(one, [b"!"], [folder] * 200)
                one.setblocking(False)
            except OSError:
                break
        other.close()


def _wait() -> None:
    while True:
        time.sleep(3600)
