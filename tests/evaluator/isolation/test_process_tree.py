"""Descendants, their memory, and how they are stopped and ended."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evaluator.isolation import process_tree
from evaluator.locations import REPOSITORY
from tests.evaluator import processes

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="neither /proc nor ps")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

# A child that holds 64 MB and has a child of its own in another session; prints that one's id.
PARENT = """
import subprocess, sys
held = b"x" * (64 << 20)
child = subprocess.Popen(["sleep", "3600"], start_new_session=True)
print(child.pid, flush=True)
sys.stdin.read()
child.kill()
"""


def test_descendants_and_memory() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        grandchild = int(parent.stdout.readline())
        assert {parent.pid, grandchild} <= process_tree.descendants(os.getpid())
        assert process_tree.descendants(parent.pid) == {grandchild}
        for measure in (process_tree.resident_bytes, process_tree.proportional_bytes):
            assert 64 << 20 <= measure([parent.pid]) < 128 << 20
            assert measure([grandchild]) < 8 << 20
        parent.communicate()
    assert grandchild not in process_tree.descendants(os.getpid())
    assert process_tree.resident_bytes([parent.pid]) == 0


def test_with_ps_in_place_of_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("ps") is None:
        pytest.skip("there is no ps")
    with subprocess.Popen(["sleep", "3600"]) as child:
        by_proc = process_tree.descendants(os.getpid())
        times_by_proc = process_tree.start_times()
        monkeypatch.setattr(process_tree, "HAS_PROC", False)
        assert child.pid in by_proc
        assert child.pid in process_tree.descendants(os.getpid())
        assert process_tree.start_times().keys() & times_by_proc.keys() >= {child.pid, os.getpid()}
        assert process_tree.resident_bytes([os.getpid()]) > 10 << 20
        child.kill()
    assert process_tree.resident_bytes([child.pid]) == 0


def test_a_start_time_tells_two_processes_apart() -> None:
    with subprocess.Popen(["sleep", "3600"]) as child:
        started = process_tree.start_times()
        assert started[child.pid] == process_tree.start_times()[child.pid]
        assert started[child.pid] != started[os.getpid()]
        child.kill()


# Processes that do what they can to go on: each wakes the others, and starts new ones in new sessions all the time.
RESTLESS = """
import os, signal, sys, time

parents = [os.getpid()]
for number in range(3):
    if (child := os.fork()) == 0:
        os.setsid()
        break
    parents.append(child)
else:
    print("started", flush=True)
end = time.monotonic() + 600
while time.monotonic() < end:
    for pid in parents:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            os._exit(0)
    if os.fork() == 0:
        os.setsid()
        time.sleep(0.001)
        os._exit(0)
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                break
        except ChildProcessError:
            break
"""


@contextmanager
def started(code: str) -> Iterator[int]:
    """The id of a process that runs this code in a session of its own; it is ended with its descendants."""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            while tree := {process.pid} & process_tree.start_times().keys() | process_tree.descendants(
                process.pid
            ):
                process_tree.signal_each(tree, signal.SIGSTOP)
                process_tree.signal_each(process_tree.descendants(process.pid), signal.SIGKILL)
                process_tree.signal_each(tree, signal.SIGKILL)
                process.poll()


def cpu_ticks(pids: Iterable[int]) -> dict[int, list[str]]:
    """What each of these has computed so far, and its state."""
    fields = {pid: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids}
    return {pid: [stat[0], *stat[11:15]] for pid, stat in fields.items()}


@linux
def test_a_tree_that_does_not_want_to_is_stopped_as_a_whole() -> None:
    with started(RESTLESS) as pid:

        def tree() -> set[int]:
            return {pid} | process_tree.descendants(pid)

        for _ in range(3):
            assert process_tree.stop(tree)
            stopped = tree()
            before = cpu_ticks(stopped)
            time.sleep(0.05)
            assert tree() == stopped
            assert cpu_ticks(stopped) == before
            assert {state for state, *_ in before.values()} == {"T"}
            process_tree.signal_each(stopped, signal.SIGCONT)


@linux
def test_every_thread_has_to_stand_still() -> None:
    code = """
import threading, time
for _ in range(5):
    threading.Thread(target=lambda: [sum(range(10000)) for _ in iter(int, 1)], daemon=True).start()
