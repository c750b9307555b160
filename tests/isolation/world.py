"""A victim's world: data, another run, a leaderboard, a home, secrets, daemons; and what became of it."""

import hashlib
import os
import secrets
import shutil
import socket
import sqlite3
import stat
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from evaluator.challenge import MUSIC
from evaluator.locations import REPOSITORY
from evaluator.runs.leaderboard import Store
from tests.evaluator import audio, made_results

TRAP_FRAMES, WELL_FRAMES = 22050, 30000
WELL = "well"  # the track on which every attack is honest; the last one
HONEST_DB = 1.6  # above what a quarter of the mixture scores, for stems of one loudness
HASHED_BYTES = 1 << 20  # larger files are not read
PUBLIC_FOLDERS = ("/tmp", "/dev/shm", "/var/tmp", "/dev/mqueue", "/run/lock")
PASSED_ON = ("PATH", "LANG", "LD_LIBRARY_PATH", "DOCKER_HOST", "SDX_BASE_IMAGE", "CONTAINERS_CONF")
VARIABLES = (
    "HF_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "SDX_SECRET_TOKEN",
    "DATABASE_URL",
    "SSH_AUTH_SOCK",
    "WANDB_API_KEY",
)
SECRETS = (
    *("home/.ssh/id_ed25519", "home/.netrc", "home/.aws/credentials", "home/.cache/huggingface/token"),
    *("home/.config/service/token", "home/.bash_history", "home/.cache/torch/hub/secret", "tmp/secret"),
    *("runs/other/estimates/song/secret", "beside.txt"),
)
CODE = ("evaluator", "my_submission", "sdx", "run_eval.py", "weights/manifest.yaml", "pyproject.toml")
SITE_PACKAGES = sysconfig.get_paths()["purelib"]
Entry = tuple[Any, ...]


@dataclass
class World:
    """Everything below `root` is the victim's; what stands in public folders has `token` in its name."""

    root: Path
    ways: tuple[str, ...]
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    secret: str = field(default_factory=lambda: f"secret-{secrets.token_hex(16)}")
    contacts: list[str] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def tracks(self) -> tuple[str, ...]:
        """Names, in the order in which they are run."""
        return (*(f"{number:02}-{way}" for number, way in enumerate(self.ways)), WELL)

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def temporary(self) -> Path:
        """The evaluator's TMPDIR."""
        return self.root / "tmp"

    @property
    def submission(self) -> Path:
        return self.root / "submission"

    @property
    def leaderboard(self) -> Path:
        return self.root / "runs" / "leaderboard.sqlite"

    @property
    def out(self) -> Path:
        return self.root / "runs" / "attacked"

    @property
    def socket(self) -> Path:
        """The path of a daemon's socket."""
        return self.root / "daemon.sock"

    @property
    def public_files(self) -> list[Path]:
        """Secrets in folders that all users share."""
        return [Path(folder, f"{self.token}-secret.wav") for folder in PUBLIC_FOLDERS[:2]]

    def described(self) -> dict[str, Any]:
        """What the attacker knows."""
        references = sorted(str(path) for path in self.data.rglob("*.wav") if path.stem != "mixture")
        return {
            "token": self.token,
            "trap_frames": TRAP_FRAMES,
            "ways": list(self.ways),
            "root": str(self.root),
            "data": str(self.data),
            "home": str(self.home),
            "out": str(self.out),
            "submission": str(self.submission),
            "references": references,
            "secrets": [*(str(self.root / name) for name in SECRETS), *map(str, self.public_files)],
            "estimates": sorted(map(str, (self.root / "runs" / "other").rglob("*.wav"))),
            "ours": [
                *(str(self.leaderboard), str(self.root / "baseline.json")),
                *(str(REPOSITORY / name) for name in CODE),
                *(str(REPOSITORY / "evaluator" / "isolation" / name) for name in ("worker.py", "sandbox.py")),
                *(SITE_PACKAGES, str(Path(SITE_PACKAGES, "numpy", "__init__.py")), sys.executable),
            ],
            "repository": str(REPOSITORY),
            "site_packages": SITE_PACKAGES,
            "socket": str(self.socket),
            "abstract": self.token,
            "ports": self.ports,
            "variables": list(VARIABLES),
        }

    def environment(self) -> dict[str, str]:
        """The victim's, with secrets in it."""
        kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        return {
            **kept,
            **dict.fromkeys(VARIABLES, self.secret),
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "SDX_LEADERBOARD": str(self.leaderboard),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
        }


@contextmanager
def made(root: Path, ways: Iterable[str]) -> Iterator[World]:
    """Make a world below `root`, with its daemons; take away what is outside of it."""
    world = World(root, tuple(ways))
    _write_data(world)
    shutil.copytree(world.data / world.tracks[0], root / "runs" / "other" / "estimates" / "song")
    for name in SECRETS:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(world.secret)
    (root / "baseline.json").write_text("{}")
    Store(world.leaderboard).record(made_results.result({"song": 3.0}), None)
    for path in world.public_files:
        path.write_text(world.secret)
    try:
        with _daemons(world):
            yield world
    finally:
        for path in world.public_files:
            path.unlink(missing_ok=True)


def _write_data(world: World) -> None:
    for seed, name in enumerate(world.tracks):
        frames = TRAP_FRAMES + seed if name != WELL else WELL_FRAMES
        # Stems of one loudness on the grid of 16 bits, and no two alike.
        stems = {stem: audio.noise(frames, seed=10 * seed + index) for index, stem in enumerate(MUSIC.stems)}
        audio.write_track(world.data / name, {**stems, "mixture": sum(stems.values(), np.zeros((frames, 2)))})


