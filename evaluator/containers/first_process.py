"""Process 1 of a container: the supervisor of isolation/supervisor.py, inside walls that the engine has built.

Namespaces and control groups are the engine's work here; this process starts the worker, passes requests on,
measures, and ends everything when told to. It also ends everything when it hears nothing for a while, so that a
container is gone even if the process that watches it from outside was killed and the engine keeps our standard
input open (Podman does): `{"op": "alive"}` comes at least every ALIVE_SECONDS.

Standard library only, Python 3.11 or later; this repository's evaluator/ is mounted for it.
"""

import json
import os
import select
import signal
import socket
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # then it is started without site and surroundings
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from evaluator.isolation import folders, namespaces
from evaluator.isolation.cgroup import ControlGroup
from evaluator.isolation.plain_workers import SubreaperWorker
from evaluator.isolation.root import Room
from evaluator.isolation.supervisor import Supervisor, emit
from evaluator.isolation.worker_spec import LaunchError, Pipes, WorkerSpec, Written

ALIVE_SECONDS = 2.0
SILENCE_SECONDS = 30.0
CONTROL_GROUPS = Path("/sys/fs/cgroup")
UNLIMITED_BYTES = 1 << 60  # version 1 says "no limit" with a number above this
CHANNEL = "/sdx/channel/socket"  # where the relay waits for open folders, if it can take them
SHARED_MEMORY = "/dev/shm"


def main() -> None:
    """Run one worker to its end."""
    requests = Requests(os.dup(0))
    first = requests.next_line()
    if first is None:
        return
    spec = WorkerSpec.from_json(first)
    spec = replace(
        spec,
        command=[sys.executable, *spec.command[1:]],
        environment={**os.environ, **spec.environment},
    )
    os.umask(0)  # what the worker writes is removed by another user, outside
    # The worker has our user; so that it can neither trace us nor write to what we have open.
    namespaces.prctl(namespaces.PR_SET_DUMPABLE, 0)
    for number in (signal.SIGTERM, signal.SIGINT):  # which the worker may send, being of our user
        signal.signal(number, lambda *_: None)
    requests_read, requests_write = os.pipe()
    events, events_write = os.pipe()
    try:
        channel = _channel()  # before anything of the submission could be there in our place
        files = None if channel is None else MountedFiles(spec)
        worker = SubreaperWorker(spec, [], Pipes(requests_read, events_write), files)
    except (LaunchError, OSError) as error:
        emit({"event": "broken", "error": f"{type(error).__name__}: {error}"})
        return
    for descriptor in (requests_read, events_write):
        os.close(descriptor)
    emit({"event": "isolation", **isolation(), "disk": "watched" if files is None else "capped"})
    read_end, write_end = os.pipe()
    os.dup2(read_end, 0)
    threading.Thread(target=requests.pass_on, args=(write_end,), daemon=True).start()
    Supervisor(spec, _own_group(), worker, requests_write, events, channel).run()
    if files is None:  # a folder of the machine; else the last estimates may still be read
        folders.clear(f"{spec.shared}/predictions")  # while we still have the rights of its owner


def _channel() -> int | None:
    """The connection by which open folders go to the relay; None where they are the machine's."""
    if not os.path.exists(CHANNEL):
        return None
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(CHANNEL)
    return connection.detach()


class MountedFiles:
    """The container's own folders: file systems in memory, of a size, that end with it."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._path = f"{spec.shared}/predictions"
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        self._predictions = os.open(self._path, flags)
        self._others = [os.open(path, flags) for path in (spec.scratch, SHARED_MEMORY)]
        self._scratch_bytes = spec.scratch_bytes
        self._most_bytes = self._most_entries = 0

    def make_room(self, predictions_bytes: int, entries: int) -> Room:
        """Remove what is left of the last track."""
        self._most_bytes, self._most_entries = predictions_bytes, entries
        folders.clear(self._path)
        return Room(None, self._predictions)

    def written(self) -> Written:
        """As the file systems have it: each has a size, and what is less than that, or a sum, is watched."""
        found = [os.fstatvfs(each) for each in (self._predictions, *self._others)]
        used = [(each.f_blocks - each.f_bfree) * each.f_frsize for each in found]
        entries = found[0].f_files - found[0].f_ffree
        full = any(each.f_blocks and (each.f_bfree == 0 or each.f_ffree == 0) for each in found)
        more = self._most_bytes > 0 and (used[0] > self._most_bytes or entries > self._most_entries)
        more = more or (self._scratch_bytes is not None and sum(used[1:]) > self._scratch_bytes)
        return Written(in_memory=sum(used), full=full or more)


class Requests:
    """Lines from a descriptor, without the signs of life; silence for SILENCE_SECONDS counts as the end."""

    def __init__(self, descriptor: int, silence_seconds: float = SILENCE_SECONDS) -> None:
        self._descriptor = descriptor
        self._silence_seconds = silence_seconds
        self._unread = b""

    def next_line(self) -> bytes | None:
        """The next request with its line end, or None when there will be none."""
        while True:
            line, end, rest = self._unread.partition(b"\n")
            if end:
                self._unread = rest
                if json.loads(line).get("op") != "alive":
                    return line + end
            elif select.select([self._descriptor], [], [], self._silence_seconds)[0]:
                received = os.read(self._descriptor, 1 << 16)
                if not received:
                    return None
                self._unread += received
            else:
                return None

    def pass_on(self, descriptor: int) -> None:
        """Write every request to `descriptor`, and close it at the end."""
        while (line := self.next_line()) is not None:
            os.write(descriptor, line)
        os.close(descriptor)


def isolation() -> dict[str, Any]:
    """What the engine has put in force, as seen from inside."""
    interfaces = {entry.name for entry in Path("/sys/class/net").iterdir()}
    return {
        "network_off": interfaces <= {"lo"},
        "references_hidden": True,
        "process_namespace": os.getpid() == 1,
        "orphans_ended": os.getpid() == 1,
        "memory": "container" if _number("memory.max", "memory/memory.limit_in_bytes") else None,
        "cpus": _cpus(),
        "process_limit": _number("pids.max", "pids/pids.max"),
        "unprivileged": os.getuid() != 0 and not _status("CapEff"),
        "calls_filtered": _status("Seccomp") == 2,
        "frozen": True,
        "cpu_quota": _cpus() is not None,
    }


def _status(name: str) -> int:
    """A number of this process' status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((int(line.split()[1], 16) for line in lines if line.startswith(f"{name}:")), 0)


def _own_group() -> ControlGroup | None:
    """The container's control group, to be read only."""
    for folder, version in ((CONTROL_GROUPS / "memory", 1), (CONTROL_GROUPS, 2)):
        if (folder / "memory.stat").is_file():
            return ControlGroup(folder, None, version)
    return None


def _number(*names: str) -> int | None:
    """The number in the first of these files that has one, or None if all say that there is no limit."""
    for name in names:
        text = _read(name)
        if text.isdigit() and int(text) < UNLIMITED_BYTES:
            return int(text)
    return None


def _cpus() -> int | None:
    quota, _, period = _read("cpu.max").partition(" ")
    if not quota:
        quota, period = _read("cpu/cpu.cfs_quota_us"), _read("cpu/cpu.cfs_period_us")
    return round(int(quota) / int(period)) if quota.isdigit() and period.isdigit() else None


def _read(name: str) -> str:
    try:
        return (CONTROL_GROUPS / name).read_text().strip()
    except OSError:
        return ""


if __name__ == "__main__":
    main()
    os._exit(0)  # without waiting for the thread that reads requests
