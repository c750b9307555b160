"""Downloads one file from a plain URL: with resumption, retries with back-off, and time-outs.

Downloads go to `NAME.part`, which is renamed only once the caller's check has accepted it. Files on the hub do not
come this way: `huggingface_hub` fetches those.
"""

from __future__ import annotations

import errno
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx2

from .errors import DownloadError

log = logging.getLogger(__name__)

OnBytes = Callable[[int], object]
"""Receives the number of bytes since the last call; negative if a download starts over."""

_RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Patience:
    """How long to wait and how often to try."""

    connect_seconds: float = 10
    read_seconds: float = 30
    attempts: int = 5  # without a new byte in between
    first_pause_seconds: float = 1  # doubled after each failure
    longest_pause_seconds: float = 60


class _Retry(Exception):  # noqa: N818, a signal rather than an error
    """This attempt failed, but another may succeed; `pause_seconds` is what the server asked for."""

    def __init__(self, reason: str, pause_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.pause_seconds = pause_seconds


def download(
    url: str,
    part: Path,
    *,
    expected_bytes: int | None,
    hash_known: bool,
    progress: OnBytes,
    patience: Patience,
) -> None:
    """Fetch `url` into `part`, the caller's file for unfinished downloads, in a folder that exists.

    hash_known: the caller will compare the whole hash. Only then is a `part` from an earlier run continued:
    otherwise nobody would notice if it was of another file.
    Raises DownloadError with the reason; what has come so far stays in `part`, unless the disk is full.
    """
    _check_room(part, expected_bytes)
    timeout = httpx2.Timeout(patience.read_seconds, connect=patience.connect_seconds)
    with httpx2.Client(timeout=timeout, follow_redirects=True) as client:
        transfer = _Transfer(client, url, part, expected_bytes, hash_known, progress)
        progress(transfer.received)
        failures, before = 0, transfer.received
        while True:
            try:
                transfer.attempt()
                return
            except (_Retry, httpx2.TransportError) as error:
                failures = 1 if transfer.received > before else failures + 1
                before = transfer.received
                reason = str(error) or type(error).__name__
                if failures >= patience.attempts:
                    raise DownloadError(f"{reason} (tried {failures} times)") from error
                pause = _pause(patience, failures, error)
                log.warning("%s: %s; trying again in %.0f s", url, reason, pause)
                time.sleep(pause)
            except httpx2.HTTPError as error:
                raise DownloadError(str(error)) from error
            except OSError as error:
                raise _disk_error(error, part) from error


class _Transfer:
    """A file that grows by one or more requests."""

    def __init__(
        self,
        client: httpx2.Client,
        url: str,
        part: Path,
        expected_bytes: int | None,
        hash_known: bool,
        progress: OnBytes,
    ) -> None:
        self._client, self._url, self._part = client, url, part
        self._expected_bytes, self._hash_known, self._progress = expected_bytes, hash_known, progress
        self._etag: str | None = None

    @property
    def received(self) -> int:
        """Bytes that have come so far, earlier runs included."""
        return self._part.stat().st_size if self._part.exists() else 0

    def attempt(self) -> None:
        """Make one request: ask for what is missing and append it, or start over if the server wants to.

        Raises _Retry if another attempt may help, DownloadError if none will.
        """
        if self.received and not (self._hash_known or self._etag):
            self._start_over()  # another version of the file could not be told from this one
        have = self.received
        if self._expected_bytes is not None and have == self._expected_bytes:
            return
        with self._client.stream("GET", self._url, headers=self._headers(have)) as response:
            if response.status_code == 416:
                if response.headers.get("content-range") == f"bytes */{have}":
                    return  # all of it was here
                self._start_over()
                raise _Retry("the server has no such range; starting over", pause_seconds=0)
            _check_status(response)
            have = self._agree_on_start(response, have)
            self._etag = response.headers.get("etag")
            length = response.headers.get("content-length", "")
            total = have + int(length) if length.isdigit() else None
            if total is not None and self._expected_bytes not in (None, total):
                raise DownloadError(f"the server offers {total:,} bytes, expected {self._expected_bytes:,}")
            self._append(response)
        if total is not None and self.received < total:
            raise _Retry(f"the connection ended after {self.received:,} of {total:,} bytes")

    def _headers(self, have: int) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if self._etag:
                headers["If-Range"] = self._etag
        return headers

    def _agree_on_start(self, response: httpx2.Response, have: int) -> int:
        """Where the server's bytes begin: at `have`, or at 0 with an empty file."""
        partial = response.status_code == 206
        if partial and response.headers.get("content-range", "").startswith(f"bytes {have}-"):
            return have
        if have:
            self._start_over()
        if partial:
            raise _Retry("the server sent another range than asked for; starting over", pause_seconds=0)
        return 0

    def _append(self, response: httpx2.Response) -> None:
        """Write blocks as they come: a fixed block size would lose what came before a connection breaks."""
        with self._part.open("ab") as file:
            for block in response.iter_raw():
                file.write(block)
                self._progress(len(block))

    def _start_over(self) -> None:
        self._progress(-self.received)
        self._part.unlink(missing_ok=True)


def _check_status(response: httpx2.Response) -> None:
    status = f"HTTP {response.status_code} {response.reason_phrase}".strip()
    if response.status_code in _RETRIED_STATUS:
        wish = response.headers.get("retry-after", "")
        raise _Retry(status, pause_seconds=float(wish) if wish.isdigit() else None)
    if response.status_code not in (200, 206):
        raise DownloadError(status)
    kind = response.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml"):
        raise DownloadError("the server sent an HTML page instead of the file (a login or error page?)")


def _pause(patience: Patience, failures: int, error: Exception) -> float:
    wish = error.pause_seconds if isinstance(error, _Retry) else None
    pause = patience.first_pause_seconds * 2 ** (failures - 1) if wish is None else wish
    return min(pause, patience.longest_pause_seconds)


def _check_room(part: Path, expected_bytes: int | None) -> None:
    have = part.stat().st_size if part.exists() else 0
    free = shutil.disk_usage(part.parent).free
    if expected_bytes is not None and free < expected_bytes - have:
        raise DownloadError(
            f"{part.parent} has {free / 1e6:.1f} MB free, but {(expected_bytes - have) / 1e6:.1f} MB are needed;"
            " make room and run the command again"
        )


def _disk_error(error: OSError, part: Path) -> DownloadError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        part.unlink(missing_ok=True)  # a partial file that fills the disk helps nobody
        return DownloadError(f"{part.parent} is full ({error}); make room and run the command again")
    return DownloadError(f"cannot write {part}: {error}; make its folder writable")
