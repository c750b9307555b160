"""Promise 8: it has the time of --cpus cores, whatever it does to its affinity, its priority, or its number of processes.

Where no control group can be had, the run says so.
"""

import os
import time

from my_submission.attack import Model, breach, tried

OPTIONS = ["--cpus", "1"]
UNLESS = {"cpu_quota": [True]}
SECONDS = 1.0


class MySeparationModel(Model):
    def attack(self) -> None:
        """Two processes, each for one core more than there should be."""
        ends = []
        for number in range(4):
            read, write = os.pipe()
            tried()
            if os.fork() == 0:
                for cores in (range(os.cpu_count() or 1), {number % (os.cpu_count() or 1)}):
                    try:
                        os.sched_setaffinity(0, set(cores))
                    except OSError:
                        continue
                end = time.monotonic() + SECONDS
                while time.monotonic() < end:
                    pass
                os.write(write, f"{time.process_time()}".encode())
                os._exit(0)
            ends.append(read)
        used = sum(float(os.read(read, 100)) for read in ends)
        if used > 1.3 * SECONDS:
            breach(f"computed {used:.2f} s in {SECONDS:.2f} s with one core")
