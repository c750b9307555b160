"""What is tried in forked children, of which none outlives whoever forked it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="namespaces are Linux's")

TRIES = """
import os, time
from evaluator.isolation import namespaces
namespaces._succeeds(lambda: (print(os.getpid(), flush=True), time.sleep(3600)))
"""
TOO_LATE = """
import os, signal, time
from evaluator.isolation import namespaces
parent = os.getpid()
if os.fork() == 0:
    while os.getppid() == parent:
        time.sleep(0.001)
    print(os.getpid(), flush=True)
    namespaces.die_with_parent(parent)
    time.sleep(3600)
"""


@pytest.mark.parametrize(("code", "kill"), [(TRIES, True), (TOO_LATE, False)], ids=["waits", "had ended"])
def test_a_child_ends_with_whoever_forked_it_even_if_that_ended_before(code: str, kill: bool) -> None:
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        if kill:
            assert Path(f"/proc/{child}").exists()
            process.kill()
    wait_for(lambda: not _runs(child), f"the end of {child}")


def _runs(pid: int) -> bool:
    """Whether it is there and has not ended."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
