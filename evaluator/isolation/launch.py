"""Start a worker so that it and everything it starts can be ended, in one of three ways.

`NamespacedWorker` (Linux, namespaces): the worker's init process takes every descendant along when it dies.
`SubreaperWorker` (Linux, no namespaces): descendants that lose their parent become children of the supervisor.
`PortableWorker` (other systems): the process group, and the descendants seen so far.

Used by the supervisor only, which has one thread when it launches. Standard library only.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from evaluator.isolation import namespaces, process_tree

KILL_SECONDS = 5.0
EVERY_OTHER = -1  # to kill(2): all processes of this namespace but the first


@dataclass(frozen=True)
class WorkerSpec:
    """What to run and what to withhold from it; travels from the evaluator to its supervisor as JSON."""

    command: Sequence[str]
    environment: dict[str, str]
    folder: str
    cpus: Sequence[int] | None  # the cores it may use; None for all
    memory_bytes: int | None
    max_processes: int
    hidden: Sequence[str]  # files and folders that must look empty
    read_only: Sequence[str]
    writable: Sequence[str]  # exceptions below read_only
    without: Sequence[str]  # facilities not to use though they are there: "namespaces", "cgroup", "subreaper"


class Worker(Protocol):
    """A running worker. `poll` gives its exit status as os.waitstatus_to_exitcode has it, or None."""

    stdin: int

    def poll(self) -> int | None: ...
    def terminate(self) -> None:
        """SIGTERM to the worker and its descendants."""

    def kill(self) -> None:
        """SIGKILL to the worker and its descendants, until none is left."""

    def tree(self) -> set[int]:
        """Process ids of the worker and its descendants."""


class LaunchError(Exception):
    """The worker could not be started; the message says at which step."""


def launch(spec: WorkerSpec, facilities: namespaces.Facilities, join_files: Sequence[int]) -> Worker:
    """Start `spec` in the safest way there is; `join_files` are open files of the control group to enter."""
    if facilities.processes:
        return NamespacedWorker(spec, facilities, join_files)
    if sys.platform.startswith("linux") and "subreaper" not in spec.without:
        return SubreaperWorker(spec, facilities, join_files)
    return PortableWorker(spec)


def _become_worker(spec: WorkerSpec, stdin: int, join_files: Sequence[int]) -> None:
    """The last steps in the forked child, in this order; does not return.

    The control group is entered and the cores are set while we still may; then the privileges go, and with them
    the way back. `die_with_parent` comes after that, since a change of credentials may clear it.
    """
    import resource  # not there on Windows, where this function is never reached

    os.setsid()
    os.dup2(stdin, 0)
    for file in join_files:
        os.write(file, b"0")
    if spec.cpus is not None:
        os.sched_setaffinity(0, spec.cpus)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    namespaces.drop_privileges()
    namespaces.die_with_parent()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    os.chdir(spec.folder)
    os.execve(spec.command[0], list(spec.command), spec.environment)


def _exit_after(error: BaseException | None = None) -> None:
    """End a forked child without running the parent's exit handlers or flushing its buffers twice."""
    if error is not None:
        traceback.print_exception(error)
        sys.stderr.flush()
    os._exit(127 if error is not None else 0)


