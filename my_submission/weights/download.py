"""Downloads one file from a plain URL: with resumption, retries with back-off, and limits of size and time.

Downloads go to `NAME.part`, which is renamed only once the caller's check has accepted it. Files on the hub do not
come this way: `huggingface_hub` fetches those (`hub.py`).
"""

from __future__ import annotations

import errno
import logging
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import httpx2

from ..plain_files import open_own, own_bytes
from .allowance import Allowance, Patience
from .errors import DownloadError
from .store import LARGEST_UNKNOWN_BYTES

log = logging.getLogger(__name__)

OnBytes = Callable[[int], object]
"""Receives the number of bytes since the last call; negative if a download starts over."""

_RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_MOST_DOUBLINGS = 30


class _Retry(Exception):  # noqa: N818, a signal rather than an error
    """This attempt failed, but another may succeed; `pause_seconds` is what the server asked for."""

    def __init__(self, reason: str, pause_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.pause_seconds = pause_seconds


def allowance_for(expected_bytes: int | None, patience: Patience) -> Allowance:
    """What the download of a file of this size may take; None: of unknown size."""
    if expected_bytes is not None:
        return Allowance(expected_bytes, "its row's bytes", patience)
    return Allowance(LARGEST_UNKNOWN_BYTES, "the most for a row without bytes", patience)


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

    expected_bytes: the size, at which it stops; where it is not known, at LARGEST_UNKNOWN_BYTES.
    hash_known: the caller will compare the whole hash. Only then is a `part` from an earlier run continued:
    otherwise nobody would notice if it was of another file.
    `progress` is called in another thread.
    Raises DownloadError with the reason; what has come so far stays in `part`, unless the disk is full or the file is
    too large.
    """
    _check_room(part, expected_bytes)
    allowance = allowance_for(expected_bytes, patience)
    allowance.wait(lambda: _download(url, part, allowance, expected_bytes, hash_known, progress, patience))


def _download(
    url: str,
    part: Path,
    allowance: Allowance,
    expected_bytes: int | None,
    hash_known: bool,
    progress: OnBytes,
    patience: Patience,
) -> None:
    timeout = httpx2.Timeout(patience.read_seconds, connect=patience.connect_seconds)
    with httpx2.Client(timeout=timeout, follow_redirects=True) as client:
        transfer = _Transfer(client, url, part, allowance, expected_bytes, hash_known, progress)
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
                if failures >= patience.attempts or transfer.restarts >= patience.attempts:
                    raise DownloadError(f"{reason} (tried {failures} times)") from error
                pause = _pause(patience, failures, error)
                log.warning("%s: %s; trying again in %.0f s", url, reason, pause)
                time.sleep(pause)
            except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
                raise DownloadError(str(error)) from error
            except OSError as error:
                with allowance.acting():
                    raise _disk_error(error, part) from error


class _Transfer:
    """A file that grows by one or more requests.

    restarts: how often what had come was of no use.
    """

    def __init__(
        self,
        client: httpx2.Client,
        url: str,
        part: Path,
        allowance: Allowance,
        expected_bytes: int | None,
        hash_known: bool,
        progress: OnBytes,
    ) -> None:
        self._client, self._url, self._part, self._allowance = client, url, part, allowance
        self._expected_bytes, self._hash_known, self._progress = expected_bytes, hash_known, progress
        self._etag: str | None = None
        self.restarts = 0

    @property
    def received(self) -> int:
        """Bytes that have come so far, earlier runs included."""
        return own_bytes(self._part)

    def attempt(self) -> None:
        """Make one request: ask for what is missing and append it, or start over if the server wants to.

        Raises _Retry if another attempt may help, DownloadError if none will.
        """
        if self.received and not (self._hash_known or self._etag):
            self._start_over()  # another version of the file could not be told from this one
        if self.received > self._allowance.most_bytes:
            self._start_over()  # it cannot be the beginning of the file
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
            length = _whole(response.headers.get("content-length", ""))
            total = None if length is None else have + length
            if total is not None and self._expected_bytes not in (None, total):
                raise DownloadError(f"the server offers {total:,} bytes, expected {self._expected_bytes:,}")
            self._allowance.check_size(total or 0)
            self._append(response, have)
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

    def _append(self, response: httpx2.Response, have: int) -> None:
        """Write blocks as they come: a fixed block size would lose what came before a connection breaks."""
        with self._allowance.acting():
            file = open_own(self._part)
        with file:
            for block in response.iter_raw():
                have += len(block)
                try:
                    self._allowance.check_size(have)
                except DownloadError:
                    self._start_over()  # it cannot be the file
                    raise
                with self._allowance.acting():
                    file.write(block)
                    file.flush()
                self._allowance.arrived(len(block))
                self._progress(len(block))

    def _start_over(self) -> None:
        self.restarts += 1
        self._progress(-self.received)
        with self._allowance.acting():
            self._part.unlink(missing_ok=True)


def _check_status(response: httpx2.Response) -> None:
    status = f"HTTP {response.status_code} {response.reason_phrase}".strip()
    if response.status_code in _RETRIED_STATUS:
        raise _Retry(status, pause_seconds=retry_after(response.headers.get("retry-after", "")))
    if response.status_code not in (200, 206):
        raise DownloadError(status)
    kind = response.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml"):
        raise DownloadError("the server sent an HTML page instead of the file (a login or error page?)")


def retry_after(text: str) -> float | None:
    """The seconds of a `Retry-After`; None for a date or anything else. The caller does not wait that long if it is
    too long."""
    seconds = _whole(text.strip())
    return None if seconds is None else float(seconds)


def _whole(text: str) -> int | None:
    """A header's number, if it is one: `isdigit` takes ² for one, and int() refuses it, as it does 5,000 digits."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


def _pause(patience: Patience, failures: int, error: Exception) -> float:
    wish = error.pause_seconds if isinstance(error, _Retry) else None
    if wish is None:
        wish = patience.first_pause_seconds * 2 ** min(failures - 1, _MOST_DOUBLINGS)
    return min(wish, patience.longest_pause_seconds)


def _check_room(part: Path, expected_bytes: int | None) -> None:
    have = own_bytes(part)
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
