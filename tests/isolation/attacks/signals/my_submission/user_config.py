"""Promises 5 and 10: signals reach nobody but its own processes.

To everybody, to every group, to every number: the evaluator, its supervisor and the harness, whose children would
show it.
"""

import os
import signal

from my_submission.attack import Model, in_child, syscall, tried

EXPECTED = {
    "to_its_parent": ("ok", "crashed"),
    "to_everybody": ("ok", "crashed"),
    "to_numbers": ("ok", "crashed"),
    "to_groups": ("ok", "crashed"),
}


class MySeparationModel(Model):
    def to_its_parent(self) -> None:
        for number in (
            signal.SIGKILL,
            signal.SIGTERM,
            signal.SIGINT,
            signal.SIGHUP,
            signal.SIGSTOP,
            signal.SIGSEGV,
        ):
            for pid in (os.getppid(), 1):
                tried()
                try:
                    os.kill(pid, number)
                except OSError:
                    continue

    def to_everybody(self) -> None:
        tried(3)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP):
            in_child(lambda of=number: os.kill(-1, signal.SIGCONT if of == signal.SIGSTOP else of) and None)

    def to_numbers(self) -> None:
        own = {os.getpid()}
        for pid in (*range(1, 200), *range(500, 40000, 7)):
            if pid not in own:
                tried()
                for call in (self._kill, self._handle):
                    try:
                        call(pid)
                    except OSError:
                        continue

    def to_groups(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for group in range(5000):
            tried()
            try:
                os.killpg(group, signal.SIGTERM)
            except OSError:
                continue

    @staticmethod
    def _kill(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)

    @staticmethod
    def _handle(pid: int) -> None:
        handle = syscall("pidfd_open", pid, 0)
        try:
            syscall("pidfd_send_signal", handle, signal.SIGKILL, 0, 0)
        finally:
            os.close(handle)
