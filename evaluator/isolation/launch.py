"""Start a worker so that it and everything it starts can be stopped and ended, in one of three ways.

`NamespacedWorker` (Linux, namespaces): lives in a root of its own, below an init process that takes every descendant
along when it dies.
`SubreaperWorker` (Linux, no namespaces): descendants that lose their parent become children of the supervisor.
`PortableWorker` (other systems): the process group, and the descendants seen so far.

Used by the supervisor only, which has one thread when it launches. Standard library only.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from evaluator.isolation import folders, namespaces, process_tree, root, seccomp
from evaluator.isolation.view import View

KILL_SECONDS = 5.0
ANSWER_SECONDS = 10.0  # of the init process
EVERY_OTHER = -1  # to kill(2): all processes of this namespace but the first
MOST_FILES = 1 << 16  # open at a time in one process
MESSAGE_BYTES = 1 << 16
# In the command and the environment of a worker, for what it is known by where it runs.
MIXTURES, SHARED, SCRATCH = "<mixtures>", "<shared>", "<scratch>"
PREDICTIONS = f"{SHARED}/predictions"


@dataclass(frozen=True)
class WorkerSpec:
    """What to run and what it may use; travels from the evaluator to its supervisor as JSON.

    command, environment: with MIXTURES, SHARED and SCRATCH in place of folders.
    mixtures, shared, scratch: these folders where the worker has no root of its own; shared holds "predictions".
    temporary: the folder above them that is removed at the end; None if they are somebody else's.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    view: View
    mixtures: str
    shared: str
    scratch: str
    temporary: str | None
    cpus: Sequence[int] | None  # the cores it may use; None for all
    cpu_quota: int | None  # how many cores' time it may use in sum
    memory_bytes: int | None
    scratch_bytes: int | None  # of temporary files and shared memory
    max_processes: int
    without: Sequence[
        str
    ] = ()  # facilities not to use though they are there: "namespaces", "cgroup", "subreaper"

    @classmethod
    def from_json(cls, line: bytes) -> "WorkerSpec":
        """The specification that the evaluator sent."""
        fields = json.loads(line)
        return cls(**{**fields, "view": View(**fields["view"])})

    def command_for(self, mixtures: str, shared: str, scratch: str) -> tuple[list[str], dict[str, str]]:
        """Command and environment with these folders."""

        def filled(text: str) -> str:
            for token, path in ((MIXTURES, mixtures), (SHARED, shared), (SCRATCH, scratch)):
                text = text.replace(token, path)
            return text

        environment = {name: filled(value) for name, value in self.environment.items()}
        return [filled(word) for word in self.command], environment


@dataclass(frozen=True)
class Pipes:
    """The worker's ends: its requests, and its events. What it prints goes to our standard error."""

    requests: int
    events: int


@dataclass(frozen=True)
class Written:
    """Bytes of files that a worker has written; in_memory: of those that count as its memory. full: no more fit."""

    on_disk: int = 0
    in_memory: int = 0
    full: bool = False


class Worker(Protocol):
    """A running worker. `poll` gives its exit status as os.waitstatus_to_exitcode has it, or None."""

    def poll(self) -> int | None: ...
    def terminate(self) -> None:
        """SIGTERM to the worker and its descendants, which are thawed for it."""

    def kill(self) -> None:
        """SIGKILL to the worker and its descendants, until none is left."""

    def freeze(self) -> bool:
        """Stop the worker and its descendants, and say whether all of them stand still."""

    def thaw(self) -> None:
        """Let them go on."""

    def make_room(self, predictions_bytes: int, entries: int) -> root.Room | None:
        """Fresh folders for a track; None where they are those of the specification's workplace."""

    def tree(self) -> set[int]:
        """Process ids of the worker and its descendants."""

    def written(self) -> Written:
        """What lies on its disks."""


class LaunchError(Exception):
    """The worker could not be started; the message says at which step."""


