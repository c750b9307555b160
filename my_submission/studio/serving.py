"""Start the studio: its folder, its port, and the server, until somebody ends it."""

import contextlib
import logging
import os
import secrets
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from my_submission.files.errors import OutputFailed
from my_submission.studio.app import create_app
from my_submission.studio.desk import Desk, Work
from my_submission.studio.web import uvicorn

HOST = "127.0.0.1"
_PREFIX, _LOCK = "sdx-studio-", ".lock"
_QUIET_SECONDS = 30
_STOP_SECONDS = 3  # for what is being sent when it ends


@contextlib.contextmanager
def studio_folder(kept: Path | None) -> Iterator[Path]:
    """Where songs and stems lie: a folder that is gone afterwards, or one that stays. Raises OutputFailed."""
    try:
        if kept is not None:
            kept.mkdir(parents=True, exist_ok=True)
            yield kept
            return
        _sweep(Path(tempfile.gettempdir()))
        with (
            tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as folder,
            FileLock(Path(folder, _LOCK)),
        ):
            yield Path(folder)
    except OSError as error:
        where = kept or tempfile.gettempdir()
        raise OutputFailed(f"{where}: cannot be written: {error.strerror or error}") from error


def _sweep(place: Path) -> None:
    """Delete what is left of studios of this user that were killed: the system has freed their locks."""
    for folder in place.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError, Timeout):
            status = folder.lstat()
            is_own = not hasattr(os, "getuid") or status.st_uid == os.getuid()
            if not stat.S_ISDIR(status.st_mode) or not is_own or not (folder / _LOCK).is_file():
                continue
            with FileLock(folder / _LOCK, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)


def bind(port: int) -> socket.socket:
    """The socket to listen at, on this machine alone; 0: any free port. Raises OutputFailed."""
    try:
        listening = socket.create_server((HOST, port))
    except OSError as error:
        raise OutputFailed(
            f"{HOST}, port {port}: cannot be opened: {error.strerror}; choose another --port"
        ) from error
    # Inherited by every connection; asyncio sets it only on sockets that it made itself.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def run(work: Work, listening: socket.socket, about: str, tell: Callable[[str], object]) -> None:
    """Serve until SIGINT or SIGTERM. tell: is called with the link, once everything answers."""
    token = secrets.token_urlsafe(24)
    config = uvicorn.Config(
        create_app(Desk(work), token, about),
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=_QUIET_SECONDS,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    tell(f"http://{HOST}:{listening.getsockname()[1]}/{token}/")
    server = uvicorn.Server(config)
    # What is broken off at the end (a song on its way, a zip that is being saved) is no error.
    logging.getLogger("uvicorn.error").addFilter(lambda _: not server.should_exit)
    with contextlib.suppress(KeyboardInterrupt):  # which the server raises once more when it has ended
        server.run(sockets=[listening])
