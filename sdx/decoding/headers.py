"""Headers that do not say how long a file is: read as what is there, and what is missing is said.

A recorder writes a WAV's sizes when it is stopped. One that was cut off leaves zeros, or the sizes of the last time
it saved; a program that writes to a pipe never knows them; and a file copied in part is shorter than they say.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import BinaryIO

_UNFINISHED = "its header was never completed, so all that follows it is taken for sound"
_UNKNOWN = (0, 2**32 - 1, 2**64 - 1)
_FOREIGN = (b"ID3", b"TAG", b"APETAGEX", b"RIFF", b"RF64")  # what programs append to any file
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


class View:
    """A file open for reading, with some bytes replaced (offset -> bytes), and perhaps with an earlier end."""

    def __init__(self, file: BinaryIO, patches: Mapping[int, bytes], end: int | None = None) -> None:
        self._file = file
        self._patches = patches
        self._end = file.seek(0, 2) if end is None else end
        file.seek(0)

    def read(self, size: int) -> bytes:
        start = self._file.tell()
        data = self._file.read(max(0, min(size, self._end - start)))
        for place, patch in self._patches.items():
            first, last = max(place, start), min(place + len(patch), start + len(data))
            if first < last:
                data = data[: first - start] + patch[first - place : last - place] + data[last - start :]
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """As a file's; but before its beginning, where damaged files send libav, is −1, an error of libav's own.

        An exception would be printed by PyAV, with its traceback.
        """
        place = offset + (0, self._file.tell(), self._end)[whence]
        return -1 if place < 0 else self._file.seek(place)

    def tell(self) -> int:
        return self._file.tell()


@dataclass(frozen=True)
class Header:
    """What a file's first bytes say of its length, and how libav is to see the file.

    patches, end: see `View`. seconds: an mp3's length where it is stated; None if it is not. warning: what is wrong,
    as a clause. is_wav: whether what it states to be samples may be DTS, for which libav looks.
    """

    patches: Mapping[int, bytes] = field(default_factory=dict)
    end: int | None = None
    seconds: float | None = None
    warning: str = ""
    is_wav: bool = False


def read_header(file: BinaryIO) -> Header:
    """The header of a WAV, AIFF, AU, W64 or mp3; an empty `Header` for every other file."""
    size = file.seek(0, 2)
    file.seek(0)
    start = file.read(40)
    if start[:4] in (b"RIFF", b"RF64", b"BW64") and start[8:12] == b"WAVE":
        return replace(_read_wav(file, size), is_wav=True)
    if start[:4] == b"FORM" and start[8:12] in (b"AIFF", b"AIFC"):
        return _read_aiff(file, size)
    if start[:4] == b".snd" and len(start) >= 12:
        return _read_au(start, size)
    if start[:4] == b"riff" and start[24:28] == b"wave":
        return replace(_read_w64(file, size), is_wav=True)
    return Header(seconds=_mp3_seconds(file))


def _read_wav(file: BinaryIO, size: int) -> Header:
    rate_bytes, long_data = 0, None
    for kind, place, length in _chunks(file, 12, size, "<"):
        if kind == b"fmt ":
            rate_bytes = int.from_bytes(_at(file, place + 8, 4), "little")
        elif kind == b"ds64":
            long_data = int.from_bytes(_at(file, place + 8, 8), "little")
        elif kind == b"data":
            stated = long_data if length == 2**32 - 1 and long_data is not None else length
            # libav reads to the end of a file that is RIFF and states no length.
            return _judged(file, place, stated, size, rate_bytes, {0: b"RIFF", place - 4: bytes(4)})
    return Header()


def _read_aiff(file: BinaryIO, size: int) -> Header:
    form = None
    for kind, place, length in _chunks(file, 12, size, ">"):
        if kind == b"COMM":
            form = place
        elif kind == b"SSND" and form is not None:
            channels, _, bits, exponent, mantissa = struct.unpack(">hIhHI", _at(file, form, 14))
            frame_bytes = max(1, channels * -(-bits // 8))
            rate = mantissa >> max(0, 16414 - exponent)  # an 80-bit float; the rest of it is beyond the point
            start = place + 8  # after an offset and a block size, which the stated length counts along
            there = min(max(0, size - start), 2**32 - 9)  # a file may end before both
            patches = {
                4: min(size - 8, 2**32 - 1).to_bytes(4, "big"),
                form + 2: (there // frame_bytes).to_bytes(4, "big"),
                place - 4: (there + 8).to_bytes(4, "big"),
            }
            return _judged(file, start, max(0, length - 8), size, rate * frame_bytes, patches)
    return Header()


def _read_au(start: bytes, size: int) -> Header:
    place, stated = struct.unpack(">II", start[4:12])
    return Header({8: b"\xff" * 4}, warning=_UNFINISHED) if stated == 0 and size > place else Header()


def _read_w64(file: BinaryIO, size: int) -> Header:
    place, rate_bytes = 40, 0
    while place + 24 <= size:
        kind, length = struct.unpack("<4s12xQ", _at(file, place, 24))
        if kind == b"fmt ":
            rate_bytes = int.from_bytes(_at(file, place + 32, 4), "little")
        if kind == b"data":
            patches = {place + 16: (size - place).to_bytes(8, "little")}
            return _judged(file, place + 24, max(0, length - 24), size, rate_bytes, patches)
        place += max(24, length + -length % 8)
    return Header()


def _at(file: BinaryIO, place: int, count: int) -> bytes:
    """Bytes from anywhere; zeros beyond the end."""
    file.seek(place)
    return file.read(count).ljust(count, b"\0")


def _chunks(file: BinaryIO, place: int, size: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """(kind, where its content starts, the length it states) up to the first that goes beyond the file."""
    while place + 8 <= size:
        kind, length = struct.unpack(f"{order}4sI", _at(file, place, 8))
        yield kind, place + 8, length
        place += 8 + length + length % 2


def _judged(
    file: BinaryIO, place: int, stated: int, size: int, rate_bytes: int, to_the_end: Mapping[int, bytes]
) -> Header:
    """What a header means that states so many bytes of sound from `place` on.

    rate_bytes: in a second. to_the_end: the patches with which all that there is is read.
    """
    there, second = max(0, size - place), max(1, rate_bytes)
    if stated in _UNKNOWN:
        if not there or (stated == 0 and _is_foreign(file, place, size)):
            return Header(end=place)
        return Header(to_the_end, warning="" if stated else _UNFINISHED)
    if stated > there:
        missing = (
            f"its header states {stated / second:.2f} s of sound, and only {there / second:.2f} s are there"
        )
        return Header(to_the_end, warning=missing)
    end = place + stated
    if size - end > second / 50 and not any(_is_foreign(file, end + pad, size) for pad in {0, stated % 2}):
        longer = f"its header states {stated / second:.2f} s of sound, and {there / second:.2f} s are there"
        return Header(to_the_end, warning=f"{longer}, all of which are read")
    return Header()


def _is_foreign(file: BinaryIO, place: int, size: int) -> bool:
    """Whether what comes here is something other than sound: another chunk, tags, another file, or padding."""
    file.seek(place)
    start = file.read(4096)
    if start.startswith(_FOREIGN) or not any(start):
        return True
    lengths = (int.from_bytes(start[4:8], order) for order in ("little", "big"))
    return all(32 <= byte < 127 for byte in start[:4]) and any(
        place + 8 + length <= size for length in lengths
    )


def _mp3_seconds(file: BinaryIO) -> float | None:
    """The length in an mp3's Xing, Info or VBRI frame; without one, all that is known is an estimate."""
    start, place = _at(file, 0, 10), 0
    if start[:3] == b"ID3":
        place = 10 + sum(
            (byte & 127) << shift for byte, shift in zip(start[6:10], (21, 14, 7, 0), strict=False)
        )
    frame = _at(file, place, 4096)
    first = next(
        (at for at in range(len(frame) - 4) if frame[at] == 255 and frame[at + 1] & 0xE6 == 0xE2), None
    )
    if first is None:
        return None
    frame = frame[first : first + 192]
    version, rate_index = frame[1] >> 3 & 3, frame[2] >> 2 & 3
    frames = _frames_stated(frame)
    if frames is None or version not in _RATES or rate_index == 3:
        return None
    return frames * (1152 if version == 3 else 576) / _RATES[version][rate_index]


def _frames_stated(frame: bytes) -> int | None:
    for mark in (b"Xing", b"Info"):
        at = frame.find(mark)
        if at > 0 and len(frame) >= at + 12 and frame[at + 7] & 1:
            return int.from_bytes(frame[at + 8 : at + 12], "big")
    at = frame.find(b"VBRI")
    return int.from_bytes(frame[at + 14 : at + 18], "big") if at > 0 else None
