"""Promise 7: memory has a cap, whatever it is made of.

Its own, that of children, shared mappings, files in /dev/shm and /tmp and without a name, System V segments,
stacks, locked pages.
"""

import ctypes
import mmap
import os
import time

from my_submission.attack import LIBC, Model, breach, say_tried, syscall, tried

CONTAINED = ["children", "shared_memory_file", "files_without_names"]
OPTIONS = ["--memory", "200m", "--scratch", "4g", "--time-factor", "40"]
MOST_BYTES = 600 << 20  # got hold of all at once, which is far beyond the cap
EXPECTED = {
    "own": "out_of_memory",
    "children": "out_of_memory",
    "shared_mapping": "out_of_memory",
    "shared_memory_file": "out_of_memory",
    "temporary_file": "out_of_memory",
    "files_without_names": "out_of_memory",
    "system_v": "out_of_memory",
    "kept_in_a_child": "out_of_memory",
    "spread_over_many": "out_of_memory",
    "locked": "out_of_memory",
    "raised_and_dropped": ("ok", "out_of_memory"),
    "stack_of_threads": "out_of_memory",
    "first_the_least_valued": "out_of_memory",
}
BLOCK = 16 << 20


class MySeparationModel(Model):
    def _hold(self, take) -> None:  # type: ignore[no-untyped-def]
        """Take block after block, and stay; a breach, if it can have much more than the cap."""
        tried()
        say_tried()
        held, total = [], 0
        while total < MOST_BYTES:
            held.append(take(BLOCK))
            total += BLOCK
            time.sleep(0.01)  # for whoever watches
        time.sleep(1.0)
        breach(f"{self.way}: held {total >> 20} MiB of 200")
        time.sleep(3600)

    def own(self) -> None:
        self._hold(lambda size: b"x" * size)

    def children(self) -> None:
        def child(size: int) -> int:
            read, write = os.pipe()
            pid = os.fork()
            if pid == 0:
                kept = b"x" * size
                os.write(write, b"!")
                time.sleep(3600)
                del kept
            os.read(read, 1)
            return pid

        self._hold(child)

    def shared_mapping(self) -> None:
        def take(size: int) -> object:
            mapping = mmap.mmap(-1, size)
            mapping.write(b"x" * size)
            return mapping

        self._hold(take)

    def shared_memory_file(self) -> None:
        self._hold(lambda size: self._file("/dev/shm/evil", size))

    def temporary_file(self) -> None:
        self._hold(lambda size: self._file("/tmp/evil", size))

    @staticmethod
    def _file(path: str, size: int) -> None:
        with open(path, "ab") as file:
            file.write(b"x" * size)

    def files_without_names(self) -> None:
        def take(size: int) -> int:
            descriptor = syscall("memfd_create", b"evil\0", 0)
            mapping = (
                mmap.mmap(descriptor, 0) if os.ftruncate(descriptor, size) else mmap.mmap(descriptor, size)
            )
            mapping.write(b"x" * size)
            self.kept = [*getattr(self, "kept", []), mapping]
            return descriptor

        self._hold(take)

    def system_v(self) -> None:
        def take(size: int) -> int:
            segment = syscall("shmget", 0, size, 0o600)
            LIBC.shmat.restype = ctypes.c_void_p
            address = LIBC.shmat(segment, None, 0)
            ctypes.memset(address, 1, size)
            return segment

        self._hold(take)

    def kept_in_a_child(self) -> None:
        """The parent has little; the child holds it, in another session, and its own parent has gone."""
        tried()
        say_tried()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                self._hold(lambda size: b"x" * size)
            os._exit(0)
        time.sleep(3600)

    def spread_over_many(self) -> None:
        def take(size: int) -> None:
            for _ in range(size >> 22):
                if os.fork() == 0:
                    kept = b"x" * (1 << 22)
                    time.sleep(3600)
                    del kept

        self._hold(take)

    def locked(self) -> None:
        def take(size: int) -> bytes:
            LIBC.mlockall(3)
            return b"x" * size

        self._hold(take)

    def raised_and_dropped(self) -> None:
        """Much at once, and gone again at once: what only watches may miss it, what caps does not."""
        for _ in range(5):
            tried()
            kept = b"x" * (100 << 20)
            del kept

    def stack_of_threads(self) -> None:
        import threading

        threading.stack_size(16 << 20)

        def deep(size: int) -> None:
            buffer = (ctypes.c_char * size)()
            ctypes.memset(buffer, 1, size)
            self.kept = [*getattr(self, "kept", []), buffer]
            time.sleep(3600)

        self._hold(lambda size: threading.Thread(target=deep, args=(size,), daemon=True).start())

    def first_the_least_valued(self) -> None:
        """A child asks to be ended first, so that the others may stay: all of them go."""
        if os.fork() == 0:
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write("1000")
            time.sleep(3600)
        self._hold(lambda size: b"x" * size)
