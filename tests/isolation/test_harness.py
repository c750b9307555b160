"""The harness leaves nothing behind, either."""

import subprocess
import sys
import time

import pytest

from evaluator.isolation import process_tree
from evaluator.locations import REPOSITORY

pytestmark = [
    pytest.mark.isolation,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the sandbox is for Linux"),
]

GONE_SECONDS = 10.0
KILLED_WHILE_IT_IS_STOPPED = """
import os, signal, subprocess
from tests.isolation import harness
evaluator = subprocess.Popen(
    ["sleep", "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    preexec_fn=harness._limit,
)
evaluator.send_signal(signal.SIGSTOP)
os.waitpid(evaluator.pid, os.WUNTRACED)
evaluator.send_signal(signal.SIGTERM)
print(evaluator.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_an_evaluator_that_is_stopped_ends_with_its_test() -> None:
    """SIGTERM waits until a stopped process goes on, and nobody is left to let it."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_IT_IS_STOPPED],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    evaluator = int(done.stdout)
    deadline = time.monotonic() + GONE_SECONDS
    while evaluator in process_tree.start_times() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert evaluator not in process_tree.start_times()
