"""Promise 2: no reference, estimate of another run, secret or leaderboard is found under any path.

By the paths that the attacker knows, through "..", through /proc/self/root, relative to folders that it may open,
at the places that mounts come from, and by looking through everything that there is.
"""

import os
import stat
from pathlib import Path

from my_submission.attack import MIXTURES, PREDICTIONS, STEMS, TOKEN, WORLD, Model, attempt, read

PREFIXES = ("", "/proc/self/root", "/proc/thread-self/root", "/proc/self/cwd/../../../../../..", "/proc/1/root",
            "/tmp/..", "/dev/fd/../../..", "//", "/../..", "/sdx/mixtures/../..", "/.set-up/old", "/old")  # fmt: skip
DECOYS = ("/usr", "/lib", "/proc", "/sys", "/nix")


class MySeparationModel(Model):
    def attack(self) -> None:
        wanted = [*WORLD["references"], *WORLD["secrets"], *WORLD["estimates"]]
        board = str(Path(WORLD["out"]).parent / "leaderboard.sqlite")
        for path in (*wanted, board, f"{WORLD['root']}/baseline.json"):
            for prefix in PREFIXES:
                attempt(f"read {prefix}{path}", lambda name=prefix + path: read(name))
            attempt(f"stat {path}", lambda name=path: os.stat(name).st_size)
        ours = (
            () if WORLD["system"] == "docker" else ("/run", "/home", "/var/lib", "/mnt")
        )  # an image has its own
        for path in (WORLD["data"], WORLD["home"], WORLD["out"], "/root/.ssh", *ours):
            attempt(f"list {path}", lambda name=path: os.listdir(name))
        self.relative()
        self.by_mounts()
        self.everything()

    def relative(self) -> None:
        """Up from folders that are open, as far as it goes, and down from there."""
        for start in (PREDICTIONS, MIXTURES, "/tmp", "/dev/shm", os.getcwd(), "/usr", "/proc", "/"):
            folder = os.open(start, os.O_RDONLY | os.O_DIRECTORY)
            for steps in range(1, 12):
                up = "/".join([".."] * steps)
                for path in WORLD["references"][:3]:
                    attempt(
                        f"openat {start} {up}{path}",
                        lambda name=f"{up}{path}", at=folder: os.open(name, os.O_RDONLY, dir_fd=at),
                    )
            os.close(folder)

    def by_mounts(self) -> None:
        """Mounts name the folders that they show; what lies beside those?"""
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            source, target = line.split(" ")[3:5]
            for path in WORLD["references"][:2]:
                attempt(
                    f"beside the mount {target}",
                    lambda name=f"{target}/{os.path.relpath(path, source)}": read(name),
                )

    def everything(self) -> None:
        """Walk through the whole root, links included, for a name of the victim's or a sound."""
        own = (MIXTURES, self.folder)
        seen = set()
        waiting = ["/"]
        while waiting:
            folder = waiting.pop()
            try:
                entries = list(os.scandir(folder))
            except OSError:
                continue
            for entry in entries:
                path = entry.path
                is_stem = os.path.splitext(entry.name)[0] in (*STEMS, "mixture") and not path.startswith(own)
                victim = TOKEN in entry.name or (is_stem and entry.name.endswith((".wav", ".flac")))
                if victim and not path.startswith("/proc"):
                    attempt(f"find {path}", lambda name=path: name)
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                key = (status.st_dev, status.st_ino)
                if stat.S_ISDIR(status.st_mode) and key not in seen and not path.startswith(DECOYS):
                    seen.add(key)
                    waiting.append(path)
