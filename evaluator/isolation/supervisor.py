"""The small process between the evaluator and a worker: it enforces the limits, and it outlives both.

It starts one worker, passes the evaluator's requests on to it, caps and measures its memory and its files, stops it
between two requests, and ends it with all its descendants: when told to, when a limit is exceeded, when the worker
ends, and when the evaluator is gone, for whatever reason (its end of our standard input closes).

Line protocol, JSON. On standard input: a WorkerSpec, then requests; "room" and "end" are for the supervisor, all
others go to the worker unchanged. On standard output: "isolation", "room", "worker" (a line from the worker, word for
word: it is not trusted, and nothing else that the worker does reaches this stream), "frozen" after that, "exited",
"broken". A request has one answer: what the worker says beyond the first line is dropped, and so is what it had said
before it was asked. Open folders go through the
Unix socket that the first argument names, if there is one. Standard library only; it must start fast and stay small.
"""

import contextlib
import json
import os
import queue
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from evaluator.isolation import cgroup, folders, launch, namespaces, process_tree, seccomp
from evaluator.isolation.namespaced_worker import NamespacedWorker
from evaluator.isolation.plain_workers import PortableWorker
from evaluator.isolation.worker_spec import LaunchError, Pipes, WorkerSpec

TICK_SECONDS = 0.02
# Between looks at the process tree and its memory; if we enforce the cap ourselves, between looks at its memory.
SAMPLE_SECONDS = 0.1 if process_tree.HAS_PROC else 0.5
WATCH_SECONDS = 0.02 if process_tree.HAS_PROC else 0.25
STILL_SECONDS = 0.05  # of computing while it should stand still; the kernel counts in hundredths
LINE_BYTES = 1 << 16  # of one line from a worker; more is none of ours
PIPE_BYTES = 1 << 20  # that a pipe without our rights can be made to hold
CAN_WAIT = os.name != "nt"  # there, `select` takes no pipes


def main(channel: str | None = None) -> None:
    """Run one worker to its end; channel: the descriptor of the socket for open folders."""
    if channel is not None:
        os.set_inheritable(int(channel), False)  # what came to us through exec would go on to the worker
    spec = WorkerSpec.from_json(sys.stdin.buffer.readline())
    group = None
    if "cgroup" not in spec.without:
        group = cgroup.create(cgroup.Caps(spec.memory_bytes, spec.max_processes, spec.cpu_quota))
    try:
        facilities = namespaces.Facilities() if "namespaces" in spec.without else namespaces.probe()
        requests_read, requests = os.pipe()
        events, events_write = os.pipe()
        with _opened(group) as join_files:
            pipes = Pipes(requests_read, events_write)
            worker = launch.launch(spec, facilities, join_files, pipes)
        for descriptor in (requests_read, events_write):
            os.close(descriptor)
        emit({"event": "isolation", **_isolation(spec, facilities, group, worker)})
        supervisor = Supervisor(
            spec, group, worker, requests, events, None if channel is None else int(channel)
        )
        for number in (signal.SIGTERM, signal.SIGINT):  # whoever ends us ends the worker
            signal.signal(number, supervisor.end)
        supervisor.run()
    except (LaunchError, OSError) as error:
        emit({"event": "broken", "error": f"{type(error).__name__}: {error}"})
    finally:
        if group is not None:
            group.kill()
            group.remove()
        if spec.temporary is not None:
            folders.remove(spec.temporary)


@contextlib.contextmanager
def _opened(group: cgroup.ControlGroup | None) -> Iterator[list[int]]:
    files = [] if group is None else [os.open(path, os.O_WRONLY) for path in group.join_files()]
    try:
        yield files
    finally:
        for file in files:
            os.close(file)


def _isolation(
    spec: WorkerSpec,
    facilities: namespaces.Facilities,
    group: cgroup.ControlGroup | None,
    worker: launch.Worker,
) -> dict[str, Any]:
    """What is in force, for the result."""
    portable = isinstance(worker, PortableWorker)
    grouped = group if not portable else None
    memory = None
    if spec.memory_bytes is not None:
        watched = None if sys.platform == "win32" else "watched"
        memory = watched if grouped is None else f"cgroup v{grouped.version}"
    return {
        "network_off": facilities.own_root,
        "references_hidden": facilities.own_root,
        "process_namespace": facilities.own_root,
        "orphans_ended": not portable,
        "memory": memory,
        "cpus": None if spec.cpus is None or portable else len(spec.cpus),
        "process_limit": spec.max_processes if grouped is not None and grouped.pids else None,
        "unprivileged": facilities.own_root,
        "calls_filtered": not portable and seccomp.is_known_machine(),
        "frozen": sys.platform != "win32",
        "cpu_quota": grouped is not None and grouped.cpu is not None,
        "disk": "capped" if facilities.own_root else "watched",
    }


