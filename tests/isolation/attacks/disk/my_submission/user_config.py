"""Promise 9: what it writes has a size, in number and in bytes; full is a status of its own, and harms nobody else."""

import os
import time

from my_submission.attack import WORLD, Model, breach, say_tried, tried

OPTIONS = ["--scratch", "32m", "--memory", "1g", "--time-factor", "40"]
EXPECTED = {
    "predictions": "out_of_disk",
    "predictions_beside": "out_of_disk",
    "temporary": "out_of_disk",
    "shared_memory": "out_of_disk",
    "both_together": "out_of_disk",
    "many_files": "out_of_disk",
    "many_folders": "out_of_disk",
    "many_links": "out_of_disk",
    "sparse": ("ok", "invalid_output"),
    "sparse_estimate": "invalid_output",
    "deep_folders": ("ok", "invalid_output", "out_of_disk"),
    "deep_temporary_folders": "ok",
    "long_names": ("ok", "out_of_disk"),
    "full_and_emptied": ("ok", "out_of_disk"),
    "reserved": ("ok", "out_of_disk"),
}
CONTAINED = [
    "predictions",
    "both_together",
    "many_files",
    "sparse",
    "deep_temporary_folders",
    "full_and_emptied",
]


class MySeparationModel(Model):
    def _fill(self, path: str, most_bytes: int) -> None:
        tried()
        say_tried()
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb", buffering=0) as file:
            for written in range(0, 512 << 20, 1 << 20):
                file.write(b"x" * (1 << 20))
                if written > most_bytes:
                    breach(f"{self.way}: wrote {written >> 20} MiB")
                    return

    def predictions(self) -> None:
        self._fill(f"{self.folder}/bass.wav", 64 << 20)

    def predictions_beside(self) -> None:
        self._fill(os.path.dirname(self.folder) + "/other/file", 64 << 20)

    def temporary(self) -> None:
        self._fill("/tmp/file", 40 << 20)

    def shared_memory(self) -> None:
        self._fill("/dev/shm/file", 40 << 20)

    def both_together(self) -> None:
        """20 MiB fit into each, but not into both; in a container the kernel knows each, and the sum is watched."""
        with open("/tmp/file", "wb") as file:
            file.write(b"x" * (20 << 20))
        self._fill("/dev/shm/file", (32 if WORLD["system"] == "docker" else 20) << 20)

    def many_files(self) -> None:
        self._many(lambda path: os.close(os.open(path, os.O_CREAT)))

    def many_folders(self) -> None:
        self._many(os.mkdir)

    def many_links(self) -> None:
        self._many(lambda path: os.symlink("/", path))

    def _many(self, make) -> None:  # type: ignore[no-untyped-def]
        tried()
        say_tried()
        os.makedirs(self.folder, exist_ok=True)
        for number in range(20_000):
            make(f"{self.folder}/{number}")
        breach(f"{self.way}: made 20,000")

    def sparse(self) -> None:
        for path in ("/tmp/sparse", "/dev/shm/sparse", f"{os.path.dirname(self.folder)}/sparse"):
            tried()
            with open(path, "wb") as file:
                file.truncate(1 << 40)

    def sparse_estimate(self) -> None:
        os.makedirs(self.folder, exist_ok=True)
        for stem in ("bass", "drums", "other", "vocals"):
            tried()
            with open(f"{self.folder}/{stem}.wav", "wb") as file:
                file.truncate(1 << 40)
        say_tried()
        os.chmod(self.folder, 0o500)  # so that the wrapper replaces nothing
        self._finish()

    def _finish(self) -> None:
        from my_submission.attack import forge

        forge(self.done())
        time.sleep(3600)

    def deep_folders(self) -> None:
        self._deep(self.folder, 900)

    def deep_temporary_folders(self) -> None:
        self._deep("/tmp", 5000)

    def _deep(self, folder: str, levels: int) -> None:
        os.makedirs(folder, exist_ok=True)
        here = os.open(folder, os.O_RDONLY)
        for _ in range(levels):
            tried()
            os.mkdir("d" * 200, dir_fd=here)
            below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(here)

    def long_names(self) -> None:
        os.makedirs(self.folder, exist_ok=True)
        for number in range(500):
            tried()
            open(f"{self.folder}/{number}{'n' * 250}"[:255], "wb").close() if number else None

    def full_and_emptied(self) -> None:
        for _ in range(3):
            tried()
            try:
                with open("/tmp/file", "wb") as file:
                    file.write(b"x" * (64 << 20))
            except OSError:
                os.unlink("/tmp/file")

    def reserved(self) -> None:
        """Space that is asked for without being written to."""
        tried()
        with open("/tmp/file", "wb") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, 1 << 34)
            except OSError:
                os.unlink("/tmp/file")
