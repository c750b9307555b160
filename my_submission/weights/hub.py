"""Fetches one file from the hub with its own client, into its own cache, and holds both to our limits.

The client takes a file of any size for as long as bytes come, waits as long as the server asks, and uses what the
server calls the file's version as a file name. So every answer passes through `_Watch` first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import httpx2
from huggingface_hub import constants, hf_hub_download, set_client_factory
from huggingface_hub.errors import XetDownloadError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import _http as client_module
from tqdm import tqdm

from .allowance import Allowance, Patience
from .checkpoints import Origin
from .download import OnBytes, allowance_for, retry_after
from .errors import DownloadError, WeightsError

# What huggingface_hub raises: HTTP and file errors are OSErrors, a refused connection is not.
_HUB_ERRORS = (OSError, ValueError, RuntimeError, ArithmeticError, httpx2.HTTPError, XetDownloadError)
_OTHER_BYTES = 1 << 20
"""What an answer that is not the file, but says why there is none, may have."""
_VERSION_HEADERS = ("etag", "x-linked-etag", "x-repo-commit")


def download_from_hub(origin: Origin, progress: OnBytes, patience: Patience) -> Path:
    """The file of a hub origin, in the hub's cache; its settings for endpoint, token, cache and offline use apply.

    It stops at the size of the origin's copy or, where that is not known, at LARGEST_UNKNOWN_BYTES. `progress` is
    called in another thread. Raises DownloadError.
    """
    assert origin.hub
    repository = origin.hub
    allowance = allowance_for(origin.copy.bytes, patience)

    def call() -> str:
        return hf_hub_download(
            repository, origin.path, revision=origin.revision, tqdm_class=_reporting_bar(allowance, progress)
        )

    try:
        _check_cache(repository, str(origin.revision))
        with _watched(_Watch(allowance, patience)) as watch:
            return Path(allowance.wait(lambda: watch.over(call)))
    except WeightsError:
        raise
    except _HUB_ERRORS as error:
        raise DownloadError(f"{_reason(error)}{_advice(error)}") from error


def cached_file(link: Path) -> Path | None:
    """The file that a name in the hub's cache leads to; None if the name is elsewhere, or leads out of its folder.

    Both are in the folder of one repository: snapshots/COMMIT/PATH is a link to blobs/HASH.
    """
    cache = Path(constants.HF_HUB_CACHE).resolve()
    file = link.resolve()
    place, target = link.parent.resolve(), file.parent
    repository = target.parent
    inside = repository.parent == cache and target.name == "blobs"
    return file if inside and place.is_relative_to(repository / "snapshots") else None


class _Watch:
    """Looks at the client's answers while one thread downloads."""

    def __init__(self, allowance: Allowance, patience: Patience) -> None:
        self._allowance, self._patience = allowance, patience
        self._thread: int | None = None

    def over(self, call: Callable[[], str]) -> str:
        """Run `call` in this thread, whose answers are then looked at."""
        self._thread = threading.get_ident()
        return call()

    def look(self, response: httpx2.Response) -> None:
        """A hook of the client, called when an answer's headers are here."""
        if threading.get_ident() != self._thread:
            return
        if response.request.method == "HEAD":  # whose answer says what the file is
            for header in _VERSION_HEADERS:
                _check_version(header, response.headers.get(header))
        self._limit_wait(response.headers)
        assert isinstance(response.stream, httpx2.SyncByteStream)
        response.stream = _Counted(response.stream, self._allowance)

    def _limit_wait(self, headers: httpx2.Headers) -> None:
        """Let the client wait no longer than we would; what it cannot read, it need not see."""
        seconds = retry_after(headers.pop("retry-after", ""))
        headers.pop("ratelimit", None)  # another way to say it
        if seconds is not None:
            headers["retry-after"] = str(int(min(seconds, self._patience.longest_pause_seconds)))


class _Counted(httpx2.SyncByteStream):
    """An answer's body, whose bytes earn time and cannot become too many."""

    def __init__(self, stream: httpx2.SyncByteStream, allowance: Allowance) -> None:
        self._stream, self._allowance = stream, allowance

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for block in self._stream:
            size += len(block)
            self._allowance.arrived(len(block))
            self._allowance.check_size(size - _OTHER_BYTES)
            yield block

    def close(self) -> None:
        self._stream.close()


@contextmanager
def _watched(watch: _Watch) -> Iterator[_Watch]:
    """Have `watch` look at the answers to all clients that the hub's library makes meanwhile."""
    # The library has a function that sets this, and none that tells it; a user may have set one.
    factory = client_module._GLOBAL_CLIENT_FACTORY

    def make() -> httpx2.Client:
        client = factory()
        hooks = client.event_hooks
        client.event_hooks = {**hooks, "response": [*hooks["response"], watch.look]}
        return client

    set_client_factory(make)
    try:
        yield watch
    finally:
        set_client_factory(factory)  # and close the client, which ends a transfer that nobody waits for


def _check_version(header: str, value: str | None) -> None:
    """Refuse a version that the client would take for a path: it writes to a file of that name."""
    name = (value or "").lstrip("W/").strip('"')
    if any(separator in name for separator in ("/", "\\", "\0")) or name in (".", ".."):
        raise DownloadError(f"the server's {header} is {name!r:.80}, which is a path and no version")


def _check_cache(repository: str, revision: str) -> None:
    """Refuse links where the client writes: it follows them."""
    cache = Path(constants.HF_HUB_CACHE)
    name = repo_folder_name(repo_id=repository, repo_type="model")
    refs = cache / name / "refs"
    written = (cache / ".locks", cache / ".locks" / name, cache / name / "blobs", refs, refs / revision)
    for place in written:
        if place.is_symlink():
            raise DownloadError(f"{place} is a link, which is not followed; remove it")


def _reporting_bar(allowance: Allowance, progress: OnBytes) -> type[tqdm[NoReturn]]:
    """A tqdm class that shows nothing, passes on what it is told, and stops a file that becomes too large."""

    class ReportingBar(tqdm):  # type: ignore[type-arg]
        monitor_interval = 0  # or each download would leave a thread that watches the bar
        _lock = threading.RLock()  # not the one of all processes, which one that was killed may hold for ever

        def __init__(self, *_: object, **__: object) -> None:
            super().__init__(disable=True)
            self._size = 0

        def update(self, n: float | None = 1) -> bool | None:
            self._size += int(n or 0)
            allowance.check_size(self._size)
            allowance.have_arrived(self._size)  # a transfer by Xet does not pass through the client
            progress(int(n or 0))
            return None

    return ReportingBar


def _advice(error: Exception) -> str:
    if isinstance(error, PermissionError) or (isinstance(error, OSError) and error.errno == 30):
        return (
            f"; the hub's cache {constants.HF_HUB_CACHE} cannot be written: set HF_HOME to a folder that can"
        )
    if isinstance(error, OSError) and error.errno == 28:
        return f"; the disk of the hub's cache {constants.HF_HUB_CACHE} is full: make room or set HF_HOME"
    return ""


def _reason(error: BaseException) -> str:
    """The first line of an error and of its cause: the client hides a 500 behind "cannot locate the file"."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0] if lines else type(error).__name__
    return f"{reason} ({_reason(error.__cause__)})" if error.__cause__ else reason