def launch(
    spec: WorkerSpec, facilities: namespaces.Facilities, join_files: Sequence[int], pipes: Pipes
) -> Worker:
    """Start `spec` in the safest way there is; `join_files` are open files of the control group to enter."""
    if facilities.own_root:
        return NamespacedWorker(spec, facilities, join_files, pipes)
    if sys.platform.startswith("linux") and "subreaper" not in spec.without:
        return SubreaperWorker(spec, join_files, pipes)
    return PortableWorker(spec, pipes)


def _become_worker(spec: WorkerSpec, mixtures: str, shared: str, scratch: str) -> None:
    """The last steps in the forked child, after rights were given up; does not return."""
    namespaces.die_with_parent()  # after the change of credentials, which clears it
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    os.chdir(spec.folder)
    command, environment = spec.command_for(mixtures, shared, scratch)
    os.closerange(3, MOST_FILES)  # an open folder or socket of ours would be a way out
    os.execve(command[0], command, environment)


def _limit(spec: WorkerSpec, join_files: Sequence[int], pipes: Pipes) -> None:
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


def _give_up_rights() -> None:
    """In the forked child: no capabilities, and no system calls that a submission has no use for."""
    namespaces.drop_privileges()
    if seccomp.is_known_machine():
        seccomp.install()


def _exit_after(error: BaseException | None = None) -> None:
    """End a forked child without running the parent's exit handlers or flushing its buffers twice."""
    if error is not None:
        traceback.print_exception(error)
        sys.stderr.flush()
    os._exit(127 if error is not None else 0)