@contextmanager
def _daemons(world: World) -> Iterator[None]:
    """What listens on this machine, tells its secret to whoever asks, and notes who did."""
    listeners: dict[str, socket.socket] = {}
    for name, family, address in (
        ("tcp", socket.AF_INET, ("127.0.0.1", 0)),
        ("tcp6", socket.AF_INET6, ("::1", 0)),
        ("path", socket.AF_UNIX, str(world.socket)),
        ("abstract", socket.AF_UNIX, f"\0{world.token}"),
    ):
        try:
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.bind(address)
        except OSError:
            continue  # a machine without IPv6
        listener.listen()
        listeners[name] = listener
    world.socket.chmod(0o777)
    listeners["udp"] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listeners["udp"].bind(("127.0.0.1", 0))
    world.ports |= {
        name: each.getsockname()[1] for name, each in listeners.items() if each.family != socket.AF_UNIX
    }
    for name, listener in listeners.items():
        threading.Thread(target=_listen, args=(world, name, listener), daemon=True).start()
    try:
        yield
    finally:
        for listener in listeners.values():
            with suppress(OSError):  # which datagram sockets do not have
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()


def _listen(world: World, name: str, listener: socket.socket) -> None:
    while True:
        try:
            if listener.type == socket.SOCK_DGRAM:
                listener.settimeout(1.0)
                listener.recv(100)
            else:
                connection, _ = listener.accept()
                connection.sendall(world.secret.encode())
                connection.close()
        except TimeoutError:
            continue
        except OSError:
            return
        world.contacts.append(name)


# What became of it


def snapshot(world: World) -> dict[str, Entry]:
    """Every file that must stay as it is: kind, rights, owner, size, inode, times, content."""
    found: dict[str, Entry] = {}
    leave_out = {world.out, world.leaderboard}
    for path in _walk([world.root, *world.public_files], leave_out):
        found[str(path)] = _entry(path)
    for path in _walk([REPOSITORY / name for name in CODE], set()):
        if path.name != "__pycache__" and path.suffix != ".pyc":
            found[str(path)] = _entry(path, moved=False)
    for path in sorted(Path(SITE_PACKAGES).iterdir()):  # a new package, a .pth file
        found[str(path)] = _entry(path, moved=False)
    return found


def changes(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> list[str]:
    """What differs, in words."""
    gone = [f"gone: {path}" for path in before.keys() - after.keys()]
    new = [f"new: {path}" for path in after.keys() - before.keys()]
    other = [
        f"changed: {path}: {old} -> {after[path]}"
        for path, old in before.items()
        if path in after and after[path] != old
    ]
    return sorted([*gone, *new, *other])


def _walk(tops: Iterable[Path], leave_out: set[Path]) -> Iterator[Path]:
    for top in tops:
        if top in leave_out:
            continue
        yield top
        if top.is_dir() and not top.is_symlink():
            yield from _walk(sorted(top.iterdir()), leave_out)


def _entry(path: Path, moved: bool = True) -> Entry:
    """moved: whether a change of name or rights that was undone counts, too."""
    status = path.lstat()
    described: list[Any] = [oct(status.st_mode), status.st_uid]
    if stat.S_ISDIR(status.st_mode):
        return tuple(described)  # what is in it has entries of its own
    described += [status.st_size, status.st_ino, status.st_mtime_ns, *([status.st_ctime_ns] if moved else [])]
    if path.is_symlink():
        described.append(os.readlink(path))
    elif path.is_file() and status.st_size <= HASHED_BYTES:
        described.append(hashlib.sha256(path.read_bytes()).hexdigest()[:16])
    return tuple(described)


def left_behind(world: World) -> list[str]:
    """What has the world's token in its name and is outside of it, but for what the world itself has put there."""
    found = []
    for folder in PUBLIC_FOLDERS:
        if os.path.isdir(folder):
            names = [name for name in os.listdir(folder) if world.token in name]
            found += [path for name in names if Path(path := f"{folder}/{name}") not in world.public_files]
    key = f"{ipc_key(world.token):d}"
    for kind in ("shm", "msg", "sem"):
        lines = Path("/proc/sysvipc", kind).read_text().splitlines()[1:]
        found += [f"System V {kind} {key}" for line in lines if line.split()[0] == key]
    found += [f"temporary: {path}" for path in world.temporary.iterdir() if path.name != "secret"]
    return [*found, *map(str, world.out.glob("work*")), *map(str, world.out.glob(".*"))]


def ipc_key(token: str) -> int:
    """The key under which an attack leaves something in System V's tables."""
    return int(token[:7], 16)


def poisoned(world: World) -> list[str]:
    """Byte code of ours that an attack has written."""
    token = world.token.encode()
    return [
        str(path)
        for name in CODE
        for path in (REPOSITORY / name).rglob("*.pyc")
        if token in path.read_bytes()
    ]


def rows(world: World) -> list[tuple[str, str]]:
    """The leaderboard: id and result of each run, as they stand in the file."""
    with sqlite3.connect(f"file:{world.leaderboard}?mode=ro", uri=True) as connection:
        found: list[tuple[str, str]] = connection.execute(
            "SELECT id, result FROM runs ORDER BY number"
        ).fetchall()
    return found


def new_root() -> Path:
    """A folder that other users can reach (pytest's are closed), and not below /tmp, which a submission has, too."""
    root = Path(tempfile.mkdtemp(prefix="sdx-world-", dir="/var/tmp"))
    root.chmod(0o755)
    return root
