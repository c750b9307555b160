"""`sdx upload`: sends a folder of estimates file by file, and goes on after whatever interrupts it.

Needs nothing that only the service needs. What does not fit is found here, by the benchmark's description, before a
byte travels; the service checks all of it again.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import httpx2

from evaluator import printable
from evaluator.digests import sha256_of_file
from evaluator.running import predictions
from evaluator.running.dataset import Contents, Track
from evaluator.running.predictions import PredictionsError, Survey

logging.getLogger("httpx2").setLevel(logging.WARNING)  # else it tells of every request

API = "/api/v1"
PIECE_BYTES, BLOCK_BYTES = 32 << 20, 1 << 20
TIMEOUT_SECONDS = 60.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
MOST_FAILURES = 20  # in a row, without a byte that went through
POLL_SECONDS = 2.0
AGAIN = (408, 409, 423, 429, 460)  # answers after which to ask how far it is, and go on
CONTENT_TYPE = "application/offset+octet-stream"
LONGEST_TEAM = 40
TUS = {"Tus-Resumable": "1.0.0"}


class UploadError(Exception):
    """The service said no, or cannot be reached; the message says what to do."""


@dataclass(frozen=True)
class Sending:
    """A file on its way: where it is here and there, and how far it is."""

    path: Path
    location: str
    offset: int
    length: int
    complete: bool


class Client:
    """One server and a token. Every method raises UploadError for what the server refuses."""

    def __init__(self, server: str, token: str, transport: httpx2.BaseTransport | None = None) -> None:
        if not server.startswith(("http://", "https://")):
            raise UploadError(f"--server {printable.plain(server)}: expected an address such as https://HOST")
        self.server = server.rstrip("/")
        self._pause = time.sleep
        self._http = httpx2.Client(
            base_url=self.server,
            headers={"Authorization": f"Bearer {token}"},
            timeout=TIMEOUT_SECONDS,
            transport=transport,
        )

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def benchmark(self, name: str) -> dict[str, Any]:
        """The description of a benchmark."""
        return self._json("GET", f"/benchmarks/{name}")

    def begin(self, benchmark: str, said: Mapping[str, Any]) -> int:
        """The number of a new entry, or of one of the same name that was begun earlier."""
        for entry in self._json("GET", "/entries")["entries"]:
            same = (entry["state"], entry["benchmark"], entry["name"], entry.get("team"))
            if same == ("uploading", benchmark, said["name"], said.get("team")):
                # What is said now holds, such as who sees it.
                now = {key: value for key, value in said.items() if key != "team"}
                return int(self._json("PATCH", f"/entries/{entry['entry']}", json=now)["entry"])
        return int(self._json("POST", "/entries", json={"benchmark": benchmark, **said})["entry"])

    def declare(self, entry: int, files: Mapping[str, Path]) -> list[Sending]:
        """Say which files will come, by the names they are given; returns how far each is."""
        listed = [
            {"name": name, "length": path.stat().st_size, "sha256": sha256_of_file(path)}
            for name, path in files.items()
        ]
        found = self._json("POST", f"/entries/{entry}/files", json={"files": listed})["uploads"]
        return [
            Sending(files[each["name"]], each["location"], each["offset"], each["length"], each["complete"])
            for each in found
        ]

    def send(self, file: Sending, progress: Callable[[int], object]) -> None:
        """Send what is left of a file; `progress` is told how many bytes it has sent each time."""
        offset, failures = file.offset, 0
        while not file.complete:
            try:
                offset = self._send_piece(file, offset)
                progress(offset)
                failures = 0
                if offset == file.length:
                    return
            except _TryAgainError as error:
                failures += 1
                if failures > MOST_FAILURES:
                    raise UploadError(
                        f"{file.path}: {error}; the same command goes on where it was"
                    ) from None
                self._pause(min(FIRST_PAUSE_SECONDS * 2 ** (failures - 1), LONGEST_PAUSE_SECONDS))
                offset = self._offset(file, offset)

    def _send_piece(self, file: Sending, offset: int) -> int:
        """Send the next piece; returns the offset after it."""
        with file.path.open("rb") as opened:
            opened.seek(offset)
            length = min(PIECE_BYTES, file.length - offset)
            headers = {
                **TUS,
                "Content-Type": CONTENT_TYPE,
                "Upload-Offset": str(offset),
                "Content-Length": str(length),
            }
            answer = self._ask("PATCH", file.location, content=_blocks(opened, length), headers=headers)
        return int(answer.headers["Upload-Offset"])

    def _offset(self, file: Sending, known: int) -> int:
        """How far the server is; what was known while it cannot be reached."""
        try:
            return int(self._ask("HEAD", file.location, headers=TUS).headers["Upload-Offset"])
        except _TryAgainError:
            return known

    def submit(self, entry: int) -> None:
        """Have it be scored."""
        self._json("POST", f"/entries/{entry}/submit")

    def wait(self, entry: int, tell: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The entry once it is over, whatever came of it; `tell` is given it in each state on the way, once."""
        told = None
        while True:
            found = self._json("GET", f"/entries/{entry}")
            if found["state"] not in ("queued", "validating", "scoring"):
                return found
            if found["state"] != told:
                tell(found)
                told = found["state"]
            self._pause(POLL_SECONDS)

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        failures = 0
        while True:
            try:
                found = self._ask(method, f"{API}{path}", **options).json()
                if isinstance(found, dict):
                    return found
                raise ValueError
            except _TryAgainError as error:
                failures += 1
                if failures > 3 or error.status is not None:
                    raise UploadError(f"{self.server}: {error}") from None
                self._pause(FIRST_PAUSE_SECONDS * 2**failures)
            except ValueError:
                raise UploadError(f"{self.server}: answers, but not as a service of this kit") from None

    def _ask(self, method: str, path: str, **options: Any) -> httpx2.Response:
        try:
            answer = self._http.request(method, path, **options)
        except httpx2.TransportError as error:
            raise _TryAgainError(
                f"cannot be reached ({printable.plain(str(error) or type(error).__name__)})"
            ) from None
        if answer.is_success:
            return answer
        sentence = _said(answer)
        if answer.status_code >= 500 or answer.status_code in AGAIN:
            raise _TryAgainError(sentence, answer.status_code)
        raise UploadError(sentence)