class NamespacedWorker:
    """A worker in a root of its own, below its own init process, which no descendant can outlive.

    unshare(CLONE_NEWPID) puts the children of a process into the new namespace, not the process itself. So one
    process enters, forks init, and ends; init then becomes a child of the supervisor, which is its subreaper. The
    supervisor stays outside: after unshare it could start no thread any more. It talks to init through a socket.
    """

    def __init__(
        self, spec: WorkerSpec, facilities: namespaces.Facilities, join_files: Sequence[int], pipes: Pipes
    ) -> None:
        namespaces.prctl(namespaces.PR_SET_CHILD_SUBREAPER, 1)
        self._control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(ANSWER_SECONDS)
        self._report, report = os.pipe()
        self._status: int | None = None
        self._room: root.Room | None = None
        entering = os.fork()
        if entering == 0:
            try:
                self._control.close()
                os.close(self._report)
                self._enter(spec, facilities, control, report, join_files, pipes)
            except BaseException as error:
                _exit_after(error)
            _exit_after()
        control.close()
        os.close(report)
        os.waitpid(entering, 0)
        self._init = int(self._answer("the worker's namespaces could not be entered")[0]["init"])
        # Init asks to die with its parent; it must not do so before the entering process, its first one, is gone.
        self._control.send(b"!")
        _, (self._scratch,) = self._answer("the worker's root could not be built")

    @staticmethod
    def _enter(
        spec: WorkerSpec,
        facilities: namespaces.Facilities,
        control: socket.socket,
        report: int,
        join_files: Sequence[int],
        pipes: Pipes,
    ) -> None:
        """In the process that enters: start init, and in that, be it."""
        try:
            user, group = os.geteuid(), os.getegid()
            alone = facilities.users and not facilities.as_root
            namespaces.unshare((namespaces.CLONE_NEWUSER if alone else 0) | namespaces.CLONE_NEWPID)
            if alone:
                namespaces.map_user("self", namespaces.USER, user, group)
            init = os.fork()
            if init != 0:
                control.send(json.dumps({"init": init}).encode())
                return
            if control.recv(1):  # nothing comes if the supervisor has died in the meantime
                _Init(spec, facilities, control, report).run(join_files, pipes)
        except (OSError, ValueError) as error:
            control.send(json.dumps({"error": f"{type(error).__name__}: {error}"}).encode())
            raise

    def _answer(self, what: str) -> tuple[dict[str, Any], list[int]]:
        """Init's answer and the folders that come with it; LaunchError if it has none, or could not do it."""
        try:
            message, opened, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, 2)
            answer = json.loads(message or b'{"error": "its first process ended"}')
        except OSError as error:  # no answer in time, or init ended with a request unread
            raise LaunchError(f"{what}: {error}") from None
        if "error" in answer:
            raise LaunchError(f"{what}: {answer['error']}")
        return answer, opened

    def _ask(self, what: str, **request: Any) -> tuple[dict[str, Any], list[int]]:
        try:
            self._control.send(json.dumps(request).encode())
        except OSError:
            raise LaunchError(f"{what}: its first process has ended") from None
        return self._answer(what)

    def poll(self) -> int | None:
        if self._status is None and os.waitpid(self._init, os.WNOHANG)[0] != 0:
            self._reap_init()
        return self._status

    def _reap_init(self) -> None:
        """The init process has been waited for; what it reported, if anything, is how the worker ended."""
        report = os.read(self._report, 4096).decode()
        self._status = int(report) if report else -signal.SIGKILL

    def terminate(self) -> None:
        with contextlib.suppress(LaunchError):
            self._ask("it could not be ended", op="terminate")

    def kill(self) -> None:
        if self._status is None:
            os.kill(self._init, signal.SIGKILL)
            os.waitpid(self._init, 0)  # returns when the kernel has ended every process of the namespace
            self._reap_init()

    def freeze(self) -> bool:
        try:
            return bool(self._ask("it could not be stopped", op="freeze")[0]["frozen"])
        except LaunchError:
            return False  # it has just ended; the loop notices

    def thaw(self) -> None:
        with contextlib.suppress(LaunchError):
            self._ask("it could not go on", op="thaw")

    def make_room(self, predictions_bytes: int, entries: int) -> root.Room | None:
        self._forget_room()
        _, opened = self._ask(
            "no room for a track", op="room", predictions_bytes=predictions_bytes, entries=entries
        )
        self._room = root.Room(*opened)
        return self._room

    def _forget_room(self) -> None:
        if self._room is not None:
            os.close(self._room.mixtures)
            os.close(self._room.predictions)
            self._room = None

    def tree(self) -> set[int]:
        return process_tree.descendants(self._init)

    def written(self) -> Written:
        """Of the file systems that were made for it; they are in memory."""
        places = [self._scratch] if self._room is None else [self._scratch, self._room.predictions]
        found = [os.fstatvfs(place) for place in places]
        used = sum((each.f_blocks - each.f_bfree) * each.f_frsize for each in found)
        full = any(each.f_blocks and (each.f_bfree == 0 or each.f_ffree == 0) for each in found)
        return Written(in_memory=used, full=full)


