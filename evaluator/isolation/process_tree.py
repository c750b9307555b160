"""The descendants of a process and the memory they hold, from /proc or, without that, from `ps`."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Set
from pathlib import Path

from evaluator.isolation import namespaces

PROC = Path("/proc")
HAS_PROC = sys.platform.startswith("linux")
STOP_SECONDS, LOOK_SECONDS = 8.0, 0.0005  # on a busy machine each process has its turn before it stops
LONGEST_PAUSE_SECONDS = 0.25
HUNT_SECONDS, CALM_LOOKS = 0.05, 20  # for children that start others; looks without a new one
EVERY_OTHER = -1  # to kill(2)
# Fields of /proc/PID/stat, counted after the command's name.
STATE, PARENT, USER_TIME, SYSTEM_TIME, START_TIME = 0, 1, 11, 12, 19


def descendants(root: int) -> set[int]:
    """Process ids of all living descendants of `root`, zombies left out."""
    children: dict[int, list[int]] = defaultdict(list)
    for pid, parent, _ in _processes():
        children[parent].append(pid)
    found: set[int] = set()
    waiting = list(children[root])
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children[pid]
    return found


def stop(tree: Callable[[], set[int]], signal_all: Callable[[int], None] | None = None) -> bool:
    """SIGSTOP every process of a tree until all stand still; False if they do not within STOP_SECONDS.

    Two looks in a row must find nothing that runs: while the first one goes through the processes, one that it has
    not come to yet may wake another that it has seen. signal_all: sends a signal to all at once, if possible; also to
    those that no look finds, because they start others and end while it is taken.
    """
    signal_all = signal_all or (lambda number: signal_each(tree(), number))
    deadline = time.monotonic() + STOP_SECONDS
    pause = LOOK_SECONDS
    quiet = 0
    while quiet < 2:
        signal_all(signal.SIGSTOP)
        running = {pid for pid in tree() if not _stands_still(pid)}
        quiet = 0 if running else quiet + 1
        if running:
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_SECONDS)
            if _let_start(running, pause):
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
    return True


def _let_start(running: Set[int], seconds: float) -> bool:
    """Let programs go on that were stopped on their way into another: a parent of vfork cannot stop before that.

    It waits in the kernel, deaf to signals, until its child has become another program or has ended. True if there
    were such; they had `seconds` for it.
    """
    waiting = {pid for pid in running if "D" in _thread_states(pid)}
    starting = {pid for pid, parent, _ in _processes() if parent in waiting} if waiting else set()
    signal_each(starting, signal.SIGCONT)
    if starting:
        time.sleep(seconds)
    return bool(starting)


def signal_each(pids: Iterable[int], number: int) -> None:
    """Send a signal to those that are still there, and ours: a set-user-id program has become somebody else's."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def signal_every_other(number: int) -> None:
    """Send a signal to every process of our process namespace but process 1 and us, at once: none forks past it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # there is none, or none that is ours
        os.kill(EVERY_OTHER, number)


def signal_children(number: int, reap: Callable[[], None]) -> None:
    """Send a signal to our children, looking again until there are no new ones; reap: waits for those that ended.

    For a subreaper. A chain of processes, each of which starts the next and ends, is gone from one look at all
    processes before the signal is sent, and the busier the machine, the surer; each link, though, becomes our child,
    and of these the kernel keeps a list that is read in microseconds.
    """
    seen: set[int] = set()
    calm = 0
    deadline = time.monotonic() + HUNT_SECONDS
    while calm < CALM_LOOKS and time.monotonic() < deadline:
        reap()
        new = _children() - seen
        calm = 0 if new else calm + 1
        signal_each(new, number)
        seen |= new


def _children() -> set[int]:
    """Our children; none on a kernel that keeps no list of them."""
    found: set[int] = set()
    for thread in os.listdir(PROC / "self" / "task"):
        found.update(map(int, _read(PROC / "self" / "task" / thread / "children").split()))
    return found


def _stands_still(pid: int) -> bool:
    """Whether every thread of a process is stopped (or it has ended)."""
    if not HAS_PROC:
        command = ["ps", "-o", "state=", "-p", str(pid)]
        state = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        return not state or state[0] in "TZ"
    return _thread_states(pid) <= set("TtZX")


def _thread_states(pid: int) -> set[str]:
    """The states of a process' threads in letters of proc(5); none if it has gone, or without /proc."""
    try:
        threads = os.listdir(PROC / str(pid) / "task")
    except OSError:
        return set()
    stats = (_read(PROC / str(pid) / "task" / thread / "stat") for thread in threads)
    return {stat.rpartition(")")[2].split()[STATE] for stat in stats if stat}


