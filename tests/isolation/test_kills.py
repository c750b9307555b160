"""SIGKILL at any moment: nothing of the submission is left, finished tracks are kept, and --resume goes on.

Fifty of them, at random moments, to the evaluator and to the supervisor, with and without namespaces and control
groups. Each run resumes the one before, and is killed again, until there is nothing left to do.
"""

import contextlib
import functools
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluator.locations import REPOSITORY
from evaluator.runs.run_folder import LOCK_FILE, RESULT_FILE
from tests.isolation import harness, systems, world
from tests.isolation.world import World

pytestmark = [pytest.mark.isolation, pytest.mark.slow]

KILLS = 9  # of each of six kinds
WAYS = tuple("abcdef")
KEPT = {"result.json", "setup.log", "logs", "estimates"}
SUBMISSION = '''
import os
import signal
import time


class MySeparationModel:
    """Honest, with a process that would stay."""

    instruments = ["bass", "drums", "other", "vocals"]

    def __init__(self):
        if os.fork() == 0:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if os.fork() == 0:
                open("/dev/shm/left" if os.path.isdir("/sdx") else os.environ["TMPDIR"] + "/left", "w").close()
                time.sleep(3600)
            os._exit(0)

    def separate_music_file(self, mixture, rate):
        time.sleep(0.05)
        return {stem: mixture / 4 for stem in self.instruments}, dict.fromkeys(self.instruments, rate)
'''


@pytest.fixture
def victim() -> Iterator[World]:
    root = world.new_root()
    try:
        with world.made(root, WAYS) as made:
            package = made.submission / "my_submission"
            package.mkdir(parents=True)
            (package / "user_config.py").write_text(SUBMISSION)
            yield made
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.mark.parametrize(
    "without", ["", "namespaces", "namespaces,cgroup"], ids=["all", "no-namespaces", "neither"]
)
@pytest.mark.parametrize("whom", ["evaluator", "supervisor"])
def test_nothing_is_left_whoever_is_killed_whenever(victim: World, whom: str, without: str) -> None:
    moments = random.Random(f"{whom} {without}")
    started = time.monotonic()
    assert end(start(victim, victim.root / "runs" / "whole", without)) == 0
    run_seconds = time.monotonic() - started
    outs = (victim.root / "runs" / str(number) for number in itertools.count())
    out, finished, drafts = next(outs), dict[str, Any](), set[str]()
    below, kills = systems.descendants(), 0
    while kills < KILLS:
        started, process = time.monotonic(), start(victim, out, without)
        children = systems.Children(process)
        killed = kill(process, whom, moments.uniform(0.0, run_seconds))
        code = end(process)
        if not killed and not finished:  # else kills would come too late once the machine is less busy
            run_seconds = time.monotonic() - started
        kills += killed
        drafts.add(f".{RESULT_FILE}.{process.pid}")
        found = tracks(out)
        assert finished.items() <= found.items(), "a finished track was lost, or changed"
        finished = found
        left = functools.partial(systems.control_groups, children.seen())
        assert harness.not_gone("process", lambda: systems.described(systems.descendants() - below)) == []
        assert harness.not_gone("control group", left) == []
        # Also those of runs before, if this one was killed before it came to removing them.
        # A lock is the system's, which frees it; the next run takes its file away.
        assert left_in(out) <= {*drafts, LOCK_FILE}, "more than the file that each was about to replace"
        assert world.left_behind(victim) == []
        if not killed:
            assert code == 0
            assert left_in(out) == set()
            out, finished, drafts = next(outs), {}, set()
    code = end(start(victim, out, without))
    assert code == 0
    assert set(tracks(out)) == set(victim.tracks)
    assert finished.items() <= tracks(out).items()
    assert left_in(out) == set()


def left_in(out: Path) -> set[str]:
    """What lies in a run's folder besides what it is for."""
    return {path.name for path in out.glob("*")} - KEPT


def start(victim: World, out: Path, without: str) -> "subprocess.Popen[bytes]":
    """A run that resumes what is there."""
    what = [
        "--submission",
        str(victim.submission),
        "--data",
        str(victim.data),
        "--track",
        "music",
        "--out",
        str(out),
    ]
    return subprocess.Popen(
        [sys.executable, str(REPOSITORY / "run_eval.py"), *what, "--resume", "--time-factor", "60"],
        cwd=victim.root,
        env={**victim.environment(), "SDX_SANDBOX_WITHOUT": without},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill(process: "subprocess.Popen[bytes]", whom: str, after_seconds: float) -> bool:
    """Kill the evaluator, or its supervisor, after a while; False if it was not there any more, or not yet."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(after_seconds)
        return False
    if whom == "evaluator":
        process.kill()
        return True
    while process.poll() is None:
        if supervisors := [pid for pid in systems.descendants() if is_supervisor(pid, process.pid)]:
            os.kill(supervisors[0], signal.SIGKILL)
            return True
        time.sleep(0.001)
    return False


def is_supervisor(pid: int, parent: int) -> bool:
    """Whether a process is a supervisor that this evaluator has started."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        owner = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return False
    return owner == parent and b"evaluator.isolation.supervisor" in command


def end(process: "subprocess.Popen[bytes]") -> int:
    """Its exit code; it ends by itself."""
    return process.wait(harness.PRODUCT_SECONDS)


def tracks(out: Path) -> dict[str, Any]:
    """Finished tracks, by name; the file is whole at every moment."""
    file = out / RESULT_FILE
    return {track["name"]: track for track in json.loads(file.read_text())["tracks"]} if file.exists() else {}
