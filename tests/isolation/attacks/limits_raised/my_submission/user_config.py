"""Promises 5, 7 and 8: limits of the process cannot be raised, nor its weight among others.

Resource limits, niceness, real-time scheduling, memory that cannot be swapped or killed for.
"""

import os
import resource

from my_submission.attack import LIBC, Model, attempt, syscall, write


class MySeparationModel(Model):
    def attack(self) -> None:
        for name in dir(resource):
            if name.startswith("RLIMIT_"):
                kind = getattr(resource, name)
                _, hard = resource.getrlimit(kind)
                if hard != resource.RLIM_INFINITY:
                    attempt(
                        f"raise {name}",
                        lambda of=kind, to=hard + 1: resource.setrlimit(of, (to, to)) or "raised",
                    )
        attempt("files", lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[1] > 1 << 20)
        attempt("processes", lambda: resource.getrlimit(resource.RLIMIT_NPROC)[1] > 1 << 16)
        for niceness in (-1, -20):
            attempt(f"nice {niceness}", lambda to=niceness: os.setpriority(os.PRIO_PROCESS, 0, to) or "nicer")
        for policy in (os.SCHED_FIFO, os.SCHED_RR):
            attempt(
                f"policy {policy}", lambda to=policy: os.sched_setscheduler(0, to, os.sched_param(1)) or "set"
            )
        for value in ("-1", "-500", "-1000"):
            attempt(f"oom_score_adj {value}", lambda to=value: write("/proc/self/oom_score_adj", to))
        attempt("oom_score_adj of init", lambda: write("/proc/1/oom_score_adj", "1000"))
        attempt("real-time input and output", lambda: syscall("ioprio_set", 1, 0, 1 << 13) == 0)
        attempt("the memory nodes of init", lambda: syscall("migrate_pages", 1, 64, 0, 0) == 0)
        attempt("all memory locked", lambda: LIBC.mlockall(3) == 0 and LIBC.munlockall())
