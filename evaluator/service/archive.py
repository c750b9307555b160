"""A zip of estimates: which of its files is which stem, by names that are looked up, and its bytes within bounds.

Nothing is extracted by a name in it. A file may be no longer than its track allows, whatever the zip says, and what
no zip of estimates needs (links, encryption, other methods than deflate) is refused. It runs in the child that
scores, since a zip is the sender's.
"""

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from evaluator import printable
from evaluator.running.dataset import SUFFIXES, Contents, Track
from evaluator.running.estimates import FILE_OVERHEAD_BYTES, WIDEST_SAMPLE_BYTES, InvalidOutputError
from evaluator.running.predictions import Parts, PredictionsError, Survey, is_passed_over, look_up

END, END_BYTES = b"PK\x05\x06", 22
LOCATOR, LOCATOR_BYTES = b"PK\x06\x07", 20  # between the two ends of a zip64
LONG_END, LONG_END_BYTES = b"PK\x06\x06", 56
LONGEST_COMMENT = 1 << 16
NAME_BYTES = 1024  # of one entry of the directory, on the average
SPARE_ENTRIES = 100
READ_BYTES = 1 << 18
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 1  # a flag
# What zipfile raises for what it cannot read; offsets that lead nowhere are an OSError.
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error),
    *(NotImplementedError, RuntimeError, ValueError, EOFError, OSError),
)


class Archive:
    """An open zip whose directory was read and found fit; PredictionsError says what is not."""

    def __init__(self, path: Path, name: str, data: Contents) -> None:
        self._file = path.open("rb")
        self._name = printable.plain(name)
        most = 2 * len(data.folders) * (len(data.stems) + 1) + SPARE_ENTRIES  # macOS writes each file twice
        try:
            _check_end(self._file, most)
            self._zip = zipfile.ZipFile(self._file)
        except DAMAGE as error:
            raise PredictionsError(
                [f"{self._name}: cannot be read as a zip ({printable.plain(str(error))})"]
            ) from None
        # An entry without a name is a file's, too, and zipfile's `is_dir` fails for it.
        every = [info for info in self._zip.infolist() if not info.filename.endswith("/")]
        if len(every) > most:  # whatever its last record says
            raise PredictionsError([f"{self._name}: it has {len(every)} entries, expected at most {most}"])
        if problems := [sentence for info in every if (sentence := _fault(info)) is not None]:
            raise PredictionsError(problems)
        infos = [info for info in every if _may_be_sound(info.filename)]
        parts = {index: tuple(info.filename.split("/")) for index, info in enumerate(infos)}
        parts = _without_common_folder(parts, data)
        self.survey: Survey = look_up(Path(self._name), parts.values(), data)
        self._infos = {each: infos[index] for index, each in parts.items()}

    def write(self, parts: Parts, track: Track, channels: int, target: Path) -> None:
        """Write one file of it to `target`; InvalidOutputError if it is damaged or longer than its track allows.

        channels: the most that the file may have.
        """
        most = track.frames * channels * WIDEST_SAMPLE_BYTES + FILE_OVERHEAD_BYTES
        info = self._infos[parts]
        if info.file_size > most:
            raise InvalidOutputError(_too_long(info.file_size, most))
        written = 0
        with target.open("wb") as kept:
            for block in self._blocks(info):
                written += len(block)
                if written > most:
                    raise InvalidOutputError(_too_long(written, most))
                kept.write(block)

    def _blocks(self, info: zipfile.ZipInfo) -> Iterator[bytes]:
        """The bytes of an entry, checked against its sum."""
        try:
            with self._zip.open(info) as source:
                while block := source.read(READ_BYTES):
                    yield block
        except DAMAGE as error:
            raise InvalidOutputError(f"damaged in the zip ({printable.plain(str(error))})") from None


def _check_end(file: BinaryIO, most: int) -> None:
    """ValueError if the zip's last record states more entries, or a longer directory, than there can be."""
    size = os.fstat(file.fileno()).st_size
    file.seek(max(size - END_BYTES - LONGEST_COMMENT, 0))
    tail = file.read()
    at = tail.rfind(END)
    if at < 0 or len(tail) - at < END_BYTES:
        raise ValueError("no zip, or one that was cut short")
    entries, directory_bytes = struct.unpack_from("<HI", tail, at + 10)
    long = at - LOCATOR_BYTES - LONG_END_BYTES
    if long >= 0 and tail.startswith(LOCATOR, at - LOCATOR_BYTES) and tail.startswith(LONG_END, long):
        entries, directory_bytes = struct.unpack_from("<QQ", tail, long + 32)
    if entries > most or directory_bytes > most * NAME_BYTES:
        raise ValueError(f"it has {entries} entries, expected at most {most}")


def _may_be_sound(name: str) -> bool:
    """Whether an entry of this name is meant to be an estimate."""
    parts = [part for part in name.split("/") if part != ".."]  # which is not hidden, but refused
    return name.lower().endswith(SUFFIXES) and not any(map(is_passed_over, parts))


def _fault(info: zipfile.ZipInfo) -> str | None:
    """What is wrong with an entry of the directory, in a sentence."""
    name = printable.plain(info.filename)
    if not name:
        return "an entry of the zip has no name, expected TRACK_STEM.wav"
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return f"{name}: is a link or a device in the zip, expected the files themselves"
    if info.flag_bits & ENCRYPTED:
        return f"{name}: is encrypted, expected a zip without a password"
    if info.compress_type not in METHODS:
        return f"{name}: is compressed by method {info.compress_type}, expected deflate or none"
    return None


def _without_common_folder(parts: Mapping[int, Parts], data: Contents) -> dict[int, Parts]:
    """The paths without the folder that all of them lie in, as when a folder was zipped, if it is no track's."""
    known = {part for name, folder in data.folders.items() for part in (*name.split("/"), folder)}
    found = dict(parts)
    while found and all(len(each) > 1 for each in found.values()):
        tops = {each[0] for each in found.values()}
        if len(tops) > 1 or tops <= known:
            break
        found = {index: each[1:] for index, each in found.items()}
    return found


def _too_long(found: int, most: int) -> str:
    return f"{found} bytes or more in the zip, expected at most {most} by the length of its track"
