"""A PostgreSQL server of the tests' own, on loopback, where the machine has its programs."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

USER = 65534  # the server refuses to be root's
START_SECONDS = 60.0


def programs() -> Path | None:
    """The folder of initdb and postgres; None where they are not."""
    folders = [Path(found).parent for found in [shutil.which("initdb")] if found]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next(
        (each for each in folders if (each / "initdb").is_file() and (each / "postgres").is_file()), None
    )


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Runs while the context lasts; the beginning of its databases' URLs."""
    user = USER if os.geteuid() == 0 else None
    place = Path(tempfile.mkdtemp(prefix="sdx-postgres-"))
    if user is not None:
        os.chown(place, user, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    init = [
        folder / "initdb",
        "-D",
        place / "data",
        "-A",
        "trust",
        "-U",
        "sdx",
        "-E",
        "UTF8",
        "--no-sync",
        "--no-locale",
    ]
    subprocess.run([*map(str, init)], check=True, capture_output=True, user=user, group=user, cwd="/")
    settings = {
        "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off", "max_connections": "50",
    }  # fmt: skip
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    running = subprocess.Popen(
        [str(folder / "postgres"), "-D", str(place / "data"), "-p", str(port), *options],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user, group=user, cwd="/",
    )  # fmt: skip
    try:
        url = f"postgresql://sdx@127.0.0.1:{port}"
        _wait(f"{url}/postgres")
        yield url
    finally:
        running.send_signal(signal.SIGINT)  # SIGTERM would wait for every client to leave
        running.wait()
        shutil.rmtree(place, ignore_errors=True)


def _wait(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


def new_database(url: str, name: str, template: str = "template1") -> str:
    """The URL of a new database, a copy of another to which nobody is connected."""
    with psycopg.connect(f"{url}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())
    return f"{url}/{name}"
