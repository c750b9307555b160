"""Is an audio file of a data set whole? Its header is held against the file, then against what it decodes to.

libsndfile is forgiving: it plays a WAV file whose header says more samples than there are, or fewer, and stops a FLAC
file where its header says so. A score against such a file would be one against silence or a part of the truth.
"""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from evaluator import regular_files

BLOCK_FRAMES = 1 << 16
WAV_FORMATS = ("WAV", "WAVEX", "RF64")
# Each byte is a sample or a part of one, whatever stands in it, so decoding shows nothing that the size does not.
PLAIN_SUBTYPES = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "ULAW", "ALAW")
FLOAT_SUBTYPES = ("FLOAT", "DOUBLE")
LONGEST_FRAMES = 1 << 40
STREAMED = 0xFFFFFFFF  # the size of a data chunk that is stated elsewhere (RF64), or nowhere
MOST_CHUNKS = 10_000
PADDING_BYTES = 4096  # some writers fill the last block of a file with zeros
FLAC_BYTES = {"PCM_S8": 1, "PCM_16": 2, "PCM_24": 3}  # of a sample, as FLAC's own digest counts them
DTYPES = {"FLOAT": "float32", "DOUBLE": "float32", "PCM_16": "int16"}  # what the others are read as: int32


class DamagedFileError(Exception):
    """The file is not what its header says; the message is the reason, without the path."""


def read_header(path: Path) -> "soundfile._SoundFileInfo":
    """What libsndfile says of the file; DamagedFileError if it is no whole WAV or FLAC file, by what headers tell."""
    try:
        with regular_files.opened(path):  # libsndfile would wait for the other end of a pipe
            pass
        info = soundfile.info(path)
    except (soundfile.LibsndfileError, OSError) as error:
        raise DamagedFileError(f"cannot be read as audio ({error})") from None
    if info.format in WAV_FORMATS:
        with regular_files.opened(path) as file:
            _check_wav(file, path.stat().st_size, info)
    elif info.format != "FLAC":
        raise DamagedFileError(f"holds {info.format}, expected WAV or FLAC")
    if info.frames == 0:
        raise DamagedFileError("holds no samples")
    if info.frames > LONGEST_FRAMES:
        raise DamagedFileError("its header does not say how long it is; write it again, into a file")
    return info


# WAV


@dataclass(frozen=True)
class _Chunk:
    """A chunk of a RIFF file: its name, and where its content lies."""

    name: bytes
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


def _check_wav(file: BinaryIO, size: int, info: "soundfile._SoundFileInfo") -> None:
    """DamagedFileError unless the chunks fill the file, and the samples are as many as libsndfile found."""
    data = [chunk for chunk in _chunks(file, size) if chunk.name == b"data"]
    if len(data) != 1:
        raise DamagedFileError(f"holds {len(data)} chunks of samples, expected one")
    if info.subtype not in (*PLAIN_SUBTYPES, *FLOAT_SUBTYPES):
        return  # compressed: decoding counts the samples
    width = info.channels * _sample_bytes(info.subtype)
    frames, rest = divmod(data[0].size, width)
    if rest or frames != info.frames:
        raise DamagedFileError(
            f"its header says {data[0].size} bytes of samples, {width} each, but {info.frames} samples were found"
        )


def _sample_bytes(subtype: str) -> int:
    return {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}.get(subtype, 1)


