"""Promises 2, 3 and 9: what is collected is what lies in the track's folder: no link, no pipe, no device, nothing twice.

Links of both kinds to references, to the evaluator's files, to each other, to folders; the folder of the track, or
all of the predictions, being a link itself; pipes, sockets, folders in place of files.
"""

import os
import shutil
import socket
import stat
from pathlib import Path

from my_submission.attack import MIXTURES, PREDICTIONS, STEMS, WORLD, Model, attempt, tried

EXPECTED = {
    "to_references": "invalid_output",
    "to_references_relative": "invalid_output",
    "to_files_of_its_own": "invalid_output",
    "to_descriptors": "invalid_output",
    "to_each_other": "invalid_output",
    "to_nothing": "invalid_output",
    "to_devices": "invalid_output",
    "to_the_leaderboard": "invalid_output",
    "hard_links": "invalid_output",
    "hard_links_from_elsewhere": ("ok", "invalid_output"),
    "folder_to_references": "invalid_output",
    "folder_to_the_root": "invalid_output",
    "folder_to_a_folder": "invalid_output",
    "folder_moved_away": "invalid_output",
    "folder_is_a_file": "invalid_output",
    "folder_is_a_pipe": "invalid_output",
    "predictions_moved": ("ok", "invalid_output"),
    "files_are_folders": "invalid_output",
    "files_are_pipes": "invalid_output",
    "files_are_sockets": "invalid_output",
    "files_are_devices": "invalid_output",
    "files_are_closed": ("ok", "invalid_output"),
    "folder_is_closed": ("ok", "invalid_output"),
    "mixture_as_estimate": "invalid_output",
}


class MySeparationModel(Model):
    """Each way begins with honest estimates."""

    def _replace(self, make) -> None:  # type: ignore[no-untyped-def]
        """Put something in the place of each stem's file: make(path, stem)."""
        for stem in STEMS:
            path = f"{self.folder}/{stem}.wav"
            os.unlink(path)
            tried()
            make(path, stem)

    def _reference(self, stem: str) -> str:
        return f"{WORLD['data']}/{self.track}/{stem}.wav"

    def to_references(self) -> None:
        self._replace(lambda path, stem: os.symlink(self._reference(stem), path))

    def to_references_relative(self) -> None:
        for steps in range(3, 8):
            os.symlink("/".join([".."] * steps) + self._reference("bass"), f"{self.folder}/{steps}.wav")
        self._replace(lambda path, stem: os.symlink("../../../../.." + self._reference(stem), path))

    def to_files_of_its_own(self) -> None:
        self._replace(lambda path, stem: (shutil.copy(f"{MIXTURES}/{self.track}/mixture.wav", f"/tmp/{stem}.wav"),
                                          os.symlink(f"/tmp/{stem}.wav", path)))  # fmt: skip

    def to_descriptors(self) -> None:
        for number, stem in enumerate(STEMS):
            path = f"{self.folder}/{stem}.wav"
            os.unlink(path)
            tried()
            os.symlink(f"/proc/self/fd/{number + 3}", path)

    def to_each_other(self) -> None:
        self._replace(lambda path, stem: os.symlink("drums.wav" if stem == "bass" else "bass.wav", path))

    def to_nothing(self) -> None:
        self._replace(lambda path, stem: os.symlink("/nowhere", path))

    def to_devices(self) -> None:
        for stem, device in zip(STEMS, ("/dev/zero", "/dev/random", "/dev/stdin", "/proc/kmsg"), strict=True):
            os.unlink(f"{self.folder}/{stem}.wav")
            tried()
            os.symlink(device, f"{self.folder}/{stem}.wav")

    def to_the_leaderboard(self) -> None:
        self._replace(lambda path, stem: os.symlink(f"{Path(WORLD['out']).parent}/leaderboard.sqlite", path))

    def hard_links(self) -> None:
        self._replace(lambda path, stem: None)
        Path(f"{self.folder}/bass.wav").write_bytes(Path(f"{MIXTURES}/{self.track}/mixture.wav").read_bytes())
        for stem in STEMS[1:]:
            os.link(f"{self.folder}/bass.wav", f"{self.folder}/{stem}.wav")

    def hard_links_from_elsewhere(self) -> None:
        for path in (
            *WORLD["references"],
            f"{MIXTURES}/{self.track}/mixture.wav",
            "/dev/zero",
            "/usr/bin/env",
        ):
            attempt(
                f"link {path}", lambda source=path: os.link(source, f"{self.folder}/linked.wav") or "linked"
            )

    def folder_to_references(self) -> None:
        self._folder_is(lambda: os.symlink(f"{WORLD['data']}/{self.track}", self.folder))

    def folder_to_the_root(self) -> None:
        self._folder_is(lambda: os.symlink("../../../../.." + f"{WORLD['data']}/{self.track}", self.folder))

    def folder_to_a_folder(self) -> None:
        os.rename(self.folder, f"{PREDICTIONS}/other")
        tried()
        os.symlink("other", self.folder)

    def folder_moved_away(self) -> None:
        tried()
        os.rename(self.folder, f"{PREDICTIONS}/well")

    def folder_is_a_file(self) -> None:
        self._folder_is(lambda: Path(self.folder).write_bytes(b"RIFF"))

    def folder_is_a_pipe(self) -> None:
        self._folder_is(lambda: os.mkfifo(self.folder))

    def _folder_is(self, make) -> None:  # type: ignore[no-untyped-def]
        shutil.rmtree(self.folder)
        tried()
        make()

    def predictions_moved(self) -> None:
        parent = os.path.dirname(PREDICTIONS)
        attempt("move the predictions", lambda: os.rename(PREDICTIONS, f"{parent}/moved") or "moved")
        attempt("remove the predictions", lambda: os.rmdir(PREDICTIONS) or "removed")
        attempt("other predictions", lambda: os.symlink(WORLD["data"], f"{parent}/new") or "linked")
        attempt("exchange the predictions", lambda: os.rename(f"{parent}/new", PREDICTIONS) or "moved")
        attempt("rights of the predictions", lambda: os.chmod(PREDICTIONS, 0o777) and "changed")

    def files_are_folders(self) -> None:
        self._replace(lambda path, stem: os.makedirs(f"{path}/{stem}.wav"))

    def files_are_pipes(self) -> None:
        self._replace(lambda path, stem: os.mkfifo(path))

    def files_are_sockets(self) -> None:
        def listen(path: str, stem: str) -> None:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(path)
            listener.listen()

        self._replace(listen)

    def files_are_devices(self) -> None:
        for kind in (stat.S_IFCHR, stat.S_IFBLK):
            for number in ((1, 5), (1, 1), (254, 0), (8, 0)):
                attempt(
                    f"device {kind} {number}",
                    lambda of=kind, at=number: (
                        os.mknod(f"{self.folder}/d", of | 0o666, os.makedev(*at)) or "made"
                    ),
                )
        self._replace(lambda path, stem: None)

    def files_are_closed(self) -> None:
        for stem in STEMS:
            tried()
            os.chmod(f"{self.folder}/{stem}.wav", 0)

    def folder_is_closed(self) -> None:
        tried()
        os.chmod(self.folder, 0)

    def mixture_as_estimate(self) -> None:
        """The right samples under a second name: not what is asked for, but for the count of names."""
        for stem in STEMS:
            tried()
            os.link(f"{self.folder}/{stem}.wav", f"/{PREDICTIONS}/{stem}-again.wav")
