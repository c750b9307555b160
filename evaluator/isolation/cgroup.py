"""A control group that caps memory, processor time and number of processes of one worker and all its descendants.

Version 2 is used if its memory controller is available, version 1 otherwise. No capability is assumed:
`create` tries, and returns None if the system refuses. Standard library only (used by the supervisor).
"""

import contextlib
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PREFIX = "sdx-evaluator-"
REMOVAL_SECONDS = 2.0
PERIOD_MICROSECONDS = 100_000  # of a quota of processor time


@dataclass(frozen=True)
class ControlGroup:
    """Our group: one folder in version 2, one for each controller in version 1."""

    memory: Path
    pids: Path | None
    version: int
    cpu: Path | None = None

    @property
    def folders(self) -> list[Path]:
        """One for each controller, or the only one."""
        return list(
            dict.fromkeys(folder for folder in (self.memory, self.pids, self.cpu) if folder is not None)
        )

    def join_files(self) -> list[Path]:
        """The files into which a process writes "0" to enter the group."""
        return [folder / "cgroup.procs" for folder in self.folders]

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
        for folder in self.folders:
            deadline = time.monotonic() + REMOVAL_SECONDS
            while folder.exists():
                try:
                    folder.rmdir()
                except OSError:
                    if time.monotonic() > deadline:
                        break
                    time.sleep(0.02)


@dataclass(frozen=True)
class Caps:
    """What a group may use; None is no cap. cpus: how many cores' time in sum."""

    memory_bytes: int | None
    max_processes: int
    cpus: int | None = None


def create(caps: Caps, root: Path = Path("/sys/fs/cgroup"), own: str | None = None) -> ControlGroup | None:
    """Make a group beside or below our own with these caps and no swap; None if that is not possible.

    `root` and `own` (the text of /proc/self/cgroup) are parameters for the tests.
    """
    try:
        membership = _membership(Path("/proc/self/cgroup").read_text() if own is None else own)
    except OSError:
        return None
    unified = root / "unified" if (root / "unified").is_dir() else root
    if "" in membership and (group := _create_v2(unified, membership[""], caps)):
        return group
    if "memory" in membership:
        return _create_v1(root, membership, caps)
    return None


def _membership(text: str) -> dict[str, str]:
    """Our group's path by controller, from /proc/self/cgroup; version 2 has the empty name."""
    paths: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        paths |= dict.fromkeys(controllers.split(","), path.lstrip("/"))
    return paths


def _create_v2(root: Path, own: str, caps: Caps) -> ControlGroup | None:
    """Below our own group if its children have the memory controller, else beside it (delegated trees).

    A group with processes cannot hand controllers to its children ("no internal processes"), so our own group
    often has none to give, while its parent, delegated to us, does.
    """
    here = root / own
    for parent in (here, here.parent) if here != root else (here,):
        try:
            given = (parent / "cgroup.subtree_control").read_text().split()
            if "memory" not in given:
                continue
            folder = _limited(parent, {} if caps.memory_bytes is None else {"memory.max": caps.memory_bytes})
        except OSError:
            continue
        if caps.memory_bytes is not None:
            _wrote(folder / "memory.swap.max", "0")
        _wrote(folder / "memory.oom.group", "1")
        pids = "pids" in given and _wrote(folder / "pids.max", str(caps.max_processes))
        quota = "" if caps.cpus is None else f"{caps.cpus * PERIOD_MICROSECONDS} {PERIOD_MICROSECONDS}"
        cpu = "cpu" in given and caps.cpus is not None and _wrote(folder / "cpu.max", quota)
        return ControlGroup(folder, folder if pids else None, 2, folder if cpu else None)
    return None


def _create_v1(root: Path, membership: dict[str, str], caps: Caps) -> ControlGroup | None:
    try:
        limits = {} if caps.memory_bytes is None else {"memory.limit_in_bytes": caps.memory_bytes}
        memory = _limited(root / "memory" / membership["memory"], limits)
    except OSError:
        return None
    if caps.memory_bytes is not None:
        _wrote(memory / "memory.memsw.limit_in_bytes", str(caps.memory_bytes))
    quota = None if caps.cpus is None else caps.cpus * PERIOD_MICROSECONDS
    pids = _limited_v1(root, membership, "pids", {"pids.max": caps.max_processes})
    cpu = _limited_v1(
        root, membership, "cpu", {"cpu.cfs_period_us": PERIOD_MICROSECONDS, "cpu.cfs_quota_us": quota}
    )
    return ControlGroup(memory, pids, 1, cpu)


def _limited_v1(
    root: Path, membership: dict[str, str], controller: str, limits: dict[str, int | None]
) -> Path | None:
    """A group of one controller with these limits; None without one, or where it cannot be had."""
    known = {name: value for name, value in limits.items() if value is not None}
    if controller not in membership or len(known) < len(limits):
        return None
    try:
        return _limited(root / controller / membership[controller], known)
    except OSError:
        return None


def _limited(parent: Path, limits: Mapping[str, int]) -> Path:
    """A group with these limits; OSError, and none is left, where it cannot have them."""
    folder = _make(parent)
    try:
        for name, value in limits.items():
            (folder / name).write_text(str(value))
    except OSError:
        folder.rmdir()
        raise
    return folder


def _make(parent: Path) -> Path:
    """A folder named after this process; those that killed supervisors left behind are removed first."""
    for stale in parent.glob(f"{PREFIX}*"):
        if not Path("/proc", stale.name.removeprefix(PREFIX)).exists():
            with contextlib.suppress(OSError):
                stale.rmdir()
    folder = parent / f"{PREFIX}{os.getpid()}"
    folder.mkdir()
    return folder


def end_left_by(supervisor: int, root: Path = Path("/sys/fs/cgroup"), own: str | None = None) -> None:
    """End what is in the group of a supervisor that was killed, and remove the group."""
    try:
        membership = _membership(Path("/proc/self/cgroup").read_text() if own is None else own)
    except OSError:
        return
    places = [root / controller / path for controller, path in membership.items()]
    places += [root / "unified" / path for controller, path in membership.items() if not controller]
    for parent in dict.fromkeys(each for place in places for each in (place, place.parent)):
        folder = parent / f"{PREFIX}{supervisor}"
        if folder.is_dir():
            group = ControlGroup(folder, None, version=1)
            group.kill()
            group.remove()


def _wrote(path: Path, text: str) -> bool:
    """Whether a limit that a group may lack could be set."""
    try:
        with path.open("r+") as file:  # which makes no file where the kernel has none
            file.write(text)
    except OSError:
        return False
    return True


def _flat_keyed(path: Path) -> dict[str, int]:
    try:
        pairs = (line.split() for line in path.read_text().splitlines())
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}
    except OSError:
        return {}
