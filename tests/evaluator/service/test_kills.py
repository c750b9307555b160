"""Killed at random, server and workers lose nothing, count nothing twice, and leave nothing behind."""

import contextlib
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import func, select

from evaluator.isolation import process_tree
from evaluator.service.client import Client, UploadError, fitting_files
from evaluator.service.tables import MeanScore, TrackScore
from tests.evaluator.service.test_serve import Running, copied_demo, make_token, serving
from tests.evaluator.service.world import World, estimates
from tests.test_imports import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not process_tree.HAS_PROC, reason="ends what is left with its parent"),
]
T = TypeVar("T")
PEOPLE = 6
LEASE_SECONDS = 3.0
# A worker whose leases are short, so that the test need not wait a minute for each that was killed.
WORKER = f"""
import sys
from evaluator.service import jobs, worker
jobs.LEASE_SECONDS, jobs.PAUSE_SECONDS, jobs.MOST_ATTEMPTS = {LEASE_SECONDS}, 0.0, 100
worker.HEARTBEAT_SECONDS, worker.SWEEP_SECONDS = 0.5, 1.0
worker.main(*sys.argv[1:])
"""


def start(world: World) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", WORKER, str(world.settings.root), str(os.getpid())]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SDX_SERVICE_DATABASE": world.settings.database or "",
    }
    return subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)


def attempts(world: World) -> list[int]:
    """How often each entry in the queue was begun with."""
    return [each["attempts"] for each in world.program(None).get("/api/v1/queue").json()["entries"]]


def wait_for_others(world: World, before: list[int]) -> None:
    """Until the worker has begun with something, or all is done."""
    deadline = time.monotonic() + 120
    while attempts(world) == before:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_workers_that_are_killed_at_random(world: World) -> None:
    generator = random.Random(world.settings.database is None)
    world.seconds = time.time()
    files = estimates(0.8)
    entries = [world.uploaded(f"person {number}", files) for number in range(PEOPLE)]
    for number, entry in enumerate(entries):
        assert world.submit(f"person {number}", entry).status_code == 202
    kills = 0
    while queue := world.program(None).get("/api/v1/queue").json()["entries"]:
        worker = start(world)
        before = [each["attempts"] for each in queue]
        wait_for_others(world, before)
        # Longer and longer, since nobody knows how fast the machine is.
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.wait(generator.uniform(0.0, 0.2 + 0.2 * kills))
        worker.kill()
        worker.wait()
        kills += 1
    assert kills > 2
    states = {world.show(f"person {number}", entry)["state"] for number, entry in enumerate(entries)}
    assert states == {"done"}
    with world.database.reading() as session:
        rows = session.execute(
            select(TrackScore.entry_id, func.count())
            .group_by(TrackScore.entry_id)
            .order_by(TrackScore.entry_id)
        ).all()
        assert [tuple(row) for row in rows] == [(entry, 8) for entry in entries]
        assert len(set(session.scalars(select(MeanScore.value).where(MeanScore.stem == "mean")))) == 1
    left = world.program("person 0").get("/api/v1/benchmarks/bench").json()["scores_left"]
    assert left == {"today": 4, "in_all": 99}
    folders = {path.name for path in (world.settings.root / "entries").iterdir()}
    assert folders == {str(entry) for entry in entries}


def test_an_upload_outlives_a_server_that_is_killed_again_and_again(tmp_path: Path) -> None:
    root, folder = tmp_path / "root", copied_demo(tmp_path / "mine")
    generator = random.Random(0)
    with serving(root) as first:
        token, port = make_token(first), first.port
        first.kill()
    done = threading.Event()
    problems: list[BaseException] = []

    def upload() -> None:
        try:
            sender = Client(f"http://127.0.0.1:{port}", token)
            sender._pause = lambda seconds: time.sleep(0.3)
            files = fitting_files(folder, patiently(lambda: sender.benchmark("demo")))
            entry = patiently(lambda: sender.begin("demo", {"name": "mine"}))
            for each in patiently(lambda: sender.declare(entry, files)):
                time.sleep(0.2)  # so that it is not done before the first kill
                patiently(lambda each=each: sender.send(each, lambda offset: None))  # type: ignore[misc]
            patiently(lambda: sender.submit(entry))
        except BaseException as error:
            problems.append(error)
        done.set()

    sending = threading.Thread(target=upload)
    sending.start()
    kills = 0
    while not done.is_set():
        running = Running(root, port)
        done.wait(generator.uniform(0.2, 2.0))
        running.kill()
        kills += 1
    sending.join()
    assert problems == []
    assert kills > 2
    with serving(root, port) as last:
        sender = Client(last.url, token)
        found = sender.wait(1, lambda state: None)
        assert found["state"] == "done"
        assert found["means"]["public"]["sdr"]["mean"] > 100


def patiently(work: Callable[[], T]) -> T:
    """Do something again until there is a server to do it."""
    deadline = time.monotonic() + 120
    while True:
        try:
            return work()
        except UploadError:
            assert time.monotonic() < deadline
            time.sleep(0.2)
