"""What a file that a submission wrote says of its sound, read by a few lines of our own.

Only what a score can be computed from is known: WAV (RIFF and RF64) with integers of 16, 24 or 32 bits or floats of
32 or 64, and FLAC. Libraries that read more have more to get wrong. Nothing is read beyond the first chunks, and no
number in the file makes us allocate anything: a FLAC file of 242 bytes may well state 68 billion samples.

Formats: RIFF/WAVE as Microsoft describes it (WAVEFORMATEX, WAVEFORMATEXTENSIBLE), RF64 by EBU Tech 3306, FLAC by
RFC 9639, section 8.2.
"""

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO, Literal

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
SUBFORMAT_TAIL = bytes.fromhex(
    "000000001000800000aa00389b71"
)  # of the GUID, after the two bytes of the format
FORMATS = {
    (PCM, 16): "PCM_16",
    (PCM, 24): "PCM_24",
    (PCM, 32): "PCM_32",
    (FLOAT, 32): "FLOAT",
    (FLOAT, 64): "DOUBLE",
}
MOST_CHUNKS = 64  # before the samples
IN_DS64 = 0xFFFFFFFF  # a size of 32 bits that stands in the ds64 chunk instead
FLAC_HEADER_BYTES = 42  # the mark and STREAMINFO


class HeaderError(ValueError):
    """This is no sound file of a known kind; the message is the reason."""


@dataclass(frozen=True)
class Header:
    """What a header states. WAV: `frames` samples are really there, `data_offset` bytes from the start."""

    container: Literal["WAV", "FLAC"]
    subtype: str  # in libsndfile's words
    rate_hz: int
    channels: int
    frames: int
    data_offset: int = 0
    frame_bytes: int = 0

    @property
    def data_bytes(self) -> int:
        """Of all samples."""
        return self.frames * self.frame_bytes


def read(file: BinaryIO) -> Header:
    """The header of an open file. HeaderError for anything else; OSError if it cannot be read."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    mark = file.read(4)
    if mark == b"fLaC":
        return _flac(file)
    if mark in (b"RIFF", b"RF64"):
        return _wav(file, size, is_64=mark == b"RF64")
    raise HeaderError("neither WAV nor FLAC" if mark else "an empty file")


def _flac(file: BinaryIO) -> Header:
    content = file.read(FLAC_HEADER_BYTES - 4)
    if len(content) < FLAC_HEADER_BYTES - 4 or content[0] & 0x7F != 0 or content[1:4] != b"\x00\x00\x22":
        raise HeaderError("FLAC without its first block, STREAMINFO")
    packed = int.from_bytes(content[14:22], "big")  # 20 bits rate, 3 channels - 1, 5 bits - 1, 36 samples
    rate_hz, channels = packed >> 44, (packed >> 41 & 7) + 1
    bits, frames = (packed >> 36 & 31) + 1, packed & ((1 << 36) - 1)
    if rate_hz == 0:
        raise HeaderError("FLAC with a sample rate of 0")
    return Header("FLAC", f"PCM_{bits}", rate_hz, channels, frames)


def _wav(file: BinaryIO, size: int, is_64: bool) -> Header:
    if file.read(8)[4:] != b"WAVE":
        raise HeaderError("RIFF, but not WAVE")
    form: tuple[str, int, int, int] | None = None
    long_data_bytes: int | None = None
    offset = 12
    for _ in range(MOST_CHUNKS):
        file.seek(offset)
        described = file.read(8)
        if len(described) < 8:
            raise HeaderError("WAV without samples" if form else "WAV without a format")
        name, length = described[:4], int.from_bytes(described[4:], "little")
        if name == b"ds64" and is_64:
            long_data_bytes = int.from_bytes(file.read(16)[8:], "little")
        elif name == b"fmt ":
            form = _format(file.read(min(length, 40)))
        elif name == b"data":
            if form is None:
                raise HeaderError("WAV whose samples come before their format")
            if length == IN_DS64 and long_data_bytes is not None:
                length = long_data_bytes
            subtype, rate_hz, channels, frame_bytes = form
            there = min(length, max(size - offset - 8, 0))
            if there < length:
                raise HeaderError(f"cut short, {there} of {length} bytes of samples")
            return Header("WAV", subtype, rate_hz, channels, length // frame_bytes, offset + 8, frame_bytes)
        offset += 8 + length + length % 2
    raise HeaderError(f"WAV with more than {MOST_CHUNKS} chunks before its samples")


def _format(content: bytes) -> tuple[str, int, int, int]:
    """(subtype, rate, channels, bytes of a frame) of a format chunk."""
    if len(content) < 16:
        raise HeaderError("WAV with a format that is cut short")
    code, channels, rate_hz, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", content)
    if code == EXTENSIBLE:
        if len(content) < 40 or content[26:40] != SUBFORMAT_TAIL:
            raise HeaderError("WAV of an unknown extensible format")
        code = int.from_bytes(content[24:26], "little")
    subtype = FORMATS.get((code, bits))
    if subtype is None:
        raise HeaderError(
            f"WAV of format {code} with {bits} bits, expected integers of 16, 24, 32 or floats of 32, 64"
        )
    if channels == 0 or rate_hz == 0 or frame_bytes != channels * bits // 8:
        raise HeaderError("WAV with a format that contradicts itself")
    return subtype, rate_hz, channels, frame_bytes


def wav(header: Header) -> bytes:
    """The header of a WAV file with the samples that `header` describes, and nothing else."""
    code, bits = next(key for key, subtype in FORMATS.items() if subtype == header.subtype)
    bytes_per_second = header.rate_hz * header.frame_bytes
    form = struct.pack(
        "<HHIIHH", code, header.channels, header.rate_hz, bytes_per_second, header.frame_bytes, bits
    )
    described = b"fmt " + struct.pack("<I", len(form)) + form
    padded = header.data_bytes + header.data_bytes % 2
    riff_bytes = 4 + len(described) + 8 + padded
    if riff_bytes < IN_DS64:
        start = b"RIFF" + struct.pack("<I", riff_bytes) + b"WAVE"
        return start + described + b"data" + struct.pack("<I", header.data_bytes)
    sizes = struct.pack("<QQQI", riff_bytes + 36, header.data_bytes, header.frames, 0)
    start = b"RF64" + struct.pack("<I", IN_DS64) + b"WAVE" + b"ds64" + struct.pack("<I", len(sizes)) + sizes
    return start + described + b"data" + struct.pack("<I", IN_DS64)
