"""What engines cost: speed-up with 1 and 2 workers, overhead of a track, and 10,000 tracks on 200 workers.

    python benchmarks/cluster.py overhead
    python benchmarks/cluster.py speed-up
    python benchmarks/cluster.py scale [--tracks 10000] [--workers 200] [--seconds 8]

`scale` simulates: its workers are Dask's, in one process, and their tracks sleep. It kills the client's view of the
work at half and begins again with what is left, as `--resume` does.
"""

import argparse
import logging
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import psutil

from sdx.engines import address, work
from sdx.engines.engine import Answer, Engine, Needs, Worker
from sdx.engines.opening import open_engine
from sdx.engines.work import Task

QUIET = {  # two hundred workers of one machine would spend it on looking at themselves
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__WORKER__PROFILE__INTERVAL": "10s",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "10s",
}


class Half(Exception):  # noqa: N818 (nothing went wrong)
    """Half of the tracks are done."""


class Counting:
    """A client that counts, and stops after `stop_at` answers."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.done: set[str] = set()
        self.first: float | None = None
        self.stop_at = stop_at

    def answered(self, task: Task, answer: Answer) -> str | None:
        assert task.key not in self.done
        self.first = self.first or time.monotonic()
        self.done.add(task.key)
        if len(self.done) == self.stop_at:
            raise Half
        return None

    def changed(self, task: Task) -> str | None:
        return None

    def gave_up(self, task: Task, reason: str) -> None:
        raise AssertionError(f"{task.key}: {reason}")

    def notice(self, text: str) -> None:
        print(f"  {text}")

    def watched(self, workers: Sequence[Worker], busy: Mapping[str, str]) -> None:
        pass


def nothing() -> None:
    """A track without work."""


def spin() -> int:
    """A track that computes for about a second on one core, of fixed work."""
    total = 0
    for number in range(12_000_000):
        total += number & 7
    return total


def opened(text: str, workers: int) -> Engine:
    """The engine, once all its workers have joined."""
    engine = open_engine(address.parse(text), Path("/tmp/sdx-benchmark"), print)
    while len(engine.workers()) < workers:
        time.sleep(0.05)
    return engine


def overhead() -> None:
    """Milliseconds that an engine adds to a track, one after the other on one worker."""
    for text in ("local?workers=1", "dask://local?workers=1"):
        engine = opened(text, 1)
        times = []
        for number in range(200):
            begun = time.monotonic()
            engine.submit(nothing, key=f"n{number}", needs=Needs()).result()
            times.append(1000 * (time.monotonic() - begun))
        engine.close()
        print(f"{text}: median {statistics.median(times):.1f} ms, 90 % below {sorted(times)[180]:.1f} ms")


def speed_up() -> None:
    """Seconds for the same computation with 1 and 2 workers."""
    tasks = [Task(f"t{number}", ()) for number in range(16)]
    for kind in ("local", "dask://local"):
        seconds = {}
        for workers in (1, 2):
            engine = opened(f"{kind}?workers={workers}", workers)
            begun = time.monotonic()
            work.complete(engine, spin, tasks, Counting(), Needs())
            seconds[workers] = time.monotonic() - begun
            engine.close()
        print(
            f"{kind}: {seconds[1]:.1f} s and {seconds[2]:.1f} s, {seconds[1] / seconds[2]:.2f} times as fast"
        )


def scale(tracks: int, workers: int, sleep_seconds: float) -> None:
    """A scheduler of its own process, `workers` workers in processes of fifty, and a kill at half."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **QUIET}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    scheduler = subprocess.Popen(
        [
            *(sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard"),
            "--host",
            f"tcp://127.0.0.1:{port}",
        ],
        **quiet,  # type: ignore[call-overload]
    )
    time.sleep(5)
    crowd = [
        subprocess.Popen(
            [sys.executable, __file__, "crowd", "--port", str(port), "--workers", str(min(50, workers))],
            **quiet,
        )  # type: ignore[call-overload]
        for _ in range(-(-workers // 50))
    ]
    try:
        _half_and_half(port, tracks, workers, sleep_seconds, psutil.Process(scheduler.pid))
    finally:
        for process in (*crowd, scheduler):
            process.kill()


def _half_and_half(
    port: int, tracks: int, workers: int, sleep_seconds: float, scheduler: psutil.Process
) -> None:
    tasks = [Task(f"t{number}", (sleep_seconds,)) for number in range(tracks)]
    begun = time.monotonic()
    engine = opened(f"dask://127.0.0.1:{port}", workers)
    print(f"{workers} workers joined after {time.monotonic() - begun:.1f} s")
    ideal = tracks * sleep_seconds / workers
    before, begun = scheduler.cpu_times(), time.monotonic()
    first = Counting(tracks // 2)
    try:
        work.complete(engine, time.sleep, tasks, first, Needs())
    except Half:
        half_seconds = time.monotonic() - begun
    engine.close()
    again = time.monotonic()
    engine = opened(f"dask://127.0.0.1:{port}", workers)
    second = Counting()
    left = [task for task in tasks if task.key not in first.done]
    work.complete(engine, time.sleep, left, second, Needs())
    ended = time.monotonic()
    engine.close()
    after = scheduler.cpu_times()
    assert len(first.done | second.done) == tracks
    assert not first.done & second.done
    spent = after.user + after.system - before.user - before.system
    assert second.first is not None
    print(f"first half {half_seconds:.1f} s, of {ideal / 2:.1f} s without any overhead")
    print(
        f"resumed: first answer {second.first - again:.1f} s after the kill, the rest {ended - again:.1f} s"
    )
    print(f"scheduler: {spent:.1f} s of processor, {1000 * spent / tracks:.2f} ms a track,", end=" ")
    print(f"{scheduler.memory_info().rss / (1 << 20):.0f} MiB")


def crowd(port: int, workers: int) -> None:
    """Workers of Dask in this process, each with one thread."""
    import asyncio

    from distributed import Worker as DaskWorker

    logging.getLogger("distributed").setLevel(logging.CRITICAL)

    async def run() -> None:
        made = [
            DaskWorker(f"tcp://127.0.0.1:{port}", nthreads=1, dashboard=False, memory_limit=0)
            for _ in range(workers)
        ]
        await asyncio.gather(*made)
        await asyncio.gather(*(each.finished() for each in made))

    asyncio.run(run())


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("overhead", "speed-up", "scale", "crowd"))
    parser.add_argument("--tracks", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--port", type=int)
    given = parser.parse_args()
    if given.what == "overhead":
        overhead()
    elif given.what == "speed-up":
        speed_up()
    elif given.what == "scale":
        scale(given.tracks, given.workers, given.seconds)
    else:
        crowd(given.port, given.workers)


if __name__ == "__main__":
    main()
