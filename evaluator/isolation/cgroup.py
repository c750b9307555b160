"""A control group that caps memory and number of processes of one worker and all its descendants.

Version 2 is used if its memory controller is available, version 1 otherwise. No capability is assumed:
`create` tries, and returns None if the system refuses. Standard library only (used by the supervisor).
"""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

PREFIX = "sdx-evaluator-"
REMOVAL_SECONDS = 2.0


@dataclass(frozen=True)
class ControlGroup:
    """Our group: one folder in version 2, one for each controller in version 1."""

    memory: Path
    pids: Path | None
    version: int

    def join_files(self) -> list[Path]:
        """The files into which a process writes "0" to enter the group."""
        folders = [self.memory] if self.pids is None or self.pids == self.memory else [self.memory, self.pids]
        return [folder / "cgroup.procs" for folder in folders]

    def oom_kills(self) -> int:
        """How many processes of the group the kernel has killed because memory ran out."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        return _flat_keyed(self.memory / name).get("oom_kill", 0)

    def memory_bytes(self) -> int:
        """Memory in use that the kernel cannot simply drop: anonymous and shared, without the file cache."""
        stat = _flat_keyed(self.memory / "memory.stat")
        if self.version == 2:
            return stat.get("anon", 0) + stat.get("shmem", 0)
        return stat.get("total_rss", 0) + stat.get("total_shmem", 0)

    def kill(self) -> None:
        """SIGKILL every process in the group, and repeat until none is left or time runs out.

        Once is not enough: a process may fork between our list and our signal.
        """
        deadline = time.monotonic() + REMOVAL_SECONDS
        while (pids := self.processes()) and time.monotonic() < deadline:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def processes(self) -> list[int]:
        """Process ids in the group."""
        try:
            return [int(line) for line in (self.memory / "cgroup.procs").read_text().split()]
        except OSError:
            return []

    def remove(self) -> None:
        """Remove the empty group; the kernel may need a moment after the last process has gone."""
        for folder in {self.memory, self.pids or self.memory}:
            deadline = time.monotonic() + REMOVAL_SECONDS
            while folder.exists():
                try:
                    folder.rmdir()
                except OSError:
                    if time.monotonic() > deadline:
                        break
                    time.sleep(0.02)


def create(
    memory_bytes: int, max_processes: int, root: Path = Path("/sys/fs/cgroup"), own: str | None = None
) -> ControlGroup | None:
    """Make a group beside or below our own with these caps and no swap; None if that is not possible.

    `root` and `own` (the text of /proc/self/cgroup) are parameters for the tests.
    """
    try:
        membership = _membership(Path("/proc/self/cgroup").read_text() if own is None else own)
    except OSError:
        return None
    unified = root / "unified" if (root / "unified").is_dir() else root
    if "" in membership and (group := _create_v2(unified, membership[""], memory_bytes, max_processes)):
        return group
    if "memory" in membership:
        return _create_v1(root, membership, memory_bytes, max_processes)
    return None


def _membership(text: str) -> dict[str, str]:
    """Our group's path by controller, from /proc/self/cgroup; version 2 has the empty name."""
    paths: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        paths |= dict.fromkeys(controllers.split(","), path.lstrip("/"))
    return paths


def _create_v2(root: Path, own: str, memory_bytes: int, max_processes: int) -> ControlGroup | None:
    """Below our own group if its children have the memory controller, else beside it (delegated trees).

    A group with processes cannot hand controllers to its children ("no internal processes"), so our own group
    often has none to give, while its parent, delegated to us, does.
    """
    here = root / own
    for parent in (here, here.parent) if here != root else (here,):
        try:
            if "memory" not in (parent / "cgroup.subtree_control").read_text().split():
                continue
            folder = _make(parent)
            (folder / "memory.max").write_text(str(memory_bytes))
            _write_if_there(folder / "memory.swap.max", "0")
            _write_if_there(folder / "memory.oom.group", "1")
            _write_if_there(folder / "pids.max", str(max_processes))
            return ControlGroup(folder, folder, 2)
        except OSError:
            continue
    return None


def _create_v1(
    root: Path, membership: dict[str, str], memory_bytes: int, max_processes: int
) -> ControlGroup | None:
    try:
        memory = _make(root / "memory" / membership["memory"])
        (memory / "memory.limit_in_bytes").write_text(str(memory_bytes))
        _write_if_there(memory / "memory.memsw.limit_in_bytes", str(memory_bytes))
    except OSError:
        return None
    pids: Path | None = None
    if "pids" in membership:
        with contextlib.suppress(OSError):
            pids = _make(root / "pids" / membership["pids"])
            (pids / "pids.max").write_text(str(max_processes))
    return ControlGroup(memory, pids, 1)


def _make(parent: Path) -> Path:
    """A folder named after this process; those that killed supervisors left behind are removed first."""
    for stale in parent.glob(f"{PREFIX}*"):
        if not Path("/proc", stale.name.removeprefix(PREFIX)).exists():
            with contextlib.suppress(OSError):
                stale.rmdir()
    folder = parent / f"{PREFIX}{os.getpid()}"
    folder.mkdir()
    return folder


def _write_if_there(path: Path, text: str) -> None:
    if path.exists():
        path.write_text(text)


def _flat_keyed(path: Path) -> dict[str, int]:
    try:
        pairs = (line.split() for line in path.read_text().splitlines())
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}
    except OSError:
        return {}
