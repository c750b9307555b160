"""Promise 11: a submission that is gone when the next track comes fails nothing but itself.

It says that a track is done and ends at once; is ended while it stands still, by a timer of the kernel's; or takes
init along. The evaluation goes on with the next track.
"""

import ctypes
import os
import signal
import threading
import time

from my_submission.attack import Model, forge, syscall, tried

EXPECTED = {
    "says_done_and_exits": ("ok", "crashed"),
    "exits_in_a_thread": ("ok", "crashed"),
    "killed_by_a_timer_10": ("ok", "crashed"),
    "killed_by_a_timer_20": ("ok", "crashed"),
    "killed_by_a_timer_50": ("ok", "crashed"),
    "killed_by_a_timer_100": ("ok", "crashed"),
    "killed_by_a_timer_200": ("ok", "crashed"),
    "killed_by_an_interval_timer": ("ok", "crashed"),
    "limits_of_init": ("ok", "crashed"),
    "no_descriptors_for_init": ("ok", "crashed"),
    "closes_its_streams": ("ok", "crashed"),
    "signals_to_init": ("ok", "crashed"),
    "raises": "crashed",
}
SLOWLY = True
OPTIONS = ["--time-factor", "8"]


class MySeparationModel(Model):
    def says_done_and_exits(self) -> None:
        tried()
        self.write_honestly()
        forge(self.done())
        os._exit(0)

    def exits_in_a_thread(self) -> None:
        tried()

        def end() -> None:
            while not os.path.exists(f"{self.folder}/vocals.wav"):
                time.sleep(0)
            time.sleep(0.001)
            os._exit(3)

        threading.Thread(target=end, daemon=True).start()

    def __getattr__(self, name: str) -> object:
        if name.startswith("killed_by_a_timer_"):
            return lambda: self._timer(signal.SIGKILL, int(name.rpartition("_")[2]) / 1000)
        raise AttributeError(name)

    def raises(self) -> None:
        """So that the track that follows is begun by a new one."""
        tried()
        raise RuntimeError

    def killed_by_an_interval_timer(self) -> None:
        tried()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 0.02)

    def limits_of_init(self) -> None:
        """An ordinary user's submission has the user of its init, whose limits it may set."""
        import resource

        for kind, most in (
            (resource.RLIMIT_CPU, 0),
            (resource.RLIMIT_AS, 1 << 20),
            (resource.RLIMIT_DATA, 1 << 20),
        ):
            tried()
            try:
                resource.prlimit(1, kind, (most, most))
            except OSError:
                continue

    def no_descriptors_for_init(self) -> None:
        import resource

        for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC):
            tried()
            try:
                resource.prlimit(1, kind, (0, 0))
            except OSError:
                continue

    def closes_its_streams(self) -> None:
        tried()
        os.closerange(3, 1000)

    def signals_to_init(self) -> None:
        for number in range(1, 65):
            tried()
            try:
                os.kill(1, number)
            except OSError:
                continue

    @staticmethod
    def _timer(number: int, seconds: float) -> None:
        tried()
        event = (ctypes.c_uint32 * 16)(0, 0, number, 0)  # SIGEV_SIGNAL
        timer = ctypes.c_int(0)
        try:
            syscall("timer_create", 1, event, (ctypes.c_int * 1).from_buffer(timer))
            times = (ctypes.c_long * 4)(0, 0, int(seconds), int(seconds % 1 * 1e9))
            syscall("timer_settime", timer.value, 0, times, 0)
        except OSError:
            return