def end_strays(known: Set[int]) -> None:
    """SIGKILL what a killed supervisor left to us, its subreaper: children in other sessions than ours, and theirs.

    known: children in sessions of their own that are to stay.
    """
    deadline = time.monotonic() + STOP_SECONDS
    own = os.getsid(0)
    killed: set[int] = set()
    strays = {0}
    while strays and time.monotonic() < deadline:
        children = [pid for pid, parent, _ in _processes() if parent == os.getpid() and pid not in known]
        strays = {pid for pid in children if _session_of(pid) not in (None, own)}
        tree = strays.union(*map(descendants, strays))
        signal_each(tree, signal.SIGKILL)
        killed |= tree
        for pid in killed:  # also those below strays, which become our children when these end
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(LOOK_SECONDS)


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def end_with_parent(parent: int) -> None:
    """Have this process end when its parent does, however that ends; on Linux, where the kernel can do that."""
    if sys.platform.startswith("linux"):
        namespaces.die_with_parent(parent)


def start_times() -> dict[int, str]:
    """When each living process was started, in the system's words: ids are used again, the two together are not."""
    return {pid: started for pid, _, started in _processes()}


def _processes() -> Iterable[tuple[int, int, str]]:
    """(process, parent, start time) of every living process."""
    if HAS_PROC:
        for entry in PROC.iterdir():
            if entry.name.isdigit() and (stat := _read(entry / "stat")):
                fields = stat.rpartition(")")[2].split()
                if fields[STATE] not in "ZX":
                    yield int(entry.name), int(fields[PARENT]), fields[START_TIME]
    elif sys.platform != "win32":
        command = ["ps", "-axo", "pid=,ppid=,lstart="]
        for line in subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines():
            pid, parent, started = line.split(None, 2)
            yield int(pid), int(parent), started


def computed_seconds(pids: Iterable[int]) -> float:
    """Processor time that these processes have used, all threads of each; 0 where there is no /proc."""
    if not HAS_PROC:
        return 0.0
    stats = (_read(PROC / str(pid) / "stat").rpartition(")")[2].split() for pid in pids)
    ticks = sum(int(fields[USER_TIME]) + int(fields[SYSTEM_TIME]) for fields in stats if fields)
    return ticks / os.sysconf("SC_CLK_TCK")


def resident_bytes(pids: Iterable[int]) -> int:
    """Sum of resident memory; shared pages count once per process."""
    if HAS_PROC:
        return 1024 * sum(_status_kilobytes(pid) for pid in pids)
    if sys.platform == "win32":
        return 0
    listing = subprocess.run(
        ["ps", "-o", "rss=", "-p", ",".join(map(str, pids))], capture_output=True, text=True, check=False
    )
    return 1024 * sum(int(line) for line in listing.stdout.split())


def proportional_bytes(pids: Iterable[int]) -> int:
    """Like resident_bytes, but shared pages are divided among their processes; slow for large ones."""
    if not HAS_PROC:
        return resident_bytes(pids)
    return 1024 * sum(_keyed_kilobytes(_read(PROC / str(pid) / "smaps_rollup"), "Pss:") for pid in pids)


def _status_kilobytes(pid: int) -> int:
    status = _read(PROC / str(pid) / "status")
    return _keyed_kilobytes(status, "RssAnon:") + _keyed_kilobytes(status, "RssShmem:")


def _keyed_kilobytes(text: str, key: str) -> int:
    _, found, rest = text.partition(f"\n{key}")
    return int(rest.split(None, 1)[0]) if found else 0


def _read(path: Path) -> str:
    """The file's text, or nothing if the process has gone in the meantime."""
    try:
        return path.read_text()
    except OSError:
        return ""
