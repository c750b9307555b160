"""One file from a plain URL: resumed, retried with back-off, with time-outs, never left half done.

Downloads go to `NAME.part` and are renamed only once the caller's check has accepted them. The hub's files
do not come this way: `huggingface_hub` fetches those.
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

Progress = Callable[[int], object]
"""Receives the bytes that came since the last call; negative where a download starts over."""

_BLOCK_BYTES = 1 << 18
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
    """This attempt failed in a way that another may not; `pause_seconds` is the server's wish."""

    def __init__(self, reason: str, pause_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.pause_seconds = pause_seconds


def download(
    url: str,
    part: Path,
    *,
    expected_bytes: int | None,
    resume: bool,
    progress: Progress,
    patience: Patience,
) -> None:
    """Fetch `url` into `part`, the caller's file for unfinished downloads, in a folder that exists.

    resume: go on from what an earlier run left in `part`. Only for a file whose hash is known: a `part` of
    other contents would not be noticed otherwise. Within this call interrupted transfers always go on.
    Raises DownloadError with the reason; what came so far stays in `part` unless the disk is full.
    """
    if not resume:
        part.unlink(missing_ok=True)
    _check_room(part, expected_bytes)
    received = part.stat().st_size if part.exists() else 0
    progress(received)
    timeout = httpx2.Timeout(patience.read_seconds, connect=patience.connect_seconds)
    etag: str | None = None
    failures = 0
    with httpx2.Client(timeout=timeout, follow_redirects=True) as client:
        while True:
            try:
                etag = _transfer(client, url, part, etag, expected_bytes, progress)
                return
            except (_Retry, httpx2.TransportError) as error:
                now = part.stat().st_size if part.exists() else 0
                failures = 1 if now > received else failures + 1
                received = now
                reason = str(error) or type(error).__name__
                if failures >= patience.attempts:
                    raise DownloadError(f"{reason} (tried {failures} times)") from error
                pause = _pause(patience, failures, error)
                log.warning("%s: %s; trying again in %.0f s", url, reason, pause)
                time.sleep(pause)
            except httpx2.HTTPError as error:
                raise DownloadError(f"{error}") from error
            except OSError as error:
                raise _disk_error(error, part) from error


def _transfer(
    client: httpx2.Client,
    url: str,
    part: Path,
    etag: str | None,
    expected_bytes: int | None,
    progress: Progress,
) -> str | None:
    """One request: append to `part` if the server agrees to go on where it ends. Returns the etag."""
    have = part.stat().st_size if part.exists() else 0
    if expected_bytes is not None and have == expected_bytes:
        return etag
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if etag:
            headers["If-Range"] = etag
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == 416:
            if response.headers.get("content-range") == f"bytes */{have}":
                return etag  # all of it was here
            _start_over(part, have, progress)
            raise _Retry("the server has no such range; starting over", pause_seconds=0)
        _check_status(response)
        goes_on = response.status_code == 206 and response.headers.get("content-range", "").startswith(
            f"bytes {have}-"
        )
        if have and not goes_on:
            _start_over(part, have, progress)
            have = 0
        if response.status_code == 206 and not goes_on:
            raise _Retry("the server sent another range than asked for; starting over", pause_seconds=0)
        length = response.headers.get("content-length", "")
        total = have + int(length) if length.isdigit() else None
        if expected_bytes is not None and total is not None and total != expected_bytes:
            raise DownloadError(f"the server offers {total:,} bytes, expected {expected_bytes:,}")
        with part.open("ab") as file:
            for block in response.iter_raw(_BLOCK_BYTES):
                file.write(block)
                progress(len(block))
        received = part.stat().st_size
        if total is not None and received < total:
            raise _Retry(f"the connection ended after {received:,} of {total:,} bytes")
        return response.headers.get("etag", etag)


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


def _start_over(part: Path, have: int, progress: Progress) -> None:
    part.unlink(missing_ok=True)
    progress(-have)


def _pause(patience: Patience, failures: int, error: Exception) -> float:
    wish = error.pause_seconds if isinstance(error, _Retry) else None
    pause = patience.first_pause_seconds * 2 ** (failures - 1) if wish is None else wish
    return min(pause, patience.longest_pause_seconds)


def _check_room(part: Path, expected_bytes: int | None) -> None:
    have = part.stat().st_size if part.exists() else 0
    free = shutil.disk_usage(part.parent).free
    if expected_bytes is not None and free < expected_bytes - have:
        raise DownloadError(
            f"{part.parent} has {free / 1e6:.1f} MB free, {(expected_bytes - have) / 1e6:.1f} MB are needed;"
            " make room and run the command again"
        )


def _disk_error(error: OSError, part: Path) -> DownloadError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        part.unlink(missing_ok=True)  # a rest that fills the disk helps nobody
        return DownloadError(f"{part.parent} is full ({error}); make room and run the command again")
    return DownloadError(f"cannot write {part}: {error}; make its folder writable")
