"""Workers that share our root: in a container, where it is the image's, and where there are no namespaces.

Used by the supervisor only, which has one thread when it launches. Standard library only.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Protocol

from evaluator.isolation import folders, forked, namespaces, process_tree, root
from evaluator.isolation.worker_spec import Pipes, WorkerSpec, Written

KILL_SECONDS = 5.0


class Files(Protocol):
    """The folders of a worker without a root of its own."""

    def make_room(self, predictions_bytes: int, entries: int) -> root.Room | None:
        """Remove what is left of the last track; see `Worker`."""

    def written(self) -> Written:
        """What lies in them."""


class SubreaperWorker:
    """A worker whose orphaned descendants become the supervisor's children, whatever session they are in."""

    def __init__(
        self, spec: WorkerSpec, join_files: Sequence[int], pipes: Pipes, files: Files | None = None
    ) -> None:
        namespaces.prctl(namespaces.PR_SET_CHILD_SUBREAPER, 1)
        self._files = WatchedFiles(spec) if files is None else files
        self._status: int | None = None
        self._pid = os.fork()
        if self._pid == 0:
            try:
                forked.limit(spec, join_files, pipes)
                forked.give_up_rights()
                forked.become_worker(spec, spec.mixtures, spec.shared, spec.scratch)
            except BaseException as error:
                forked.exit_after(error)

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
            self._signal_all(number)

    def freeze(self) -> bool:
        return process_tree.stop(self.tree, signal_all=self._signal_all)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: int) -> None:
        if os.getpid() == 1:  # of a container: all others are the worker's
            process_tree.signal_every_other(number)
        else:
            process_tree.signal_each(self.tree(), number)
            process_tree.signal_children(number, self._reap)

    def make_room(self, predictions_bytes: int, entries: int) -> root.Room | None:
        return self._files.make_room(predictions_bytes, entries)

    def written(self) -> Written:
        return self._files.written()

    def kill(self) -> None:
        deadline = time.monotonic() + KILL_SECONDS
        while self.tree() and time.monotonic() < deadline:
            self._signal_all(signal.SIGSTOP)  # so that none starts another while the others die
            self._signal_all(signal.SIGKILL)
            self._reap()
            time.sleep(0.005)
        self._reap()

    def tree(self) -> set[int]:
        return process_tree.descendants(os.getpid())


class PortableWorker:
    """A worker on a system without subreapers: its process group, and the descendants seen in time."""

    def __init__(self, spec: WorkerSpec, pipes: Pipes) -> None:
        self._files = WatchedFiles(spec)
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
        return self._files.make_room(predictions_bytes, entries)

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


class WatchedFiles:
    """Folders of this machine: made before the worker starts, looked through for their size."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._scratch, self._predictions = spec.scratch, f"{spec.shared}/predictions"
        self._scratch_bytes = spec.scratch_bytes
        self._predictions_bytes: int | None = None
        for path in (spec.mixtures, self._scratch, self._predictions):
            os.makedirs(path, exist_ok=True)

    def make_room(self, predictions_bytes: int, entries: int) -> root.Room | None:
        self._predictions_bytes = predictions_bytes
        folders.clear(self._predictions)
        return None

    def written(self) -> Written:
        scratch = folders.size(self._scratch, self._scratch_bytes)
        predictions = folders.size(self._predictions, self._predictions_bytes)
        return Written(
            on_disk=scratch.bytes + predictions.bytes, full=scratch.exceeded or predictions.exceeded
        )
