"""Fifty people at once: each uploads an entry of their own, looks around meanwhile, and has it scored.

Every entry is louder than the one before by its own amount, so its score says whose it is.
"""

import asyncio
import hashlib
import io
import math
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import soundfile
from sqlalchemy import select

from benchmarks.checker.running import NAME, RATE_HZ, Service, level_of, noise, prepare, token_of, write_track
from evaluator.service.client import CONTENT_TYPE
from evaluator.service.database import Database
from evaluator.service.settings import Settings
from evaluator.service.tables import Upload

FRAMES = 8000
STEMS = ("vocals", "drums")
PIECES = 2  # of every file
TIMEOUT_SECONDS = 120.0
SCORING_SECONDS = 1800.0
PAGES = ("/", f"/benchmarks/{NAME}", "/queue", f"/api/v1/leaderboards/{NAME}")


@dataclass
class Crowd:
    """What was seen: seconds of each kind of request, its failures, and what was there afterwards."""

    people: int
    seconds: float = 0.0
    latencies: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failures: list[str] = field(default_factory=list)
    intact: int = 0  # entries all of whose bytes are as they were sent
    right: int | None = None  # entries with the score that is theirs alone

    def rows(self) -> Iterator[tuple[str, str]]:
        """The table."""
        yield "people, all at once", f"{self.people}, {self.seconds:.0f} s until all was sent"
        for kind, found in self.latencies.items():
            most = statistics.quantiles(found, n=20)[-1]
            yield (
                f"{kind}: {len(found)}",
                f"median {1000 * statistics.median(found):.0f} ms, 95 % within {1000 * most:.0f} ms",
            )
        yield "requests that failed", f"{len(self.failures)} {'; '.join(self.failures[:3])}"
        yield "entries with every byte in place", f"{self.intact} of {self.people}"
        if self.right is not None:
            yield "entries with their own score", f"{self.right} of {self.people}"


def run(people: int, are_scored: bool = True) -> Crowd:
    """Have so many people upload at once; are_scored: and wait for a worker to score all."""
    with tempfile.TemporaryDirectory() as place:
        write_track(Path(place) / "data" / "one", noise(FRAMES, seed=0))
        settings, opened = prepare(Path(place) / "root", {NAME: Path(place) / "data"})
        tokens = [token_of(opened, f"person {number}") for number in range(people)]
        crowd = Crowd(people)
        with Service(settings) as service:
            service.start_server()
            entries = asyncio.run(_all(service.url, tokens, crowd))
            crowd.intact = sum(
                _is_intact(settings, opened, entry, _files(number, people))
                for number, entry in entries.items()
            )
            if are_scored:
                service.start_worker()
                crowd.right = asyncio.run(_scored(service.url, entries, people))
        opened.close()
        return crowd


def _files(person: int, people: int) -> dict[str, bytes]:
    """Somebody's estimates, by name."""
    content = io.BytesIO()
    estimate = level_of(person, people) * noise(FRAMES, seed=0)
    soundfile.write(
        content, estimate, RATE_HZ, "PCM_24", format="WAV"
    )  # floats would come with the time of day
    return {f"one_{stem}.wav": content.getvalue() for stem in STEMS}


async def _all(url: str, tokens: list[str], crowd: Crowd) -> dict[int, int]:
    """{person: entry}, once everybody is done."""
    limits = httpx2.Limits(max_connections=len(tokens))
    async with httpx2.AsyncClient(base_url=url, timeout=TIMEOUT_SECONDS, limits=limits) as client:
        began = time.monotonic()
        people = [_Person(client, token, number, crowd) for number, token in enumerate(tokens)]
        found = await asyncio.gather(*(person.take_part() for person in people), return_exceptions=True)
        crowd.seconds = time.monotonic() - began
    crowd.failures += [repr(each) for each in found if isinstance(each, BaseException)]
    return {number: each for number, each in enumerate(found) if isinstance(each, int)}


@dataclass
class _Person:
    client: httpx2.AsyncClient
    token: str
    number: int
    crowd: Crowd

    async def take_part(self) -> int:
        """Upload, and look around after each piece; returns the entry."""
        chance = random.Random(self.number)
        said = {"benchmark": NAME, "name": f"entry of {self.number}", "visibility": "public"}
        entry = int((await self._ask("begin", "POST", "/api/v1/entries", json=said)).json()["entry"])
        files = _files(self.number, self.crowd.people)
        given = [
            {"name": name, "length": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        ]
        answer = await self._ask("declare", "POST", f"/api/v1/entries/{entry}/files", json={"files": given})
        for upload in answer.json()["uploads"]:
            content = files[upload["name"]]
            cuts = sorted(chance.randrange(len(content)) for _ in range(PIECES - 1))
            for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
                headers = {"Content-Type": CONTENT_TYPE, "Upload-Offset": str(start)}
                await self._ask(
                    "send", "PATCH", upload["location"], content=content[start:end], headers=headers
                )
            await self._ask("look", "GET", chance.choice(PAGES))
        await self._ask("submit", "POST", f"/api/v1/entries/{entry}/submit")
        return entry

    async def _ask(self, kind: str, method: str, path: str, **options: object) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.token}", **dict(options.pop("headers", {}))}  # type: ignore[call-overload]
        began = time.monotonic()
        answer = await self.client.request(method, path, headers=headers, **options)  # type: ignore[arg-type]
        self.crowd.latencies[kind].append(time.monotonic() - began)
        if not answer.is_success:
            self.crowd.failures.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        return answer


def _is_intact(settings: Settings, opened: Database, entry: int, files: Mapping[str, bytes]) -> bool:
    """Whether the disk has what was sent, and nothing else."""
    with opened.reading() as session:
        known = {
            each.id: each.name for each in session.scalars(select(Upload).where(Upload.entry_id == entry))
        }
    found = {known.get(path.name): path.read_bytes() for path in settings.entry_folder(entry).iterdir()}
    return found == files


async def _scored(url: str, entries: Mapping[int, int], people: int) -> int:
    """How many entries have the score that follows from how loud they are, once the queue is empty."""
    async with httpx2.AsyncClient(base_url=url, timeout=TIMEOUT_SECONDS) as client:
        await _until_empty(client)
        right = 0
        for number, entry in entries.items():
            found = (await client.get(f"/api/v1/entries/{entry}")).json()
            expected = -20 * math.log10(1 - level_of(number, people))
            right += (
                found["state"] == "done" and abs(found["means"]["public"]["sdr"]["vocals"] - expected) < 0.02
            )
        return right


async def _until_empty(client: httpx2.AsyncClient) -> None:
    deadline = time.monotonic() + SCORING_SECONDS
    while left := (await client.get("/api/v1/queue")).json()["entries"]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(left)} entries are still in the queue")
        await asyncio.sleep(0.5)