class _TryAgainError(Exception):
    """It did not work, and may work later; status: of the answer, if there was one."""

    def __init__(self, sentence: str, status: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status


def team_problem(name: str) -> str | None:
    """Why no team can be called so; None if one can."""
    if not 0 < len(name) <= LONGEST_TEAM:
        return f"found {len(name)} characters, expected 1 to {LONGEST_TEAM}"
    return None if printable.fault(name) is None else "expected visible characters"


def _said(answer: httpx2.Response) -> str:
    """What a refusal says, fit to be shown."""
    try:
        found = answer.json()
        lines = [str(found["error"]), *map(str, found.get("problems", []))]
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"the server answers {answer.status_code} {printable.plain(answer.reason_phrase)}"
    return "\n  ".join(map(printable.plain, lines))


def _blocks(file: BinaryIO, length: int) -> Iterator[bytes]:
    while length > 0 and (block := file.read(min(BLOCK_BYTES, length))):
        length -= len(block)
        yield block


def fitting_files(folder: Path, benchmark: Mapping[str, Any]) -> dict[str, Path]:
    """{name to send: file} of a folder of estimates; PredictionsError with all that does not fit the benchmark."""
    contents = Contents(
        {track["folder"]: track["folder"] for track in benchmark["tracks"]}, frozenset(benchmark["stems"])
    )
    found = predictions.survey(folder, contents)
    stems = sorted(found.stems & contents.stems)
    if not stems:
        example = f"{min(contents.folders.values())}_{min(contents.stems)}.wav"
        raise PredictionsError([f"{found.root}: no estimates in it; expected files such as {example}"])
    tracks = tuple(_track(track, stems) for track in benchmark["tracks"])
    predictions.check(found, tracks, contents, all_stems=True)
    return _named(found)


def _named(found: Survey) -> dict[str, Path]:
    every = sorted(parts for several in found.files.values() for parts in several)
    return {"/".join(parts): found.root.joinpath(*parts) for parts in every}


def _track(described: Mapping[str, Any], stems: list[str]) -> Track:
    """A track as the server describes it; where its references are is the server's to know."""
    channels = described["channels"]
    references = dict.fromkeys(stems, Path())
    folder = described["folder"]
    return Track(
        folder,
        folder,
        (),
        references,
        described["frames"],
        described["rate_hz"],
        min(channels),
        max(channels),
    )
