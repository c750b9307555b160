"""Files as one zip, made while it is sent: nothing of it is kept."""

import contextlib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, cast

_PIECE_BYTES = 2**20


class _Outgoing:
    """A file that cannot be sought, of which what was written last can be taken."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken


def zipped(files: Mapping[str, Path]) -> Iterator[bytes]:
    """The bytes of a zip, piece by piece, without compression: sound hardly shrinks. files: name inside -> file.

    All files are opened first, so that a song that is removed meanwhile still comes in full.
    """
    outgoing = _Outgoing()
    with contextlib.ExitStack() as stack:
        opened = {name: stack.enter_context(path.open("rb")) for name, path in files.items()}
        archive = stack.enter_context(zipfile.ZipFile(cast(BinaryIO, outgoing), "w", zipfile.ZIP_STORED))
        for name, file in opened.items():
            with archive.open(name, "w", force_zip64=True) as inside:
                while piece := file.read(_PIECE_BYTES):
                    inside.write(piece)
                    yield outgoing.take()
    yield outgoing.take()
