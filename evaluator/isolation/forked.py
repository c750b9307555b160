"""The steps of a forked child on its way to being a worker: limits, then no rights, then another program.

Used by the supervisor's children only. Standard library only.
"""

import os
import signal
import sys
import traceback
from collections.abc import Sequence

from evaluator.isolation import namespaces, seccomp
from evaluator.isolation.worker_spec import Pipes, WorkerSpec

MOST_FILES = 1 << 16  # open at a time in one process


def limit(spec: WorkerSpec, join_files: Sequence[int], pipes: Pipes) -> None:
    """In the forked child, while we still may: streams, control group, cores, limits of the process."""
    import resource  # not there on Windows, where this function is never reached

    os.setsid()
    os.dup2(pipes.requests, 0)
    os.dup2(pipes.events, 1)
    for file in join_files:
        os.write(file, b"0")
    if spec.cpus is not None:
        os.sched_setaffinity(0, spec.cpus)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for kind, most in ((resource.RLIMIT_NOFILE, MOST_FILES), (resource.RLIMIT_NPROC, spec.max_processes)):
        soft, hard = resource.getrlimit(kind)
        hard = most if hard == resource.RLIM_INFINITY else min(hard, most)
        resource.setrlimit(kind, (hard if soft == resource.RLIM_INFINITY else min(soft, hard), hard))


def give_up_rights() -> None:
    """In the forked child: no capabilities, and no system calls that a submission has no use for."""
    namespaces.drop_privileges()
    if seccomp.is_known_machine():
        seccomp.install()


def become_worker(spec: WorkerSpec, mixtures: str, shared: str, scratch: str) -> None:
    """The last steps in the forked child, after rights were given up; does not return."""
    namespaces.die_with_parent()  # after the change of credentials, which clears it
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    os.chdir(spec.folder)
    command, environment = spec.command_for(mixtures, shared, scratch)
    os.closerange(3, MOST_FILES)  # an open folder or socket of ours would be a way out
    os.execve(command[0], command, environment)


def exit_after(error: BaseException | None = None) -> None:
    """End a forked child without running the parent's exit handlers or flushing its buffers twice."""
    if error is not None:
        traceback.print_exception(error)
        sys.stderr.flush()
    os._exit(127 if error is not None else 0)