print(flush=True)
time.sleep(3600)
"""
    with started(code) as pid:
        assert process_tree.stop(lambda: {pid})
        stats = (path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat"))
        assert {stat.rpartition(")")[2].split()[0] for stat in stats} == {"T"}


def test_signals_may_be_sent_to_all_at_once() -> None:
    with started("import time; print(flush=True); time.sleep(3600)") as pid:
        sent: list[int] = []

        def signal_all(number: int) -> None:
            sent.append(number)
            os.kill(pid, number)

        assert process_tree.stop(lambda: {pid}, signal_all)
        assert set(sent) == {signal.SIGSTOP}


@pytest.mark.thorough
@linux
def test_a_parent_of_vfork_is_stopped_once_its_child_is_another_program(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Here the child's way there leads through a pipe that nobody has opened for writing yet."""
    os.mkfifo(pipe := tmp_path / "pipe")
    code = f"""
import os
print(flush=True)
opened = [(os.POSIX_SPAWN_OPEN, 0, {str(pipe)!r}, os.O_RDONLY, 0)]
os.posix_spawn("/bin/sleep", ["sleep", "3600"], os.environ, file_actions=opened)
os.wait()
"""
    with started(code) as pid:

        def tree() -> set[int]:
            return {pid} | process_tree.descendants(pid)

        def stop() -> bool:
            return process_tree.stop(tree, lambda number: process_tree.signal_each(tree(), number))

        deadline = time.monotonic() + 10
        while "D" not in process_tree._thread_states(pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        with monkeypatch.context() as impatient:
            impatient.setattr(process_tree, "STOP_SECONDS", 0.2)
            assert not stop()
        opened: list[int] = []  # and kept so: the child may just stand still when it is
        opens = threading.Timer(0.1, lambda: opened.append(os.open(pipe, os.O_RDWR)))
        opens.start()
        assert stop()
        opens.join()
        os.close(opened[0])
        assert len(tree()) == 2
        assert {state for state, *_ in cpu_ticks(tree()).values()} == {"T"}


CHAINS = """
import os, signal, sys, time
from evaluator.isolation import namespaces, process_tree
namespaces.prctl(namespaces.PR_SET_CHILD_SUBREAPER, 1)

def reap():
    ended = 0
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            ended += 1
    except ChildProcessError:  # there is none for a moment
        pass
    return ended

def signal_all(number):
    process_tree.signal_each(process_tree.descendants(os.getpid()), number)
    process_tree.signal_children(number, reap)

for _ in range(2):
    if os.fork() == 0:
        while True:
            if os.fork() != 0:
                os._exit(0)
            os.setsid()
moved = []
for _ in range(5):
    time.sleep(0.02)
    moved.append(reap() > 0)
    moved.append(process_tree.stop(lambda: process_tree.descendants(os.getpid()), signal_all))
    reap()
    time.sleep(0.02)
    moved.append(reap() > 0)
    signal_all(signal.SIGCONT)
while process_tree._children():
    signal_all(signal.SIGSTOP)
    signal_all(signal.SIGKILL)
print(moved == 5 * [True, True, False], moved)
"""


@pytest.mark.thorough
@linux
def test_chains_of_processes_that_start_the_next_and_end_are_stopped() -> None:
    """They are never in a list of processes for as long as it takes to read it."""
    ended = subprocess.run(
        [sys.executable, "-c", CHAINS], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout.startswith("True"), ended.stdout + ended.stderr


def test_what_has_ended_stands_still() -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    assert process_tree.stop(lambda: {ended.pid})
    assert process_tree.stop(set)


def test_a_zombie_stands_still() -> None:
    with subprocess.Popen(["true"], stdout=subprocess.PIPE) as zombie:
        assert zombie.stdout is not None
        zombie.stdout.read()  # its end
        assert process_tree.stop(lambda: {zombie.pid})


def test_one_that_cannot_be_stopped_is_said_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program with root's rights, to which an ordinary user may send no signal."""

    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    with started("import time; print(flush=True); time.sleep(3600)") as pid:
        with monkeypatch.context() as forbidden:
            forbidden.setattr(process_tree, "STOP_SECONDS", 0.1)
            forbidden.setattr(os, "kill", refuse)
            assert not process_tree.stop(lambda: {pid})
        assert process_tree.stop(lambda: {pid})


def test_with_ps_in_place_of_proc_the_same_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("ps") is None:
        pytest.skip("there is no ps")
    monkeypatch.setattr(process_tree, "HAS_PROC", False)
    with started("import time; print(flush=True); time.sleep(3600)") as pid:
        assert not process_tree._stands_still(pid)
        assert process_tree.stop(lambda: {pid})
        assert process_tree._stands_still(pid)


# Two strays, a child of one of them in yet another session, and three processes that are none: a child in our
# session, one that is known, and its child.
STRAYS = """
import os, signal, subprocess, sys, time
from evaluator.isolation import namespaces, process_tree

namespaces.prctl(namespaces.PR_SET_CHILD_SUBREAPER, 1)
SLEEP = ["sleep", sys.argv[1]]
CHILD = [sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:], start_new_session=True)", *SLEEP]
ORPHAN = "import subprocess, sys; subprocess.Popen(sys.argv[1:], start_new_session=True)"
subprocess.run([sys.executable, "-c", ORPHAN, *SLEEP], check=True)
subprocess.run([sys.executable, "-c", ORPHAN, *CHILD], check=True)
own = subprocess.Popen(SLEEP)
known = subprocess.Popen(CHILD, start_new_session=True)
while len(process_tree.descendants(os.getpid())) < 6:
    time.sleep(0.01)
process_tree.end_strays({known.pid})
left = process_tree.descendants(os.getpid())
print(len(left), own.pid in left, known.pid in left, process_tree.descendants(known.pid) <= left)
os.killpg(known.pid, signal.SIGKILL)
known.wait()
own.kill()
own.wait()
process_tree.end_strays(set())
print(len(process_tree.descendants(os.getpid())))
process_tree.end_strays(set())
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("all waited for")
"""


@pytest.mark.thorough
@linux
def test_what_a_killed_supervisor_leaves_is_ended_and_nothing_else() -> None:
    marker = f"3600.{os.getpid()}7"
    done = subprocess.run(
        [sys.executable, "-c", STRAYS, marker], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["3 True True True", "0", "all waited for"], done.stderr
    assert processes.with_argument(marker) == []