class NamespacedWorker:
    """A worker below its own init process, which no descendant can outlive.

    unshare(CLONE_NEWPID) puts the children of a process into the new namespace, not the process itself. So one
    process enters, forks init, and ends; init then becomes a child of the supervisor, which is its subreaper. The
    supervisor stays outside: after unshare it could start no thread any more.
    """

    def __init__(
        self, spec: WorkerSpec, facilities: namespaces.Facilities, join_files: Sequence[int]
    ) -> None:
        namespaces.prctl(namespaces.PR_SET_CHILD_SUBREAPER, 1)
        read_end, self.stdin = os.pipe()
        self._report, report_end = os.pipe()
        go_read, go_write = os.pipe()
        self._status: int | None = None
        entering = os.fork()
        if entering == 0:
            try:
                for descriptor in (self.stdin, self._report, go_write):
                    os.close(descriptor)
                namespaces.unshare(
                    (namespaces.CLONE_NEWUSER if facilities.users else 0) | namespaces.CLONE_NEWPID
                )
                init = os.fork()
                if init != 0:
                    os.write(report_end, f"{init}".encode())
                elif os.read(go_read, 1):  # nothing comes if the supervisor has died in the meantime
                    self._run_init(spec, facilities.network, read_end, report_end, join_files)
            except BaseException as error:
                os.write(report_end, f"{type(error).__name__}: {error}".encode())
                _exit_after(error)
            _exit_after()
        for descriptor in (read_end, report_end, go_read):
            os.close(descriptor)
        os.waitpid(entering, 0)
        answer = os.read(self._report, 4096).decode()
        if not answer.isdigit():
            raise LaunchError(f"the worker's namespaces could not be entered: {answer}")
        self._init = int(answer)
        # Init asks to die with its parent; it must not do so before the entering process, its first one, is gone.
        os.write(go_write, b"!")
        os.close(go_write)
        answer = os.read(self._report, 4096).decode()
        if answer != "started":
            os.waitpid(self._init, 0)
            raise LaunchError(f"the worker's mounts could not be laid out: {answer}")

    @staticmethod
    def _run_init(
        spec: WorkerSpec, network: bool, stdin: int, report: int, join_files: Sequence[int]
    ) -> None:
        """Be process 1 of the namespace: lay out mounts, start the worker, reap orphans, report, end."""
        namespaces.die_with_parent()
        if network:
            namespaces.unshare(namespaces.CLONE_NEWNET)
            namespaces.raise_loopback()
        namespaces.unshare(namespaces.CLONE_NEWNS)  # in here: /proc must be that of the new process namespace
        namespaces.arrange_mounts(spec.hidden, spec.read_only, spec.writable)
        worker = os.fork()
        if worker == 0:
            try:
                _become_worker(spec, stdin, join_files)
            except BaseException as error:
                _exit_after(error)
        signal.signal(signal.SIGTERM, lambda number, frame: _signal_all({EVERY_OTHER}, signal.SIGTERM))
        os.write(report, b"started")
        # Else the pipes would not end with the worker.
        for descriptor in (0, 1, 2, stdin, *join_files):
            os.close(descriptor)
        while True:
            pid, status = os.wait()
            if pid == worker:
                os.write(report, str(os.waitstatus_to_exitcode(status)).encode())
                return

    def poll(self) -> int | None:
        if self._status is None and os.waitpid(self._init, os.WNOHANG)[0] != 0:
            self._reap_init()
        return self._status

    def _reap_init(self) -> None:
        """The init process has been waited for; what it reported, if anything, is how the worker ended."""
        report = os.read(self._report, 4096).decode()
        self._status = int(report) if report else -signal.SIGKILL

    def terminate(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._init, signal.SIGTERM)

    def kill(self) -> None:
        if self._status is None:
            os.kill(self._init, signal.SIGKILL)
            os.waitpid(self._init, 0)  # returns when the kernel has ended every process of the namespace
            self._reap_init()

    def tree(self) -> set[int]:
        return process_tree.descendants(self._init)


class SubreaperWorker:
    """A worker whose orphaned descendants become the supervisor's children, whatever session they are in."""

    def __init__(
        self, spec: WorkerSpec, facilities: namespaces.Facilities, join_files: Sequence[int]
    ) -> None:
        namespaces.prctl(namespaces.PR_SET_CHILD_SUBREAPER, 1)
        read_end, self.stdin = os.pipe()
        self._status: int | None = None
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(self.stdin)
                if facilities.network:
                    users = namespaces.CLONE_NEWUSER if facilities.users else 0
                    namespaces.unshare(users | namespaces.CLONE_NEWNET)
                    namespaces.raise_loopback()
                _become_worker(spec, read_end, join_files)
            except BaseException as error:
                _exit_after(error)
        os.close(read_end)

    def poll(self) -> int | None:
        self._reap()
        return self._status

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0] != 0:
                if ended[0] == self._pid:
                    self._status = os.waitstatus_to_exitcode(ended[1])

    def terminate(self) -> None:
        _signal_all(self.tree(), signal.SIGTERM)

    def kill(self) -> None:
        deadline = time.monotonic() + KILL_SECONDS
        while (pids := self.tree()) and time.monotonic() < deadline:
            _signal_all(pids, signal.SIGSTOP)  # so that none starts another while the others die
            _signal_all(self.tree(), signal.SIGKILL)
            self._reap()
            time.sleep(0.005)
        self._reap()

    def tree(self) -> set[int]:
        return process_tree.descendants(os.getpid())


class PortableWorker:
    """A worker on a system without subreapers: its process group, and the descendants seen in time."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._process = subprocess.Popen(
            list(spec.command),
            stdin=subprocess.PIPE,
            env=spec.environment,
            cwd=spec.folder,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        self.stdin = self._process.stdin.fileno()
        self._seen: dict[int, str] = {}

    def poll(self) -> int | None:
        return self._process.poll()

    def terminate(self) -> None:
        if sys.platform == "win32":
            self._process.terminate()
        else:
            _signal_all(self.tree(), signal.SIGTERM)

    def kill(self) -> None:
        if sys.platform == "win32":
            subprocess.run(
                ["taskkill", "/F", "/T", "/PID", str(self._process.pid)], capture_output=True, check=False
            )
        else:
            self.tree()
            alive = process_tree.start_times()
            pids = {pid for pid, started in self._seen.items() if alive.get(pid) == started}
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            _signal_all(pids, signal.SIGKILL)
        self._process.wait()

    def tree(self) -> set[int]:
        """The worker and its descendants that are alive now; remembered, since they may lose their parents."""
        if self._process.returncode is not None:
            return set()
        alive = {self._process.pid} | process_tree.descendants(self._process.pid)
        started = process_tree.start_times()
        self._seen |= {pid: started[pid] for pid in alive if pid in started}
        return alive


def _signal_all(pids: set[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