def _chunks(file: BinaryIO, size: int) -> Iterator[_Chunk]:
    """The chunks of a RIFF or RF64 file up to its end; DamagedFileError for one cut short, or what is no chunk."""
    kind = file.read(12)[:4]
    order = ">" if kind == b"RIFX" else "<"
    data_size, at, number = STREAMED, 12, 0
    while at < size:
        number += 1
        if number > MOST_CHUNKS:
            raise DamagedFileError(f"holds more than {MOST_CHUNKS} chunks; write it again")
        chunk = _chunk_at(file, at, order)
        if chunk is None:
            _require_padding(file, at, size)
            return
        if chunk.name == b"ds64":  # EBU Tech 3306: sizes of 64 bits, of the whole and of the samples
            file.seek(chunk.start + 8)
            (data_size,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
        elif chunk.name == b"data" and chunk.size == STREAMED and kind in (b"RF64", b"BW64"):
            chunk = _Chunk(chunk.name, chunk.start, data_size)
        if chunk.end > size:
            where = "its samples" if chunk.name == b"data" else f"its part {chunk.name.decode('ascii')!r}"
            raise DamagedFileError(
                f"cut short, or never finished: the header says {chunk.size} bytes for {where}, of which"
                f" {size - chunk.start} are there"
            )
        yield chunk
        # Chunks begin at even places, but not every writer knows.
        even = chunk.end + chunk.size % 2
        at = even if even == chunk.end or _chunk_at(file, even, order) or even >= size else chunk.end


def _chunk_at(file: BinaryIO, at: int, order: str) -> _Chunk | None:
    """The chunk that begins there; None where no name of four ASCII characters does."""
    file.seek(at)
    head = file.read(8)
    name = head[:4]
    if len(head) < 8 or not all(0x20 <= byte < 0x7F for byte in name):
        return None
    return _Chunk(name, at + 8, struct.unpack(f"{order}I", head[4:])[0])


def _require_padding(file: BinaryIO, at: int, size: int) -> None:
    """DamagedFileError unless only a few zeros follow."""
    file.seek(at)
    if size - at >= PADDING_BYTES or any(file.read(PADDING_BYTES)):
        raise DamagedFileError(
            f"holds {size - at} bytes after the samples that its header tells of; write it again"
        )


# What only decoding shows


def check_content(path: Path, frames: int) -> None:
    """DamagedFileError for a file that ends before `frames` samples, or whose samples are not what was written."""
    info = soundfile.info(path)
    if info.format in WAV_FORMATS and info.subtype in PLAIN_SUBTYPES:
        return
    expected = _flac_md5(path) if info.format == "FLAC" else None
    digest, read = hashlib.md5(usedforsecurity=False), 0
    try:
        for block in _blocks(path, DTYPES.get(info.subtype, "int32")):
            read += len(block)
            if block.dtype == np.float32 and not np.isfinite(block).all():
                raise DamagedFileError("holds NaN or infinite samples")
            if expected is not None:
                digest.update(_flac_samples(block, info.subtype))
    except soundfile.LibsndfileError as error:
        raise DamagedFileError(f"cannot be decoded beyond sample {read} ({error})") from None
    if read != frames:
        raise DamagedFileError(f"ends after {read} of {frames} samples")
    if expected is not None and digest.digest() != expected:
        raise DamagedFileError("decodes to other samples than were written, by the MD5 in its header")


def _blocks(path: Path, dtype: str) -> Iterator[NDArray[np.generic]]:
    with soundfile.SoundFile(path) as file:
        buffer = np.empty((BLOCK_FRAMES, file.channels), dtype)
        while len(block := file.read(out=buffer)):
            yield block


def _flac_md5(path: Path) -> bytes | None:
    """The MD5 of the samples that a FLAC file states (RFC 9639, 8.2); None if it states none."""
    with regular_files.opened(path) as file:
        head = file.read(42)
    if head[:4] != b"fLaC" or head[4] & 0x7F or not any(head[26:42]):
        return None
    return head[26:42]


def _flac_samples(block: NDArray[np.generic], subtype: str) -> bytes:
    """The samples as that MD5 takes them: interleaved, little-endian, in whole bytes."""
    if subtype == "PCM_16":
        return block.astype("<i2", copy=False).tobytes()
    return (
        block.astype("<i4", copy=False).view(np.uint8).reshape(-1, 4)[:, 4 - FLAC_BYTES[subtype] :].tobytes()
    )
