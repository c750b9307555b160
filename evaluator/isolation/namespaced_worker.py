"""A worker in a root of its own (Linux, namespaces), below an init process that takes every descendant along.

Used by the supervisor only, which has one thread when it launches. Standard library only.
"""

import contextlib
import json
import os
import select
import signal
import socket
from collections.abc import Sequence
from typing import Any

from evaluator.isolation import forked, namespaces, process_tree, root
from evaluator.isolation.worker_spec import LaunchError, Pipes, WorkerSpec, Written

ANSWER_SECONDS = 10.0  # of the init process
MESSAGE_BYTES = 1 << 16


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
                forked.exit_after(error)
            forked.exit_after()
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
            self._room.close()
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
                forked.limit(self._spec, join_files, pipes)
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
                forked.give_up_rights()
                forked.become_worker(self._spec, root.MIXTURES, root.SHARED, root.TEMPORARY)
            except BaseException as error:
                forked.exit_after(error)
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
                    answer["frozen"] = process_tree.stop(
                        self._others, signal_all=process_tree.signal_every_other
                    )
                case "thaw":
                    process_tree.signal_every_other(signal.SIGCONT)
                case "terminate":
                    process_tree.signal_every_other(signal.SIGTERM)
                    process_tree.signal_every_other(signal.SIGCONT)
                case "room":
                    room = root.make_room(request["predictions_bytes"], request["entries"])
                    opened = room.opened()
        except OSError as error:
            answer["error"] = str(error)
        socket.send_fds(self._control, [json.dumps(answer).encode()], opened)
        for descriptor in opened:
            os.close(descriptor)

    @staticmethod
    def _others() -> set[int]:
        return {int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"}