class _Init:
    """Process 1 of a worker's namespaces: builds its root, starts it, reaps orphans, does what the supervisor asks.

    The worker cannot harm it: a signal that process 1 does not handle is not delivered from inside, and it keeps
    rights that the worker lacks, without which the kernel lets nobody trace it or read its memory.
    """

    def __init__(
        self, spec: WorkerSpec, facilities: namespaces.Facilities, control: socket.socket, report: int
    ) -> None:
        self._spec = spec
        self._facilities = facilities
        self._control = control
        self._report = report

    def run(self, join_files: Sequence[int], pipes: Pipes) -> None:
        """Be init until the worker has ended, and report how."""
        namespaces.die_with_parent()
        namespaces.prctl(namespaces.PR_SET_DUMPABLE, 0)
        namespaces.unshare(namespaces.KINDS)
        namespaces.raise_loopback()
        socket.sethostname("submission")
        scratch = root.build(self._spec.view, self._spec.scratch_bytes)
        woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        worker = self._start(join_files, pipes)
        socket.send_fds(self._control, [b"{}"], [scratch])
        # Else the pipes would not end with the worker.
        for descriptor in (0, 1, 2, scratch, pipes.requests, pipes.events, *join_files):
            os.close(descriptor)
        control = self._control.fileno()
        while True:
            ready, _, _ = select.select([control, woken], [], [])
            if woken in ready:
                os.read(woken, 4096)
                if (status := self._reap(worker)) is not None:
                    os.write(self._report, str(status).encode())
                    return
            if control in ready:
                self._serve()

    def _start(self, join_files: Sequence[int], pipes: Pipes) -> int:
        """Fork the worker; it has another user's rights, none at all, when it runs anything of the submission."""
        entered, enter = os.pipe()
        mapped, map_written = os.pipe()
        worker = os.fork()
        if worker == 0:
            try:
                os.close(map_written)
                _limit(self._spec, join_files, pipes)
                if self._facilities.groups:
                    namespaces.unshare(namespaces.CLONE_NEWCGROUP)
                if self._facilities.as_root:
                    os.setgroups([])
                    if self._facilities.users:
                        namespaces.unshare(namespaces.CLONE_NEWUSER)
                        os.write(enter, b"!")
                        os.read(mapped, 1)
                    os.setresgid(namespaces.USER, namespaces.USER, namespaces.USER)
                    os.setresuid(namespaces.USER, namespaces.USER, namespaces.USER)
                os.close(enter)
                _give_up_rights()
                _become_worker(self._spec, root.MIXTURES, root.SHARED, root.TEMPORARY)
            except BaseException as error:
                _exit_after(error)
        os.close(enter)
        os.close(mapped)
        # Only somebody outside, with rights there, may say which other user the one inside is.
        if os.read(entered, 1):
            self._map(worker)
            os.write(map_written, b"!")
        os.close(entered)
        os.close(map_written)
        return worker

    @staticmethod
    def _map(worker: int) -> None:
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{worker}/{name}", "w") as file:
                file.write(f"{namespaces.USER} {namespaces.USER} 1")

    @staticmethod
    def _reap(worker: int) -> int | None:
        """Wait for everything that has ended; the worker's status if it has."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0] != 0:
                if ended[0] == worker:
                    return os.waitstatus_to_exitcode(ended[1])
        return None

    def _serve(self) -> None:
        """One request of the supervisor; if it has gone, the kernel ends us, and everything with us."""
        received = self._control.recv(MESSAGE_BYTES)
        if not received:
            os._exit(1)
        request = json.loads(received)
        answer: dict[str, Any] = {}
        opened: list[int] = []
        try:
            match request["op"]:
                case "freeze":
                    answer["frozen"] = process_tree.stop(self._others, signal_all=_signal_every_other)
                case "thaw":
                    _signal_every_other(signal.SIGCONT)
                case "terminate":
                    _signal_every_other(signal.SIGTERM)
                    _signal_every_other(signal.SIGCONT)
                case "room":
                    room = root.make_room(request["predictions_bytes"], request["entries"])
                    opened = [room.mixtures, room.predictions]
        except OSError as error:
            answer["error"] = str(error)
        socket.send_fds(self._control, [json.dumps(answer).encode()], opened)
        for descriptor in opened:
            os.close(descriptor)

    @staticmethod
    def _others() -> set[int]:
        return {int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"}


def _signal_every_other(number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # there is none
        os.kill(EVERY_OTHER, number)


class SubreaperWorker:
    """A worker whose orphaned descendants become the supervisor's children, whatever session they are in."""

    def __init__(self, spec: WorkerSpec, join_files: Sequence[int], pipes: Pipes) -> None:
        namespaces.prctl(namespaces.PR_SET_CHILD_SUBREAPER, 1)
        self._files = _Files(spec)
        self._status: int | None = None
        self._pid = os.fork()
        if self._pid == 0:
            try:
                _limit(spec, join_files, pipes)
                _give_up_rights()
                _become_worker(spec, spec.mixtures, spec.shared, spec.scratch)
            except BaseException as error:
                _exit_after(error)

    def poll(self) -> int | None:
        self._reap()
        return self._status

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0] != 0:
                if ended[0] == self._pid:
                    self._status = os.waitstatus_to_exitcode(ended[1])

    def terminate(self) -> None:
        for number in (signal.SIGTERM, signal.SIGCONT):
            process_tree.signal_each(self.tree(), number)

    def freeze(self) -> bool:
        return process_tree.stop(self.tree)

    def thaw(self) -> None:
        process_tree.signal_each(self.tree(), signal.SIGCONT)

    def make_room(self, predictions_bytes: int, entries: int) -> root.Room | None:
        self._files.make_room(predictions_bytes)
        return None

    def written(self) -> Written:
        return self._files.written()

    def kill(self) -> None:
        deadline = time.monotonic() + KILL_SECONDS
        while (pids := self.tree()) and time.monotonic() < deadline:
            process_tree.signal_each(pids, signal.SIGSTOP)  # so that none starts another while the others die
            process_tree.signal_each(self.tree(), signal.SIGKILL)
            self._reap()
            time.sleep(0.005)
        self._reap()

    def tree(self) -> set[int]:
        return process_tree.descendants(os.getpid())