def emit(event: dict[str, Any]) -> None:
    """Write one line for the evaluator; if it has gone, our standard input shows it."""
    with contextlib.suppress(BrokenPipeError):
        content = memoryview((json.dumps(event) + "\n").encode())
        while content:
            content = content[os.write(1, content) :]


# From whom a line is: the turn in which the worker said it, or None for the evaluator, whose end is a None, too.
Inbox = queue.SimpleQueue[tuple[int | None, bytes | None]]


class Heard:
    """Lines from the worker; each request begins a turn, and what was said before is none of its answer."""

    def __init__(self, descriptor: int, inbox: Inbox) -> None:
        self.turn = 0
        self.ended = threading.Event()
        self._descriptor = descriptor
        self._inbox = inbox
        self._unended = b""
        self._taking = threading.Lock()

    def read(self) -> None:
        """Put every line into the inbox, to the end; one that is longer than LINE_BYTES in pieces."""
        while self._take_some():
            pass
        if self._unended:
            self._inbox.put((self.turn, self._unended))
        self.ended.set()

    def drop(self) -> None:
        """Begin a turn, while the worker stands still: forget what has come, and what is on its way."""
        with self._taking:
            self.turn += 1
            self._unended = b""
            for _ in range(PIPE_BYTES // LINE_BYTES + 1):
                if not self._is_there() or not os.read(self._descriptor, LINE_BYTES):
                    return

    def _take_some(self) -> bool:
        """Whether there may be more."""
        if not CAN_WAIT:
            received = os.read(self._descriptor, LINE_BYTES)
            self._put(received)
            return bool(received)
        select.select([self._descriptor], [], [])
        with self._taking:
            if not self._is_there():  # it was dropped meanwhile
                return True
            received = os.read(self._descriptor, LINE_BYTES)
            self._put(received)
        return bool(received)

    def _is_there(self) -> bool:
        return CAN_WAIT and bool(select.select([self._descriptor], [], [], 0)[0])

    def _put(self, received: bytes) -> None:
        text, start = self._unended + received, 0
        while (end := text.find(b"\n", start, start + LINE_BYTES)) >= 0 or len(text) - start >= LINE_BYTES:
            cut = end + 1 if end >= 0 else start + LINE_BYTES
            self._inbox.put((self.turn, text[start:cut]))
            start = cut
        self._unended = text[start:]


class Supervisor:
    """Owns the worker from its start to its end."""

    def __init__(
        self,
        spec: WorkerSpec,
        group: cgroup.ControlGroup | None,
        worker: launch.Worker,
        requests: int,
        events: int,
        channel: int | None = None,
    ) -> None:
        self._group = None if isinstance(worker, PortableWorker) else group
        self._cap = spec.memory_bytes
        self._worker = worker
        self._to_worker = requests
        self._channel = None if channel is None else socket.socket(fileno=channel)
        self._inbox: Inbox = queue.SimpleQueue()
        self._heard = Heard(events, self._inbox)
        self._kill_at: float | None = None
        self._peak_bytes = 0
        self._is_asked = False  # and has not answered yet
        self._exceeded = self._full = self._moved = False
        self._computed_when_still: float | None = None
        self._tree: set[int] = set()
        self._tree_at = 0.0
        self._sampled_at = 0.0

    def end(self, *_: object) -> None:
        """End the worker, as a handler of signals may ask at any moment: the loop of `run` does it."""
        self._inbox.put((None, None))

    def run(self) -> None:
        """Serve requests until the worker has ended, then end what it left behind and report."""
        for read in (self._read_requests, self._heard.read):
            threading.Thread(target=read, daemon=True).start()
        while (status := self._worker.poll()) is None:
            try:
                turn, line = self._inbox.get(timeout=TICK_SECONDS)  # short: poll() and the memory are next
            except queue.Empty:
                pass
            else:
                self._take(turn, line)
            self._watch()
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                self._worker.kill()
        self._look_at_files()  # before they are gone
        self._worker.kill()
        for turn, line in self._left():  # what it said before it ended
            if turn is not None:
                self._take(turn, line)
        emit(
            {
                "event": "exited",
                "code": status if status >= 0 else None,
                "signal": signal.Signals(-status).name if status < 0 else None,
                **self._usage(),
            }
        )

    def _read_requests(self) -> None:
        """Put the evaluator's lines into the inbox, then None."""
        with os.fdopen(0, "rb", closefd=False) as stream:
            for line in stream:
                self._inbox.put((None, line))
        self.end()

    def _left(self) -> Iterator[tuple[int | None, bytes | None]]:
        """What is still in the inbox once the worker is gone, and with it all that could write to its pipe."""
        self._heard.ended.wait(1.0)
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._inbox.get_nowait()

    def _take(self, turn: int | None, line: bytes | None) -> None:
        if line is None:
            self._worker.kill()
        elif turn is not None:
            if not self._is_asked or turn != self._heard.turn:
                return
            self._is_asked = False
            emit({"event": "worker", "line": line.decode(errors="backslashreplace")})
            frozen = self._worker.freeze()
            self._look_at_files()
            self._sample()
            self._computed_when_still = process_tree.computed_seconds(self._worker.tree())
            emit({"event": "frozen", "held": frozen and not self._moved, **self._usage()})
        else:
            self._serve(line)

    def _serve(self, line: bytes) -> None:
        request = json.loads(line)
        match request["op"]:
            case "end":
                self._worker.terminate()
                self._kill_at = time.monotonic() + request["grace_seconds"]
            case "room":
                try:
                    room = self._worker.make_room(request["predictions_bytes"], request["entries"])
                except LaunchError as error:
                    emit({"event": "broken", "error": str(error)})
                    return
                if room is not None and self._channel is not None:
                    socket.send_fds(self._channel, [b"!"], room.opened())
                emit({"event": "room", "open": room is not None})
            case _:
                self._is_asked = True
                self._heard.drop()
                self._peak_bytes = 0
                self._note_movement()
                self._worker.thaw()
                with contextlib.suppress(BrokenPipeError):  # it has just ended; the loop notices
                    os.write(self._to_worker, line)

    def _note_movement(self) -> None:
        """Whether it has computed although it was stopped, by whatever means it had itself woken."""
        if self._computed_when_still is not None:
            computed = process_tree.computed_seconds(self._worker.tree()) - self._computed_when_still
            self._moved = self._moved or computed > STILL_SECONDS
            self._computed_when_still = None

    def _usage(self) -> dict[str, Any]:
        oom_kills = self._group.oom_kills() if self._group is not None else 0
        return {
            "peak_memory_bytes": self._peak_bytes,
            "out_of_memory": self._exceeded or oom_kills > 0,
            "out_of_disk": self._full,
        }

    def _watch(self) -> None:
        """Sample, and end everything when a cap is exceeded, or the kernel has begun to do so."""
        watching = self._group is None and self._cap is not None
        now = time.monotonic()
        if now - self._sampled_at < (WATCH_SECONDS if watching else SAMPLE_SECONDS):
            return
        self._sampled_at = now
        self._sample()
        if self._group is not None and self._group.oom_kills() > 0:
            self._worker.kill()
        if watching and not self._exceeded and self._peak_bytes > (self._cap or 0):
            # the peak counts shared pages once per fork
            shared_once = process_tree.proportional_bytes(self._tree) + self._worker.written().in_memory
            self._exceeded = shared_once > (self._cap or 0)
            if self._exceeded:
                self._worker.kill()
            self._peak_bytes = shared_once
        if not isinstance(self._worker, NamespacedWorker):
            self._look_at_files()
            if self._full:  # nothing else may keep it from writing more
                self._worker.kill()

    def _look_at_files(self) -> None:
        self._full = self._full or self._worker.written().full

    def _sample(self) -> None:
        if self._group is not None:
            in_use = self._group.memory_bytes()
        else:
            now = time.monotonic()
            if now - self._tree_at >= SAMPLE_SECONDS:
                self._tree, self._tree_at = self._worker.tree(), now
            in_use = process_tree.resident_bytes(self._tree) + self._worker.written().in_memory
        self._peak_bytes = max(self._peak_bytes, in_use)


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)  # without waiting for the threads that read
