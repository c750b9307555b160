"""Where a service keeps its things, and its limits."""

import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from evaluator.locations import data_folder

GIB = 1 << 30
DAY_SECONDS = 86_400.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERYWHERE = ("0.0.0.0", "::", "")  # all addresses of this machine, which is then known by its name


@dataclass(frozen=True)
class OpenIdProvider:
    """Who else may say who somebody is.

    issuer: its address, as its tokens have it. client, secret: what it knows this service by; no secret for a client
    that is public to it. domains: of e-mail addresses whose owners need no invitation.
    """

    issuer: str
    client: str
    secret: str = ""
    domains: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """How people are told of it."""
        return urlsplit(self.issuer).hostname or self.issuer


@dataclass(frozen=True)
class Settings:
    """A service: its folder, its database, where it answers, and what everybody may use of it.

    database: an URL of SQLAlchemy; None for the file service.sqlite in `root`.
    public_url: as people reach it, without a slash at its end; https there makes cookies secure.
    """

    root: Path
    database: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    public_url: str | None = None
    workers: int = 1
    provider: OpenIdProvider | None = None
    bytes_a_day: int = 64 * GIB  # that one account may upload
    open_uploads: int = 3  # entries that one account may have begun and not submitted
    upload_seconds: float = DAY_SECONDS  # after its last byte, an unfinished upload is removed
    spare_bytes: int = 10 * GIB  # of the disk, or a tenth of it where that is less
    spare_share: float = 0.1

    @property
    def database_url(self) -> str:
        """The URL of the database that is used."""
        if self.database is None:
            return f"sqlite:///{self.root / 'service.sqlite'}"
        # A plain postgresql:// would mean psycopg2, which is not what the extra installs.
        return self.database.replace("postgresql://", "postgresql+psycopg://", 1)

    @property
    def url(self) -> str:
        """Where people reach it."""
        host = socket.gethostname() if self.host in EVERYWHERE else self.host
        host = f"[{host}]" if ":" in host else host
        return self.public_url or f"http://{host}:{self.port}"

    @property
    def is_secure(self) -> bool:
        """Whether browsers reach it through TLS."""
        return self.url.startswith("https://")

    def entry_folder(self, entry: int) -> Path:
        """Where the files of an entry lie."""
        return self.root / "entries" / str(entry)

    def mixtures_file(self, benchmark: str) -> Path:
        """The zip of a benchmark's mixtures."""
        return self.root / "benchmarks" / benchmark / "mixtures.zip"

    def has_room_for(self, size_bytes: int) -> bool:
        """Whether the disk has room for so much, with some to spare."""
        return shutil.disk_usage(self.root).free - size_bytes >= self.kept_free_bytes()

    def kept_free_bytes(self) -> int:
        """How much of the disk is not used, since others need it."""
        return int(min(self.spare_bytes, self.spare_share * shutil.disk_usage(self.root).total))


def default_root() -> Path:
    """The folder of the service of this working copy, or of this user where the kit is installed."""
    return data_folder() / "service"
