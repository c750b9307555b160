"""One conversation with a supervisor: start it, send requests, read events, have it end everything."""

import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from evaluator.isolation import cgroup, events, folders, namespaces, process_tree
from evaluator.isolation.output_log import OutputLog
from evaluator.isolation.root import Room
from evaluator.isolation.worker_spec import WorkerSpec
from evaluator.locations import REPOSITORY

ANSWER_SECONDS = 20.0  # for the supervisor, which has nothing else to do
END_SECONDS = 20.0  # beyond the grace period, for the kernel to end everything
EVENT_BYTES = 1 << 20
HAS_CHANNEL = hasattr(socket, "recv_fds") and sys.platform != "win32"


class SandboxError(Exception):
    """The sandbox itself failed, whatever the submission did."""


class WorkerGoneError(SandboxError):
    """The submission has ended between two tracks, or can be given none any more; it may be started again."""


class Cancelled(Exception):  # noqa: N818 (nothing went wrong)
    """Another thread has asked us to stop waiting."""


@dataclass(frozen=True)
class Launcher:
    """The process that looks after a worker (see `Session`), and how long it may take to start one.

    takes_channel: it opens the folders of a track itself and hands them over.
    """

    runner: str  # its name in results
    command: tuple[str, ...]
    start_seconds: float
    takes_channel: bool = False


class Session:
    """One supervisor with its worker, from start to end.

    A supervisor reads the specification and then requests from its standard input, and answers with events on its
    standard output, one line of JSON each (see supervisor.py). What the worker prints comes on its standard error.
    """

    _living: ClassVar[set[int]] = set()  # supervisors of this process
    _changing: ClassVar = threading.Lock()  # held while one starts, and would be taken for a stray

    def __init__(self, launcher: Launcher, spec: WorkerSpec) -> None:
        self._spec = spec
        if sys.platform.startswith("linux"):
            # What a supervisor leaves when it is killed comes to us, and to nobody else.
            namespaces.prctl(namespaces.PR_SET_CHILD_SUBREAPER, 1)
        self._channel: socket.socket | None = None
        command = list(launcher.command)
        passed: tuple[int, ...] = ()
        if launcher.takes_channel and HAS_CHANNEL:
            self._channel, theirs = socket.socketpair()
            self._channel.settimeout(ANSWER_SECONDS)
            command, passed = [*command, str(theirs.fileno())], (theirs.fileno(),)
        with self._changing:
            self._supervisor = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # a Ctrl-C at the terminal is the evaluator's to handle
                pass_fds=passed,
            )
            self._living.add(self._supervisor.pid)
        if passed:
            theirs.close()
        assert self._supervisor.stdout is not None
        assert self._supervisor.stderr is not None
        self._events: queue.SimpleQueue[dict[str, Any] | Cancelled | None] = queue.SimpleQueue()
        self._exited: dict[str, Any] | None = None
        self._ending = False
        self.log = OutputLog(os.dup(self._supervisor.stderr.fileno()))
        self._supervisor.stderr.close()
        threading.Thread(target=self._read_events, daemon=True).start()
        self.send(asdict(spec))

    def _read_events(self) -> None:
        """Put events into the queue, with the moment at which they came: whoever waits for them may be busy."""
        assert self._supervisor.stdout is not None
        while line := self._supervisor.stdout.readline(EVENT_BYTES):
            # In a container, a library of the image may print something, too.
            if (event := events.parse(line)) is not None:
                self._events.put({**event, "at": time.monotonic()})
        self._events.put(None)

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one request; if the supervisor has gone, the next event shows it."""
        assert self._supervisor.stdin is not None
        with suppress(BrokenPipeError):
            self._supervisor.stdin.write(json.dumps(message).encode() + b"\n")
            self._supervisor.stdin.flush()

    def next_event(self, names: set[str], timeout_seconds: float | None) -> dict[str, Any] | None:
        """The next event of one of these names, or None when the time is over.

        Raises SandboxError if the supervisor has gone, and Cancelled, once, after `cancel`.
        """
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            remaining = None if deadline is None else max(deadline - time.monotonic(), 0)
            try:
                event = self._events.get(timeout=remaining)
            except queue.Empty:
                return None
            if isinstance(event, Cancelled):
                if self._ending:  # which is what was asked for
                    continue
                raise event
            if event is None:
                self._events.put(None)  # so that this shows whenever an event is waited for
                raise SandboxError(f"the supervisor process ended unexpectedly: {self.log.take()[-2000:]}")
            if event["event"] == "exited":
                self._exited = self._exited or event
            if event["event"] in names:
                return event
            if deadline is not None and time.monotonic() >= deadline:
                return None  # else a flood of events would be waited for without end

    def cancel(self) -> None:
        """Have the thread that waits for an event, now or next, raise Cancelled."""
        self._events.put(Cancelled())

    def expect(self, name: str, timeout_seconds: float) -> dict[str, Any]:
        """The fields of the next event `name`; SandboxError if nothing comes or something else does."""
        event = self.next_event({name, "broken"}, timeout_seconds)
        if event is None or event["event"] == "broken":
            reason = "no answer" if event is None else event["error"]
            raise SandboxError(f"the submission's process could not be started: {reason}")
        return {key: value for key, value in event.items() if key not in ("event", "at")}

    def make_room(self, predictions_bytes: int, entries: int) -> Room | None:
        """Fresh folders for a track, open; None where they are those of the specification. Nothing runs yet."""
        self.send({"op": "room", "predictions_bytes": predictions_bytes, "entries": entries})
        event = self.next_event({"room", "broken", "exited"}, ANSWER_SECONDS)
        if event is None or event["event"] != "room":
            said = {} if event is None else event
            raise WorkerGoneError(f"no room for a track: {said.get('error', 'the submission has ended')}")
        if not event["open"] or self._channel is None:
            return None
        try:
            _, opened, _, _ = socket.recv_fds(self._channel, 1, 2)
        except OSError as error:
            raise WorkerGoneError(f"no room for a track: {error}") from None
        match opened:
            case [predictions]:
                return Room(None, predictions)
            case [mixtures, predictions]:
                return Room(mixtures, predictions)
            case _:
                raise WorkerGoneError("no room for a track: its folders did not come")

    def end(self, grace_seconds: float) -> dict[str, Any]:
        """End the worker, its descendants and the supervisor; returns the "exited" event, or a substitute for it."""
        self._ending = True
        if self._exited is None:
            self.send({"op": "end", "grace_seconds": grace_seconds})
            with suppress(SandboxError):  # the supervisor has gone, and its worker with it
                self.next_event({"exited"}, grace_seconds + END_SECONDS)
        assert self._supervisor.stdin is not None
        with suppress(BrokenPipeError):
            self._supervisor.stdin.close()
        try:
            self._supervisor.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
            self._supervisor.wait()
        with self._changing:
            self._living.discard(self._supervisor.pid)
        if self._supervisor.returncode < 0:
            self._clean_up_after_it()
        self.log.close()
        if self._channel is not None:
            self._channel.close()
        lost = {
            "code": None, "signal": "SIGKILL", "peak_memory_bytes": 0, "out_of_memory": False, "out_of_disk": False
        }  # fmt: skip
        return self._exited or lost

    def _clean_up_after_it(self) -> None:
        """The supervisor was killed: do what it would have done for a worker without namespaces."""
        if sys.platform.startswith("linux"):
            cgroup.end_left_by(self._supervisor.pid)
            with self._changing:
                process_tree.end_strays(self._living)
        if self._spec.temporary is not None:
            folders.remove(self._spec.temporary)
