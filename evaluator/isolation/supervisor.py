"""The small process between the evaluator and a worker: it enforces the limits, and it outlives both.

It starts one worker, passes the evaluator's requests on to it, caps and measures its memory, and ends it with
all its descendants: when told to, when the memory is exceeded, when the worker ends, and when the evaluator is
gone, for whatever reason (its end of our standard input closes).

Line protocol, JSON. On standard input: a WorkerSpec, then requests; `{"op": "end", "grace_seconds": s}` and
`{"op": "usage"}` are for the supervisor, all others go to the worker's standard input unchanged. On standard
output, which the worker shares for its own events: "isolation", "usage", "exited", "broken".
Standard library only; it must start fast and stay small.
"""

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from evaluator.isolation import cgroup, launch, namespaces, process_tree

TICK_SECONDS = 0.02
# Between looks at the process tree and its memory; if we enforce the cap ourselves, between looks at its memory.
SAMPLE_SECONDS = 0.1 if process_tree.HAS_PROC else 0.5
WATCH_SECONDS = 0.02 if process_tree.HAS_PROC else 0.25


def main() -> None:
    """Run one worker to its end."""
    spec = launch.WorkerSpec(**json.loads(sys.stdin.buffer.readline()))
    group = None
    if spec.memory_bytes is not None and "cgroup" not in spec.without:
        group = cgroup.create(spec.memory_bytes, spec.max_processes)
    try:
        facilities = namespaces.Facilities() if "namespaces" in spec.without else namespaces.probe()
        if facilities.processes and os.path.isdir("/sys/fs/cgroup"):
            spec = replace(spec, hidden=[*spec.hidden, "/sys/fs/cgroup"])
        with _opened(group) as join_files:
            worker = launch.launch(spec, facilities, join_files)
        emit({"event": "isolation", **_isolation(spec, facilities, group, worker)})
        Supervisor(spec, group, worker).run()
    except (launch.LaunchError, OSError) as error:
        emit({"event": "broken", "error": f"{type(error).__name__}: {error}"})
    finally:
        if group is not None:
            group.kill()
            group.remove()


@contextlib.contextmanager
def _opened(group: cgroup.ControlGroup | None) -> Iterator[list[int]]:
    files = [] if group is None else [os.open(path, os.O_WRONLY) for path in group.join_files()]
    try:
        yield files
    finally:
        for file in files:
            os.close(file)


def _isolation(
    spec: launch.WorkerSpec,
    facilities: namespaces.Facilities,
    group: cgroup.ControlGroup | None,
    worker: launch.Worker,
) -> dict[str, Any]:
    """What is in force, for the result."""
    portable = isinstance(worker, launch.PortableWorker)
    memory = None
    if spec.memory_bytes is not None:
        watched = None if sys.platform == "win32" else "watched"
        memory = watched if group is None or portable else f"cgroup v{group.version}"
    return {
        "network_off": facilities.network and not portable,
        "references_hidden": facilities.processes,
        "process_namespace": facilities.processes,
        "orphans_ended": not portable,
        "memory": memory,
        "cpus": None if spec.cpus is None or portable else len(spec.cpus),
        "process_limit": spec.max_processes if group is not None and group.pids and not portable else None,
    }


def emit(event: dict[str, Any]) -> None:
    """Write one line in one call, so that it never mixes with the worker's."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, (json.dumps(event) + "\n").encode())


class Supervisor:
    """Owns the worker from its start to its end."""

    def __init__(
        self, spec: launch.WorkerSpec, group: cgroup.ControlGroup | None, worker: launch.Worker
    ) -> None:
        self._group = None if isinstance(worker, launch.PortableWorker) else group
        self._cap = spec.memory_bytes
        self._worker = worker
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._kill_at: float | None = None
        self._peak_bytes = 0
        self._exceeded = False
        self._tree: set[int] = set()
        self._tree_at = 0.0
        self._sampled_at = 0.0

    def run(self) -> None:
        """Serve requests until the worker has ended, then end what it left behind and report."""
        # Whoever ends us ends the worker: the loop below does it, since a handler may come at any moment.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: self._requests.put(None))
        threading.Thread(target=self._read_requests, daemon=True).start()
        while (status := self._worker.poll()) is None:
            try:
                request = self._requests.get(timeout=TICK_SECONDS)  # short: poll() and the memory are next
            except queue.Empty:
                pass
            else:
                if request is None:
                    self._worker.kill()
                else:
                    self._serve(request)
            self._watch_memory()
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                self._worker.kill()
        self._worker.kill()
        emit(
            {
                "event": "exited",
                "code": status if status >= 0 else None,
                "signal": signal.Signals(-status).name if status < 0 else None,
                **self._usage(),
            }
        )

    def _read_requests(self) -> None:
        for line in sys.stdin.buffer:
            self._requests.put(line)
        self._requests.put(None)

    def _serve(self, line: bytes) -> None:
        request = json.loads(line)
        if request["op"] == "end":
            self._worker.terminate()
            self._kill_at = time.monotonic() + request["grace_seconds"]
        elif request["op"] == "usage":
            self._sample()
            emit({"event": "usage", **self._usage()})
        else:
            self._peak_bytes = 0
            with contextlib.suppress(BrokenPipeError):  # it has just ended; the loop notices
                os.write(self._worker.stdin, line)

    def _usage(self) -> dict[str, Any]:
        oom_kills = self._group.oom_kills() if self._group is not None else 0
        return {"peak_memory_bytes": self._peak_bytes, "out_of_memory": self._exceeded or oom_kills > 0}

    def _watch_memory(self) -> None:
        """Sample, and end everything when the cap is exceeded, or the kernel has begun to do so."""
        watching = self._group is None and self._cap is not None
        now = time.monotonic()
        if now - self._sampled_at < (WATCH_SECONDS if watching else SAMPLE_SECONDS):
            return
        self._sampled_at = now
        self._sample()
        if self._group is not None and self._group.oom_kills() > 0:
            self._worker.kill()
        if watching and not self._exceeded and self._peak_bytes > (self._cap or 0):
            shared_once = process_tree.proportional_bytes(
                self._tree
            )  # the peak counts shared pages once per fork
            self._exceeded = shared_once > (self._cap or 0)
            if self._exceeded:
                self._worker.kill()
            self._peak_bytes = shared_once

    def _sample(self) -> None:
        if self._group is not None:
            in_use = self._group.memory_bytes()
        else:
            now = time.monotonic()
            if now - self._tree_at >= SAMPLE_SECONDS:
                self._tree, self._tree_at = self._worker.tree(), now
            in_use = process_tree.resident_bytes(self._tree)
        self._peak_bytes = max(self._peak_bytes, in_use)


if __name__ == "__main__":
    main()
    os._exit(0)  # without waiting for the thread that reads requests
