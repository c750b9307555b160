"""Headers of sound files that are made by hand, and how they are read."""

import struct
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from evaluator.running import audio_header
from evaluator.running.audio_header import Header, HeaderError

BLOCK = bytes(4 * 100)  # of a hundred frames of two channels in 16 bits
LONG = 0xFFFFFFFF


def read(path: Path) -> Header:
    with path.open("rb") as file:
        return audio_header.read(file)


def read_content(content: bytes) -> Header:
    """The header of a file with this content, which has no name."""
    with TemporaryFile() as file:
        file.write(content)
        file.flush()
        return audio_header.read(file)


def refused(content: bytes) -> str:
    with pytest.raises(HeaderError) as caught:
        read_content(content)
    message = str(caught.value)
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 150
    return message


def chunk(name: bytes, content: bytes, length: int | None = None, pad: bool = True) -> bytes:
    stated = len(content) if length is None else length
    return name + struct.pack("<I", stated) + content + (b"\0" if pad and len(content) % 2 else b"")


def form(
    code: int = 1, channels: int = 2, rate: int = 44100, bits: int = 16, block: int | None = None
) -> bytes:
    block = channels * bits // 8 if block is None else block
    return chunk(
        b"fmt ", struct.pack("<HHIIHH", code, channels, rate, rate * block & 0xFFFFFFFF, block, bits)
    )


def riff(*chunks: bytes, mark: bytes = b"RIFF", length: int | None = None) -> bytes:
    content = b"WAVE" + b"".join(chunks)
    return mark + struct.pack("<I", len(content) if length is None else length) + content


def ds64(data_bytes: int, riff_bytes: int = 0, frames: int = 0) -> bytes:
    return chunk(b"ds64", struct.pack("<QQQI", riff_bytes, data_bytes, frames, 0))
