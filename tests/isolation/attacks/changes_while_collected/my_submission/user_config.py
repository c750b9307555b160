"""Promises 3, 6 and 9: estimates do not change while they are collected.

Processes that go on replacing files by links and back, that write to them, make them longer and shorter, rename the
folder, from before the track is done, and wherever the evaluator has been slowed down. And leases, for which whoever
opens a file waits three quarters of a minute.
"""

import fcntl
import os
import time

from my_submission.attack import PREDICTIONS, STEMS, WORLD, Model, daemon, tried

SYSTEMS = ["root", "user", "bare", "docker"]
SLOWLY = True
OPTIONS = ["--time-factor", "60"]
EXPECTED = {
    "links_and_back": ("ok", "invalid_output"),
    "folder_and_back": ("ok", "invalid_output"),
    "grows": ("ok", "invalid_output"),
    "overwritten": ("ok", "invalid_output"),
    "mapped": ("ok", "invalid_output"),
    "pipes_and_back": ("ok", "invalid_output"),
    "removed": ("ok", "invalid_output"),
    "leased": "invalid_output",
}


class MySeparationModel(Model):
    def _on_and_on(self, action) -> None:  # type: ignore[no-untyped-def]
        track = self.folder

        def go() -> None:
            end = time.monotonic() + 10
            while time.monotonic() < end and os.path.isdir(PREDICTIONS):
                for stem in STEMS:
                    try:
                        action(f"{track}/{stem}.wav", stem)
                    except OSError:
                        if not os.path.isdir(track) and not os.path.isdir(f"{track}.other"):
                            return

        for _ in range(2):
            tried()
            daemon(go)
        time.sleep(0.01)

    def links_and_back(self) -> None:
        def swap(path: str, stem: str) -> None:
            os.symlink(f"{WORLD['data']}/{self.track}/{stem}.wav", f"{path}.link")
            os.rename(path, f"{path}.kept")
            os.rename(f"{path}.link", path)
            os.rename(f"{path}.kept", path)

        self._on_and_on(swap)

    def folder_and_back(self) -> None:
        def swap(path: str, stem: str) -> None:
            os.rename(self.folder, f"{self.folder}.other")
            os.symlink(f"{WORLD['data']}/{self.track}", self.folder)
            os.unlink(self.folder)
            os.rename(f"{self.folder}.other", self.folder)

        self._on_and_on(swap)

    def grows(self) -> None:
        def longer(path: str, stem: str) -> None:
            size = os.path.getsize(path)
            os.truncate(path, size + 4096)
            os.truncate(path, size)

        self._on_and_on(longer)

    def overwritten(self) -> None:
        def write(path: str, stem: str) -> None:
            with open(path, "r+b") as file:
                head = file.read(44)
                file.seek(0)
                file.write(b"fLaC")
                file.flush()
                file.seek(0)
                file.write(head)

        self._on_and_on(write)

    def mapped(self) -> None:
        import mmap

        files = [open(f"{self.folder}/{stem}.wav", "r+b") for stem in STEMS]
        views = [mmap.mmap(file.fileno(), 0) for file in files]

        def write(path: str, stem: str) -> None:
            view = views[STEMS.index(stem)]
            view[20:24], kept = b"\xff\xff\xff\xff", view[20:24]
            view[20:24] = kept

        self._on_and_on(write)

    def pipes_and_back(self) -> None:
        def swap(path: str, stem: str) -> None:
            os.rename(path, f"{path}.kept")
            os.mkfifo(path)
            os.unlink(path)
            os.rename(f"{path}.kept", path)

        self._on_and_on(swap)

    def removed(self) -> None:
        def swap(path: str, stem: str) -> None:
            with open(path, "rb") as file:
                content = file.read()
            os.unlink(path)
            with open(path, "wb") as file:
                file.write(content)

        self._on_and_on(swap)

    def leased(self) -> None:
        for stem in STEMS:
            tried()
            descriptor = os.open(f"{self.folder}/{stem}.wav", os.O_RDWR)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
