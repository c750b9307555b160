"""A gigabyte comes in by the raw path, while somebody else asks for pages.

Who else uses the machine decides how fast that is. So the same is done by a plain program before and after, and pages
are asked for without an upload, too: the ratios say what the service makes of the machine as it just is.
"""

import hashlib
import os
import resource
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import numpy as np
import soundfile

from benchmarks.checker.running import PROCESSES, RATE_HZ, Service, prepare, token_of
from evaluator.challenge import MUSIC
from evaluator.locations import DEMO
from evaluator.service.client import CONTENT_TYPE

BLOCK = bytes(1 << 20)
BYTES_OF_A_SECOND = RATE_HZ * 2 * 8 * len(MUSIC.stems)  # at most, of all stems
PAGES = ("/", "/benchmarks/demo", "/queue", "/api/v1/leaderboards/demo")
PAUSE_SECONDS = 0.02  # between two pages that somebody asks for
QUIET_SECONDS = 2.0  # in which pages are asked for, and nothing comes in


@dataclass(frozen=True)
class Uploaded:
    """What was seen. CPU seconds are the server's own, which do not depend on who else uses the machine.

    plain_seconds: what a plain program took for as much, before and after. quiet_ms, busy_ms: how soon pages came,
    without and with an upload under way.
    """

    mebibytes: float
    seconds: float
    plain_seconds: tuple[float, float]
    cpu_seconds: float
    mebibytes_before: float
    mebibytes_most: float
    quiet_ms: tuple[float, ...]
    busy_ms: tuple[float, ...]

    def rows(self) -> Iterator[tuple[str, str]]:
        """The table."""
        rate, plain = self.mebibytes / self.seconds, 2 * self.mebibytes / sum(self.plain_seconds)
        yield "rate, its hash included", f"{rate:.0f} MiB/s"
        yield (
            "a plain program meanwhile",
            f"{plain:.0f} MiB/s to receive, hash, write and flush as much; the service has {rate / plain:.2f} of it",
        )
        yield (
            "processor time of the server",
            f"{self.cpu_seconds:.1f} s, so {self.mebibytes / self.cpu_seconds:.0f} MiB a second of one processor",
        )
        yield (
            "memory of the server",
            f"{self.mebibytes_before:.0f} MiB before, {self.mebibytes_most - self.mebibytes_before:.0f} MiB more",
        )
        for what, found in (("pages meanwhile", self.busy_ms), ("pages without an upload", self.quiet_ms)):
            median, most = statistics.median(found), statistics.quantiles(found, n=20)[-1]
            yield what, f"median {median:.1f} ms, 95 % within {most:.1f} ms, {len(found)} requests"


def run(mebibytes: int) -> Uploaded:
    """Send one file of this size."""
    size_bytes = mebibytes << 20
    with tempfile.TemporaryDirectory() as place:
        data = write_silence(Path(place) / "data", size_bytes)
        settings, opened = prepare(Path(place) / "root", {"silence": data, "demo": DEMO / "music"})
        token = token_of(opened, "bench")
        with Service(settings) as service:
            service.start_server()
            assert service.server is not None
            assert service.server.pid is not None
            return _measure(Path(place) / "plain", service.url, token, size_bytes, service.server.pid)


