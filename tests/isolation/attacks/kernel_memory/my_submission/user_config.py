"""Promise 7: memory that the kernel keeps for it is part of the cap: buffers of pipes and sockets, file systems.

Only where a control group holds the cap, as the run says; elsewhere small limits of the kernel's are all there is.
"""

import fcntl
import os
import socket
import time

from my_submission.attack import Model, breach, say_tried, syscall, tried

OPTIONS = ["--memory", "200m", "--scratch", "4g", "--time-factor", "40"]
UNLESS = {"memory": ["cgroup v1", "cgroup v2", "container"]}
EXPECTED = {
    "sockets": ("ok", "out_of_memory", "crashed", "timeout"),
    "pipes": ("ok", "out_of_memory", "crashed"),
    "files_without_names": ("ok", "out_of_memory", "crashed"),
    "files_that_are_gone": ("ok", "out_of_memory", "out_of_disk", "crashed"),
    "small_files": ("ok", "out_of_memory", "out_of_disk", "crashed"),
}
MOST_BYTES = 500 << 20


class MySeparationModel(Model):
    def _hold(self, take, each: int) -> None:  # type: ignore[no-untyped-def]
        tried()
        say_tried()
        held, total = [], 0
        try:
            while total < MOST_BYTES:
                held.append(take())
                total += each
        except OSError:
            return
        breach(f"{self.way}: held {total >> 20} MiB of 200")

    def sockets(self) -> None:
        def take() -> object:
            one, other = socket.socketpair()
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            one.setblocking(False)
            try:
                while True:
                    one.send(b"x" * 65536)
            except BlockingIOError:
                return one, other

        self._hold(take, 200_000)

    def pipes(self) -> None:
        def take() -> object:
            read, write = os.pipe()
            fcntl.fcntl(write, 1031, 1 << 20)
            os.write(write, b"x" * (1 << 20))
            return read, write

        self._hold(take, 1 << 20)

    def files_without_names(self) -> None:
        def take() -> object:
            descriptor = syscall("memfd_create", b"evil\0", 0)
            os.write(descriptor, b"x" * (8 << 20))
            return descriptor

        self._hold(take, 8 << 20)

    def files_that_are_gone(self) -> None:
        def take() -> object:
            descriptor = os.open("/tmp/gone", os.O_CREAT | os.O_RDWR)
            os.unlink("/tmp/gone")
            os.write(descriptor, b"x" * (8 << 20))
            return descriptor

        self._hold(take, 8 << 20)

    def small_files(self) -> None:
        """An inode is a kilobyte of the kernel's, whatever is in it."""
        end = time.monotonic() + 8
        number = 0

        def take() -> None:
            nonlocal number
            number += 1
            os.close(os.open(f"/tmp/{number}", os.O_CREAT))
            if time.monotonic() > end:
                raise OSError

        self._hold(take, 1024)
