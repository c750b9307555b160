"""Real `dask scheduler` and `dask worker` processes on this machine, to be killed."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil
import trustme

from evaluator.locations import REPOSITORY
from sdx.engines.address import Tls
from tests.waiting import wait_for

QUICK = {  # the defaults suit networks, and are patient
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "500ms",
    "DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD": "spawn",
}


def runs(process: psutil.Process) -> bool:
    """Whether it has not ended; one that nobody has asked for its exit code has."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def answers(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something listens there."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), 1):
        return True
    return False


def certificates(folder: Path) -> Tls:
    """A certificate for this machine, and the authority's that made it."""
    folder.mkdir(parents=True)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    made = authority.issue_cert("127.0.0.1", "localhost")
    made.private_key_pem.write_to_path(str(folder / "key.pem"))
    made.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    return Tls(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")


class Cluster:
    """A scheduler and workers, each a process; ended with all that they started by `close`."""

    def __init__(self, folder: Path, tls: Tls | None = None, host: str = "127.0.0.1") -> None:
        self._folder = folder
        self._options = (
            []
            if tls is None
            else [
                *("--tls-ca-file", str(tls.ca)),
                *("--tls-cert", str(tls.certificate), "--tls-key", str(tls.key)),
            ]
        )
        self._host = host
        self.port = free_port()
        self.url = f"{'tcp' if tls is None else 'tls'}://{host}:{self.port}"
        self.engine = f"dask{'' if tls is None else '+tls'}://{host}:{self.port}"
        self._processes: list[subprocess.Popen[bytes]] = []
        self.pair: list[subprocess.Popen[bytes]] = []
        self.start_scheduler()

    def start_scheduler(self) -> None:
        arguments = ["--host", self.url, "--no-dashboard", *self._options]
        self.scheduler = self._start("dask_scheduler", arguments, {})
        wait_for(lambda: answers(self.port, self._host), "the scheduler")

    def worker(
        self, environment: Mapping[str, str] = {}, command: Sequence[str] = ()
    ) -> "subprocess.Popen[bytes]":
        """Start a worker, with its nanny, which is what is returned; `command` runs it elsewhere."""
        arguments = [self.url, "--nworkers", "1", "--nthreads", "1", "--no-dashboard"]
        return self._start("dask_worker", [*arguments, *self._options], environment, command)

    def _start(
        self,
        program: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        command: Sequence[str] = (),
    ) -> "subprocess.Popen[bytes]":
        log = (self._folder / f"{program}-{len(self._processes)}.log").open("wb")
        process = subprocess.Popen(
            [*command, sys.executable, "-m", f"distributed.cli.{program}", *arguments],
            cwd=self._folder,
            # A temporary folder of its own: workers of one machine count one another there.
            env={
                **os.environ,
                "PYTHONPATH": str(REPOSITORY),
                "TMPDIR": str(self._folder),
                **QUICK,
                **environment,
            },
            stdout=log,
            stderr=log,
        )
        log.close()
        self._processes.append(process)
        return process

    def close(self) -> None:
        """End everything."""
        for process in self._processes:
            kill_tree(process.pid)
            process.wait()


def kill_tree(pid: int) -> None:
    """SIGKILL a process and its descendants."""
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def worker_of(nanny: "subprocess.Popen[bytes]") -> psutil.Process | None:
    """The process of the worker below a nanny, once it is there."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(nanny.pid).children():
            if "resource_tracker" not in " ".join(child.cmdline()):
                return child
    return None


def separates(nanny: "subprocess.Popen[bytes]") -> bool:
    """Whether a submission runs below a nanny: between two tracks it stands still."""
    with contextlib.suppress(psutil.NoSuchProcess):
        worker = worker_of(nanny)
        return worker is not None and any(
            any(argument.endswith("isolation/worker.py") for argument in each.cmdline())
            and each.status() != psutil.STATUS_STOPPED
            for each in worker.children(recursive=True)
        )
    return False


@contextlib.contextmanager
def opened(folder: Path, tls: Tls | None = None, host: str = "127.0.0.1") -> Iterator[Cluster]:
    """A cluster that is closed in the end."""
    folder.mkdir(exist_ok=True)
    cluster = Cluster(folder, tls, host)
    try:
        yield cluster
    finally:
        cluster.close()


def kill(process: "subprocess.Popen[bytes] | psutil.Process") -> None:
    """SIGKILL one process, and no other."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
