"""Start a service: its folder, its database, what it offers at first, its workers, and the server."""

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import uvicorn
from sqlalchemy import select

from evaluator.locations import DEMO, REPOSITORY
from evaluator.service import accounts, benchmarks
from evaluator.service.app import create_app
from evaluator.service.benchmarks import Rules
from evaluator.service.connections import Connection, tell_soon
from evaluator.service.database import Database, connect
from evaluator.service.errors import SetupError
from evaluator.service.running import Service
from evaluator.service.settings import Settings
from evaluator.service.tables import Account
from evaluator.service.worker import DATABASE_VARIABLE

try:
    import resource
except ImportError:  # as on Windows
    resource = None  # type: ignore[assignment]

DEMO_NAME, DEMO_TITLE = "demo", "Demo tracks, music"
STOP_SECONDS = 15.0  # for a worker to let go of what it is at
RESTART_SECONDS = 2.0
MOST_CONNECTIONS = 1000
MOST_FILES = 4096  # open at once; many systems begin with 1024
QUIET_SECONDS = 30  # that an idle connection is kept
TURN_SECONDS = (
    0.0005  # that a thread may go on while others wait for their turn; Python's own is ten times as long
)

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Started:
    """What to say at the start; invitation: a link for the first organiser, where there is none yet."""

    url: str
    root: Path
    invitation: str | None


def prepare(settings: Settings, database: Database, now: float) -> Started:
    """Offer the demo's tracks where nothing is offered yet, and invite an organiser where there is none."""
    with database.writing() as session:
        if not benchmarks.every(session):
            demo = Rules(DEMO_NAME, DEMO / "music", DEMO_TITLE, is_open=True, private_share=0.0)
            benchmarks.add(settings, session, demo, now)
        known = session.scalar(select(Account.id).where(Account.role == "organiser"))
        invitation = None if known is not None else accounts.invite(session, "organiser", now)
    link = None if invitation is None else f"{settings.url}/invitation/{invitation}"
    return Started(settings.url, settings.root, link)


def make_root(root: Path) -> None:
    """Make the service's folder, which nobody else may read; SetupError if it cannot be written to."""
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        (root / "entries").mkdir(exist_ok=True)
    except OSError as error:
        raise SetupError(f"--root {root}: cannot be made or written to ({error.strerror})") from None
    if not os.access(root, os.W_OK):
        raise SetupError(f"--root {root}: cannot be written to")


def bind(settings: Settings) -> socket.socket:
    """The socket to listen at; SetupError if the address cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.create_server(address[:2], family=family)
    except OSError as error:
        is_name = isinstance(error, socket.gaierror)  # whose numbers are its own
        reason = error.strerror if is_name else os.strerror(error.errno or 0)  # without the address once more
        raise SetupError(
            f"{settings.host}, port {settings.port}: cannot be opened ({reason}); choose another --port or"
            " --host"
        ) from None
    # Inherited by every connection. asyncio sets it only on sockets that it made itself; without it each answer waits
    # 40 ms for the client to acknowledge its headers.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    tell_soon(listening)
    return listening


def allow_files() -> None:
    """Have as many files open as connections may need: each is one, and may send or write another one."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run(settings: Settings, tell: Callable[[Started], object]) -> None:
    """Serve until SIGINT or SIGTERM; `tell` is called once everything answers.

    SetupError if it cannot start, DataError if the demo's tracks cannot be used.
    """
    settings = replace(settings, root=settings.root.absolute())
    make_root(settings.root)
    allow_files()
    listening = bind(settings)
    settings = replace(settings, port=int(listening.getsockname()[1]))
    database = connect(settings)
    try:
        started = prepare(settings, database, time.time())
        app = create_app(Service(settings, database))
        config = uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=QUIET_SECONDS,
            timeout_graceful_shutdown=int(STOP_SECONDS),
        )
        sys.setswitchinterval(
            TURN_SECONDS
        )  # or a page waits that long, several times, for an upload's threads
        with _workers(settings):
            tell(started)
            uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:  # which the server raises once more when it has ended
        pass
    finally:
        listening.close()
        database.close()


@contextmanager
def _workers(settings: Settings) -> Iterator[None]:
    """Worker processes, each started again if it ends; gone afterwards."""
    over = threading.Event()
    threads = [threading.Thread(target=_keep_working, args=(settings, over)) for _ in range(settings.workers)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _keep_working(settings: Settings, over: threading.Event) -> None:
    """Have one worker run. This thread starts it and lives as long: the kernel ends it with the thread."""
    while not over.is_set():
        worker = start_worker(settings)
        while worker.poll() is None and not over.wait(0.1):
            pass
        if worker.poll() is None:
            worker.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(STOP_SECONDS)
        if worker.poll() is None:
            worker.kill()
            worker.wait()
        if not over.is_set():
            LOG.warning("a worker has ended with code %s; another one is started", worker.returncode)
            over.wait(RESTART_SECONDS)


def start_worker(settings: Settings) -> "subprocess.Popen[bytes]":
    """A worker of the service, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    environment[DATABASE_VARIABLE] = settings.database or ""
    return subprocess.Popen(
        [sys.executable, "-m", "evaluator.service.worker", str(settings.root), str(os.getpid())],
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C at the terminal is ours to handle
    )