class PortableWorker:
    """A worker on a system without subreapers: its process group, and the descendants seen in time."""

    def __init__(self, spec: WorkerSpec, pipes: Pipes) -> None:
        self._files = _Files(spec)
        command, environment = spec.command_for(spec.mixtures, spec.shared, spec.scratch)
        self._process = subprocess.Popen(
            command,
            stdin=pipes.requests,
            stdout=pipes.events,
            env=environment,
            cwd=spec.folder,
            start_new_session=True,
        )
        self._seen: dict[int, str] = {}

    def poll(self) -> int | None:
        return self._process.poll()

    def terminate(self) -> None:
        if sys.platform == "win32":
            self._process.terminate()
        else:
            for number in (signal.SIGTERM, signal.SIGCONT):
                process_tree.signal_each(self.tree(), number)

    def freeze(self) -> bool:
        return sys.platform != "win32" and process_tree.stop(self.tree)

    def thaw(self) -> None:
        if sys.platform != "win32":
            process_tree.signal_each(self.tree(), signal.SIGCONT)

    def make_room(self, predictions_bytes: int, entries: int) -> root.Room | None:
        self._files.make_room(predictions_bytes)
        return None

    def written(self) -> Written:
        return self._files.written()

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
            process_tree.signal_each(pids, signal.SIGKILL)
        self._process.wait()

    def tree(self) -> set[int]:
        """The worker and its descendants that are alive now; remembered, since they may lose their parents."""
        if self._process.returncode is not None:
            return set()
        alive = {self._process.pid} | process_tree.descendants(self._process.pid)
        started = process_tree.start_times()
        self._seen |= {pid: started[pid] for pid in alive if pid in started}
        return alive


class _Files:
    """The folders of a worker without a root of its own: made before it starts, looked through for their size."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._scratch, self._predictions = spec.scratch, f"{spec.shared}/predictions"
        self._scratch_bytes = spec.scratch_bytes
        self._predictions_bytes: int | None = None
        for path in (spec.mixtures, self._scratch, self._predictions):
            os.makedirs(path, exist_ok=True)

    def make_room(self, predictions_bytes: int) -> None:
        """Remove what is left of the last track."""
        self._predictions_bytes = predictions_bytes
        folders.clear(self._predictions)

    def written(self) -> Written:
        scratch = folders.size(self._scratch, self._scratch_bytes)
        predictions = folders.size(self._predictions, self._predictions_bytes)
        return Written(
            on_disk=scratch.bytes + predictions.bytes, full=scratch.exceeded or predictions.exceeded
        )
