"""Promise 10: nothing of it is left, however it ends, and nobody waits for it.

Processes in sessions of their own, deaf to signals, holding every stream open, forking on and on, waiting for a
child that cannot be waited for, stopping itself, stuck in vfork, ignoring SIGTERM until it is late.
"""

import os
import signal
import subprocess
import sys
import threading
import time

from my_submission.attack import LIBC, Model, daemon, say_tried, tried

OPTIONS = ["--time-factor", "6"]
SYSTEMS = ["root", "user", "bare", "docker"]
EXPECTED = {
    "daemons_stay": "ok",
    "daemons_and_exit": "crashed",
    "deaf_and_late": "timeout",
    "stops_itself": "timeout",
    "stops_its_group": "timeout",
    "forks_on": ("ok", "crashed", "timeout"),
    "vfork": ("ok", "crashed"),
    "late_in_threads": "timeout",
    "aborts": "crashed",
    "overflows_the_stack": "crashed",
    "other_programs": "ok",
    "exits_after_a_daemon_has_its_streams": "crashed",
    "ends_the_interpreter": "crashed",
}


def _forever() -> None:
    while True:
        time.sleep(3600)


class MySeparationModel(Model):
    def daemons_stay(self) -> None:
        for _ in range(5):
            tried()
            daemon(_forever)

    def daemons_and_exit(self) -> None:
        self.daemons_stay()
        say_tried()
        os._exit(7)

    def deaf_and_late(self) -> None:
        tried()
        for number in range(1, 65):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                continue
        say_tried()
        _forever()

    def stops_itself(self) -> None:
        tried()
        say_tried()
        os.kill(os.getpid(), signal.SIGSTOP)
        _forever()

    def stops_its_group(self) -> None:
        tried()
        say_tried()
        os.killpg(0, signal.SIGSTOP)
        _forever()

    def forks_on(self) -> None:
        """A chain of processes, each of which starts the next in a session of its own, and ends."""
        tried()

        def go_on() -> None:
            end = time.monotonic() + 60
            while time.monotonic() < end:
                if os.fork() != 0:
                    os._exit(0)
                os.setsid()

        for _ in range(2):
            daemon(go_on)

    def vfork(self) -> None:
        """Its parent waits, uninterruptible, for a child that does nothing."""
        tried()

        def wait() -> None:
            subprocess.run(["/bin/sh", "-c", "sleep 3600"], check=False)

        read_end, write_end = os.pipe()

        def stuck() -> None:
            if LIBC.vfork() == 0:
                os.write(write_end, b"!")
                LIBC.pause()

        for action in (wait, stuck):
            child = os.fork()
            if child == 0:
                action()
                os._exit(0)
        os.read(read_end, 1)  # else it would be the next track that cannot be stopped

    def late_in_threads(self) -> None:
        for _ in range(50):
            tried()
            threading.Thread(target=_forever).start()
        say_tried()
        _forever()

    def aborts(self) -> None:
        tried()
        say_tried()
        os.abort()

    def overflows_the_stack(self) -> None:
        tried()
        say_tried()
        sys.setrecursionlimit(1 << 30)

        def deeper(function):  # type: ignore[no-untyped-def]
            return sorted([1, 2], key=lambda _: function(function))

        deeper(deeper)

    def other_programs(self) -> None:
        for program in (["sleep", "3600"], ["sh", "-c", "trap '' TERM HUP INT; while :; do sleep 1; done"]):
            tried()
            subprocess.Popen(program, start_new_session=True, stdin=subprocess.DEVNULL)

    def exits_after_a_daemon_has_its_streams(self) -> None:
        tried()
        say_tried()
        if os.fork() == 0:
            os.setsid()
            _forever()
        os._exit(0)

    def ends_the_interpreter(self) -> None:
        tried()
        say_tried()
        raise SystemExit(0)
