"""Descendants and their memory."""

import os
import shutil
import subprocess
import sys

import pytest

from evaluator.isolation import process_tree

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="neither /proc nor ps")

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
