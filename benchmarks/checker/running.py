"""A service whose server and workers are processes that can be killed and started again at little cost.

They are forked from one process that has imported everything, since importing takes two seconds of a processor.
"""

import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Self

import numpy as np
import soundfile
from numpy.typing import NDArray

from evaluator.challenge import MUSIC
from evaluator.service import accounts, benchmarks, database, jobs, serving, worker
from evaluator.service.benchmarks import Rules
from evaluator.service.database import Database
from evaluator.service.settings import Settings

RATE_HZ = 44_100
NAME = "load"
PASSWORD = "correct horse"
START_SECONDS = 60.0
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["__main__", __name__])


@dataclass(frozen=True)
class Patience:
    """How soon a worker is given up, and how often an entry is tried, where not as in the service itself."""

    lease_seconds: float = jobs.LEASE_SECONDS
    attempts: int = jobs.MOST_ATTEMPTS
    beat_seconds: float = jobs.HEARTBEAT_SECONDS
    sweep_seconds: float = worker.SWEEP_SECONDS


def _serve(settings: Settings) -> None:
    serving.run(settings, lambda started: None)


def _work(settings: Settings, patience: Patience) -> None:
    jobs.LEASE_SECONDS, jobs.MOST_ATTEMPTS, jobs.PAUSE_SECONDS = (
        patience.lease_seconds,
        patience.attempts,
        0.0,
    )
    worker.SWEEP_SECONDS = patience.sweep_seconds
    setattr(worker, "HEARTBEAT_SECONDS", patience.beat_seconds)  # noqa: B010 (it has it from jobs)
    os.environ[worker.DATABASE_VARIABLE] = settings.database or ""
    worker.main(str(settings.root), str(os.getppid()))


@dataclass
class Service:
    """A service with a server and, if asked for, workers; a context manager, after which nothing of it runs."""

    settings: Settings
    patience: Patience = Patience()
    server: BaseProcess | None = None
    workers: list[BaseProcess] = field(default_factory=list)
    _open: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        self._open.callback(self._end)
        return self

    def __exit__(self, *reason: object) -> None:
        self._open.close()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{self.settings.host}:{self.settings.port}"

    def start_server(self) -> None:
        """Start the server, and wait until it answers."""
        self.server = PROCESSES.Process(target=_serve, args=(self.settings,))
        self.server.start()
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection((self.settings.host, self.settings.port), 1.0).close()
                return
            except OSError:
                if time.monotonic() > deadline or not self.server.is_alive():
                    raise
                time.sleep(0.01)

    def start_worker(self) -> BaseProcess:
        """Start one worker more."""
        made = PROCESSES.Process(target=_work, args=(self.settings, self.patience))
        made.start()
        self.workers.append(made)
        return made

    def kill(self, process: BaseProcess) -> None:
        """SIGKILL."""
        process.kill()
        process.join()

    def _end(self) -> None:
        for process in (self.server, *self.workers):
            if process is not None and process.is_alive():
                self.kill(process)


def prepare(root: Path, data: Mapping[str, Path], url: str | None = None) -> tuple[Settings, Database]:
    """A new service's folder and database, with these benchmarks, and a free port for it; url: of the database."""
    settings = Settings(root, url, port=_free_port(), workers=0)
    serving.make_root(root)
    opened = database.connect(settings)
    with opened.writing() as session:
        for name, folder in data.items():
            benchmarks.add(settings, session, Rules(name, folder, private_share=0.0), time.time())
    return settings, opened


def _free_port() -> int:
    """A port that nobody listens at now; it must stay the same when the server is started again."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def token_of(opened: Database, name: str) -> str:
    """A token of a new account that may submit."""
    now = time.time()
    with opened.writing() as session:
        invitation = accounts.invite(session, "submitter", now)
        made = accounts.accept(session, invitation, name, PASSWORD, now)
        caller = accounts.Caller(made.id, made.name, made.role)
        return accounts.issue_token(session, caller, "load", "submit", now)


def level_of(number: int, people: int) -> float:
    """What somebody's estimates are, times the reference, so that a score says whose it is."""
    return 0.3 + 0.6 * number / people


def noise(frames: int, seed: int, level: float = 0.05) -> NDArray[np.float32]:
    """Stereo noise of this standard deviation, (samples, channels)."""
    made = np.random.default_rng(seed).standard_normal((frames, 2), dtype=np.float32)
    made *= level
    return made


def write_track(folder: Path, stem: NDArray[np.float32]) -> None:
    """A track whose four stems are the same."""
    folder.mkdir(parents=True)
    for name in MUSIC.stems:
        soundfile.write(folder / f"{name}.wav", stem, RATE_HZ, "PCM_16")
    soundfile.write(folder / "mixture.wav", len(MUSIC.stems) * stem, RATE_HZ, "PCM_16")


def wait_until(is_so: Callable[[], bool], seconds: float, what: str) -> None:
    """Return once something is so; TimeoutError if it is not within this time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.05)