def write_silence(folder: Path, size_bytes: int) -> Path:
    """A track so long that its estimates may be of this size together."""
    track = folder / "silence"
    track.mkdir(parents=True)
    frames = RATE_HZ * (size_bytes // BYTES_OF_A_SECOND + 1)
    for name in ("mixture", *MUSIC.stems):
        soundfile.write(track / f"{name}.flac", np.zeros((frames, 2), np.int16), RATE_HZ)
    return folder


def _measure(target: Path, url: str, token: str, size_bytes: int, server: int) -> Uploaded:
    location = _begin(url, token, size_bytes)
    latencies: list[float] = []
    over = threading.Event()

    def ask() -> None:
        with httpx2.Client(base_url=url, timeout=60.0) as client:
            for page in PAGES:  # templates are read once
                client.get(page)
            while not over.is_set():
                began = time.monotonic()
                client.get(PAGES[len(latencies) % len(PAGES)])
                latencies.append(1000 * (time.monotonic() - began))
                over.wait(PAUSE_SECONDS)

    plain_before = _plain(target, size_bytes)
    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(QUIET_SECONDS)
    quiet, before, cpu_before = len(latencies), _resident_mebibytes(server), _cpu_seconds(server)
    try:
        seconds = _send(url, token, location, size_bytes)
        cpu = _cpu_seconds(server) - cpu_before
    finally:
        over.set()
        asking.join()
    return Uploaded(
        size_bytes / (1 << 20),
        seconds,
        (plain_before, _plain(target, size_bytes)),
        cpu,
        before,
        _most_mebibytes(server),
        tuple(latencies[:quiet]),
        tuple(latencies[quiet:]),
    )


def _plain(target: Path, size_bytes: int) -> float:
    """Seconds in which a program without anything around it receives as much, hashes it, and has it on the disk."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        program = PROCESSES.Process(target=_receive, args=(listening, target))
        program.start()
        with socket.create_connection(listening.getsockname()) as line:
            began = time.monotonic()
            for _ in range(size_bytes // len(BLOCK)):
                line.sendall(BLOCK)
            line.shutdown(socket.SHUT_WR)
            line.recv(1)  # it closes when it is done
            seconds = time.monotonic() - began
        program.join()
        target.unlink()
    return seconds


def _receive(listening: socket.socket, target: Path) -> None:
    block, digest = bytearray(len(BLOCK)), hashlib.sha256()
    line, _ = listening.accept()
    with line, target.open("wb") as file:
        while size := line.recv_into(block):
            digest.update(memoryview(block)[:size])
            file.write(memoryview(block)[:size])
        file.flush()
        os.fsync(file.fileno())


def _begin(url: str, token: str, size_bytes: int) -> str:
    """The location of a new upload."""
    headers = {"Authorization": f"Bearer {token}"}
    with httpx2.Client(base_url=f"{url}/api/v1", headers=headers, timeout=60.0) as client:
        entry = client.post("/entries", json={"benchmark": "silence", "name": "x"}).json()["entry"]
        given = {"files": [{"name": "x.zip", "length": size_bytes}]}
        (found,) = client.post(f"/entries/{entry}/files", json=given).json()["uploads"]
        return str(found["location"])


def _send(url: str, token: str, location: str, size_bytes: int) -> float:
    """Seconds from the first byte to the acknowledgement of the last; the sender costs little by itself."""
    host, _, port = url.removeprefix("http://").partition(":")
    lines = (
        f"PATCH {location} HTTP/1.1",
        f"Host: {host}:{port}",
        f"Authorization: Bearer {token}",
        f"Content-Type: {CONTENT_TYPE}",
        "Upload-Offset: 0",
        f"Content-Length: {size_bytes}",
    )
    with socket.create_connection((host, int(port))) as line:
        began = time.monotonic()
        line.sendall("".join(f"{each}\r\n" for each in (*lines, "")).encode())
        for _ in range(size_bytes // len(BLOCK)):
            line.sendall(BLOCK)
        answer = line.recv(1 << 16)
        seconds = time.monotonic() - began
    if not answer.startswith(b"HTTP/1.1 204"):
        raise RuntimeError(f"the upload was refused: {answer[:500]!r}")
    return seconds


def _resident_mebibytes(process: int) -> float:
    """Memory of a process (Linux)."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


def _most_mebibytes(process: int) -> float:
    """The most memory that a process has had (Linux)."""
    status = Path(f"/proc/{process}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _cpu_seconds(process: int) -> float:
    """Processor time of a process, in all its threads (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
