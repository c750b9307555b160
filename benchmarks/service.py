"""The quality checker while a gigabyte comes in: rate, memory of the server, how soon other pages answer.

`python benchmarks/service.py [--mebibytes 1024]`

Starts a service on loopback in a folder of its own, with a benchmark of silence, and sends one file by the raw path.
Meanwhile another client asks for the queue, one request after the other.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from evaluator.challenge import MUSIC
from evaluator.locations import DEMO
from evaluator.service import accounts, benchmarks, database, serving
from evaluator.service.benchmarks import Rules
from evaluator.service.client import CONTENT_TYPE
from evaluator.service.settings import Settings

RATE_HZ = 44_100
BLOCK = bytes(1 << 20)
BYTES_OF_A_SECOND = RATE_HZ * 2 * 8 * len(MUSIC.stems)  # at most, of all stems


def write_silence(folder: Path, size_bytes: int) -> Path:
    """A track so long that its estimates may be of this size together."""
    track = folder / "silence"
    track.mkdir(parents=True)
    frames = RATE_HZ * (size_bytes // BYTES_OF_A_SECOND + 1)
    for name in ("mixture", *MUSIC.stems):
        soundfile.write(track / f"{name}.flac", np.zeros((frames, 2), np.int16), RATE_HZ)
    return folder


def prepare(settings: Settings, data: Path) -> str:
    """A benchmark of that data, and a token of somebody who may submit."""
    serving.make_root(settings.root)
    opened, now = database.connect(settings), time.time()
    with opened.writing() as session:
        benchmarks.add(settings, session, Rules("silence", data), now)
        benchmarks.add(settings, session, Rules("demo", DEMO / "music", is_open=True), now)
        made = accounts.accept(
            session, accounts.invite(session, "submitter", now), "bench", "0123456789", now
        )
        caller = accounts.Caller(made.id, made.name, made.role)
        return accounts.issue_token(session, caller, "bench", "submit", now)


def upload(url: str, token: str, size_bytes: int) -> float:
    """Seconds that a file of this size takes, to its last acknowledgement."""
    headers = {"Authorization": f"Bearer {token}"}
    with httpx2.Client(base_url=f"{url}/api/v1", headers=headers, timeout=600.0) as client:
        entry = client.post("/entries", json={"benchmark": "silence", "name": "x"}).json()["entry"]
        given = {"files": [{"name": "x.zip", "length": size_bytes}]}
        (found,) = client.post(f"/entries/{entry}/files", json=given).json()["uploads"]

        def blocks() -> Iterator[bytes]:
            for _ in range(size_bytes // len(BLOCK)):
                yield BLOCK

        sent = {"Content-Type": CONTENT_TYPE, "Upload-Offset": "0", "Content-Length": str(size_bytes)}
        began = time.monotonic()
        answer = client.patch(f"{url}{found['location']}", content=blocks(), headers=sent)
        assert answer.status_code == 204, answer.text
        return time.monotonic() - began


def resident_mebibytes(process: int) -> float:
    """Memory of a process (Linux)."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mebibytes", type=int, default=1024)
    size_bytes = parser.parse_args().mebibytes << 20
    with tempfile.TemporaryDirectory() as place:
        settings = Settings(Path(place) / "root")
        token = prepare(settings, write_silence(Path(place) / "data", size_bytes))
        command = [sys.executable, "-m", "evaluator", "serve", "--root", settings.root, "--port", "0"]
        server = subprocess.Popen(
            [*map(str, command), "--workers", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        url = server.stdout.readline().split()[-1]
        measure(url, token, size_bytes, server.pid)
        server.terminate()
        server.wait()


def measure(url: str, token: str, size_bytes: int, server: int) -> None:
    """Send the file while the queue is asked for."""
    before = resident_mebibytes(server)
    latencies: list[float] = []
    memory: list[float] = []
    over = threading.Event()

    def ask() -> None:
        with httpx2.Client(timeout=60.0) as client:
            while not over.is_set():
                began = time.monotonic()
                client.get(f"{url}/queue")
                latencies.append(1000 * (time.monotonic() - began))
                memory.append(resident_mebibytes(server))
                time.sleep(0.01)

    asking = threading.Thread(target=ask)
    asking.start()
    seconds = upload(url, token, size_bytes)
    over.set()
    asking.join()
    print(f"upload: {size_bytes / (1 << 20) / seconds:.0f} MiB/s, its hash included")
    print(f"server: {before:.0f} MiB before, {max(memory):.0f} MiB at most")
    print(f"queue meanwhile: median {statistics.median(latencies):.1f} ms,", end=" ")
    print(f"95 % within {statistics.quantiles(latencies, n=20)[-1]:.1f} ms, {len(latencies)} requests")


if __name__ == "__main__":
    main()
