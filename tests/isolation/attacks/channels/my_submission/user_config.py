"""Promises 2, 3 and 10: nothing passes from one session to the next, or from one run to the next.

Each session leaves marks wherever it can, and looks for those of the one before: temporary files, shared memory,
System V tables, message queues, keyrings, sockets, the home, its own folder, predictions of earlier tracks,
processes. Every track fails, so that each has a session of its own, and all is run twice.
"""

import os
import socket
from pathlib import Path

from my_submission.attack import (
    LIBC,
    MIXTURES,
    PREDICTIONS,
    TOKEN,
    WORLD,
    Model,
    attempt,
    daemon,
    syscall,
    tried,
)

TWICE = True
EXPECTED = {"first": "crashed", "second": "crashed", "third": "crashed"}
MARK = f"{TOKEN}-mark"
KEY = int(TOKEN[:7], 16)
FOLDERS = (
    "/tmp",
    "/dev/shm",
    "/var/tmp",
    "/run",
    "/dev/mqueue",
    "/",
    "/sdx",
    "/sdx/shared",
    "/dev",
    "/run/lock",
    "/home",
)
IPC_CREAT, AF_KEYS = 0o1000, (-3, -4, -5)


class MySeparationModel(Model):
    def __init__(self) -> None:
        self.look()

    def first(self) -> None:
        self.look()
        self.leave()
        raise RuntimeError

    second = third = first

    def look(self) -> None:
        home, own = os.environ["HOME"], str(Path(__file__).parent)
        for folder in (*FOLDERS, home, own, os.environ["TMPDIR"], WORLD["home"], WORLD["root"], MIXTURES):
            attempt(f"a mark in {folder}", lambda at=folder: Path(at, MARK).read_text())
            attempt(f"marks in {folder}", lambda at=folder: [name for name in os.listdir(at) if MARK in name])
        for name in ("shmget", "msgget", "semget"):
            size = {"shmget": (KEY, 4096, 0), "msgget": (KEY, 0), "semget": (KEY, 1, 0)}[name]
            attempt(f"{name}", lambda of=name, at=size: syscall(of, *at) >= 0)
        attempt("a message queue", lambda: syscall("mq_open", f"{MARK}\0".encode(), os.O_RDWR, 0, 0) >= 0)
        for ring in AF_KEYS:
            attempt(
                f"a key in {ring}",
                lambda at=ring: syscall("keyctl", 10, at, b"user\0", f"{MARK}\0".encode(), 0) >= 0,
            )
        attempt("an abstract socket", lambda: _connect(f"\0{MARK}"))
        attempt("a socket", lambda: _connect(f"/tmp/{MARK}.sock"))
        attempt("a port", lambda: _connect(("127.0.0.1", 20000 + KEY % 20000)))
        attempt(
            "earlier predictions",
            lambda: [name for name in os.listdir(PREDICTIONS) if name != getattr(self, "track", "")],
        )
        attempt(
            "earlier mixtures",
            lambda: [name for name in os.listdir(MIXTURES) if name != getattr(self, "track", "")],
        )
        attempt("earlier processes", _strangers)

    def leave(self) -> None:
        for folder in (
            *FOLDERS,
            os.environ["HOME"],
            PREDICTIONS,
            self.folder,
            str(Path(__file__).parent),
            MIXTURES,
        ):
            tried()
            try:
                Path(folder, MARK).write_text("a mark")
            except OSError:
                continue
        tried(6)
        for name, arguments in (
            ("shmget", (KEY, 4096, IPC_CREAT | 0o666)),
            ("msgget", (KEY, IPC_CREAT | 0o666)),
            ("semget", (KEY, 1, IPC_CREAT | 0o666)),
            ("mq_open", (f"{MARK}\0".encode(), os.O_CREAT | os.O_RDWR, 0o666, 0)),
            *(("add_key", (b"user\0", f"{MARK}\0".encode(), b"secret", 6, ring)) for ring in AF_KEYS),
        ):
            try:
                syscall(name, *arguments)
            except OSError:
                continue
        daemon(lambda: _serve())
        LIBC.shm_open(f"/{MARK}-posix".encode(), os.O_CREAT | os.O_RDWR, 0o666)


def _connect(address: object) -> object:
    family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_STREAM) as link:
        link.settimeout(1.0)
        link.connect(address)  # type: ignore[arg-type]
        return "connected"


def _serve() -> None:
    """A process that stays, if it can, and listens wherever it can."""
    listeners = []
    for address in (f"\0{MARK}", f"/tmp/{MARK}.sock", ("127.0.0.1", 20000 + KEY % 20000)):
        listener = socket.socket(
            socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX, socket.SOCK_STREAM
        )
        listener.bind(address)  # type: ignore[arg-type]
        listener.listen()
        listeners.append(listener)
    while True:
        listeners[0].accept()


def _strangers() -> object:
    """Processes that are neither init, nor this one."""
    return [name for name in os.listdir("/proc") if name.isdigit() and int(name) not in (1, os.getpid())]
