"""Addresses of engines: the one reader of `--engine`, and of the files that TLS takes."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, urlsplit

from sdx.terminal import one_line

Kind = Literal["local", "dask", "slurm"]

HERE = "local"  # in the place of a host: workers, or jobs, of this machine
FORMS = (
    "local?workers=N, dask://HOST:PORT, dask+tls://HOST:PORT, dask://local?workers=N, slurm://PARTITION?jobs=N "
    "or slurm://local?jobs=N"
)
OPTIONS: Mapping[Kind, tuple[str, ...]] = {
    "local": ("workers", "gpus", "slow"),
    "dask": ("workers", "gpus", "patience", "silence", "slow"),
    "slurm": ("jobs", "gpus", "hours", "patience"),
}
WORKERS = 2
JOBS = 10
PATIENCE_SECONDS = 600
SILENCE_SECONDS = 60
SLOW_SECONDS = 60


class AddressError(Exception):
    """The address of an engine, or what goes with it, cannot be used; the message is one sentence."""


@dataclass(frozen=True)
class Tls:
    """Certificates in PEM files: the authority's, and ours with its key."""

    ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True)
class Address:
    """An engine that was asked for.

    host: of Dask's scheduler, a partition of Slurm's ("" for the default one), or HERE. options: whole numbers above
    0, as in "workers=4": how many workers (or jobs of Slurm at a time); how many GPUs each piece of work takes; how
    many seconds to wait for a scheduler or for workers that are gone; after how many seconds a silent worker counts
    as gone; from how many seconds on a piece may count as slow, and be given to a second worker; how many hours a job
    of Slurm may take.
    """

    kind: Kind
    host: str = HERE
    port: int | None = None
    tls: Tls | None = None
    options: Mapping[str, int] = field(default_factory=dict)

    def option(self, name: str, default: int) -> int:
        """The value of an option, or this default."""
        return self.options.get(name, default)

    @property
    def is_here(self) -> bool:
        """Whether nothing leaves this machine."""
        if self.kind == "slurm":
            return self.host == HERE
        return self.host in (HERE, "localhost") or _is_loopback(self.host)

    @property
    def url(self) -> str:
        """How the scheduler is called by Dask."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tcp' if self.tls is None else 'tls'}://{host}:{self.port}"

    @property
    def warning(self) -> str | None:
        """What is to be said before anything goes there; None where nothing is."""
        if self.kind != "dask" or self.is_here or self.tls is not None:
            return None
        return (
            f"{self.url}: nothing is encrypted, and whoever reaches that port can run code on every worker; "
            "use dask+tls:// outside of a network of your own"
        )


def parse(
    text: str, ca: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> Address:
    """The engine that `text` names; AddressError says in one sentence what is wrong with it, or with the files."""
    shown = one_line(text)
    try:
        parts = urlsplit(text if "://" in text else f"{text.partition('?')[0]}://?{text.partition('?')[2]}")
        port = parts.port
    except ValueError as error:
        raise AddressError(f"--engine {shown}: no address ({error}); expected {FORMS}") from None
    kind, _, secured = parts.scheme.partition("+")
    if kind not in OPTIONS or secured not in ("", "tls") or (secured and kind != "dask"):
        raise AddressError(f"--engine {shown}: found the kind {parts.scheme or 'none'}, expected {FORMS}")
    if parts.path.strip("/") or parts.fragment or parts.username or ("://" not in text and kind != "local"):
        raise AddressError(f"--engine {shown}: found more, or less, than an address; expected {FORMS}")
    known: Kind = kind  # type: ignore[assignment]  # of OPTIONS
    host = _host(known, parts, port, shown)
    options = _options(known, parts, shown)
    if known == "dask" and (host == HERE) == (port is not None):
        found = "a port for workers of this machine" if port is not None else "no port"
        raise AddressError(f"--engine {shown}: found {found}, expected dask://HOST:PORT or dask://local")
    if "workers" in options and host != HERE:
        raise AddressError(f"--engine {shown}: the workers of a scheduler are started by you; drop workers=")
    return Address(known, host, port, _tls(shown, bool(secured), ca, certificate, key), options)


def _host(kind: Kind, parts: SplitResult, port: int | None, shown: str) -> str:
    host = parts.hostname or ""
    if kind == "local" and (host or port is not None):
        raise AddressError(f"--engine {shown}: found a host, expected local?workers=N")
    if kind == "slurm":
        if port is not None:
            raise AddressError(f"--engine {shown}: found a port, expected the name of a partition")
        return parts.netloc  # partitions know capital letters
    return host or HERE


def _options(kind: Kind, parts: SplitResult, shown: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in OPTIONS[kind] or name in found:
            expected = ", ".join(OPTIONS[kind])
            raise AddressError(f"--engine {shown}: found the option {name}, expected each once of {expected}")
        if not (value.isascii() and value.isdecimal() and int(value[:9]) > 0 and len(value) <= 9):
            raise AddressError(
                f"--engine {shown}: {name}: found {value or 'nothing'}, expected a number from 1"
            )
        found[name] = int(value)
    return found


def _tls(
    shown: str, secured: bool, ca: Path | None, certificate: Path | None, key: Path | None
) -> Tls | None:
    given = {"--tls-ca": ca, "--tls-cert": certificate, "--tls-key": key}
    if not secured:
        if names := [name for name, file in given.items() if file is not None]:
            raise AddressError(f"--engine {shown}: {', '.join(names)} go with dask+tls://HOST:PORT only")
        return None
    if missing := [name for name, file in given.items() if file is None]:
        raise AddressError(
            f"--engine {shown}: {', '.join(missing)} missing, expected three files in PEM format"
        )
    for name, file in given.items():
        if file is not None and not file.is_file():
            raise AddressError(f"{name} {one_line(str(file))}: no such file")
    assert ca is not None
    assert certificate is not None
    assert key is not None
    return Tls(ca.resolve(), certificate.resolve(), key.resolve())


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
