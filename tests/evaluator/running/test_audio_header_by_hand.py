"""Headers of WAV files that are made by hand: lengths that lie, formats that contradict themselves, floods."""

import contextlib
import io
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluator.running import audio_header
from evaluator.running.audio_header import MOST_CHUNKS, HeaderError
from tests.evaluator.running.made_headers import BLOCK, LONG, chunk, ds64, form, read_content, refused, riff

pytestmark = pytest.mark.quick

CONTRADICTIONS = {
    "no channels": form(channels=0, block=0),
    "no rate": form(rate=0),
    "frames too short": form(block=3),
    "frames too long": form(block=8),
    "frames of nothing": form(block=0),
    "more channels than 16 bits of frames hold": form(channels=0x8000, block=0),
}


@pytest.mark.parametrize("described", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_format_that_contradicts_itself(described: bytes) -> None:
    message = refused(riff(described, chunk(b"data", BLOCK)))
    assert message == "WAV with a format that contradicts itself"


@pytest.mark.parametrize("code", [0, 1, 2, 3, 6, 0xFFFD, 0xFFFF])
def test_unknown_formats_are_refused(code: int) -> None:
    for bits in (0, 1, 8, 12, 15, 17, 20, 33, 63, 0xFFFF):
        described = form(code, 2, 44100, bits, 2 * bits // 8 & 0xFFFF)
        refused(riff(described, chunk(b"data", BLOCK)))


def extensible(tail: bytes, length: int = 40) -> bytes:
    content = struct.pack("<HHIIHH", 0xFFFE, 2, 44100, 176400, 4, 16) + struct.pack("<HHI", 22, 16, 3) + tail
    return chunk(b"fmt ", content[:length])


def test_an_extensible_format_is_known_by_its_whole_name() -> None:
    tail = struct.pack("<H", 1) + audio_header.SUBFORMAT_TAIL
    data = chunk(b"data", BLOCK)
    assert read_content(riff(extensible(tail), data)).frames == 100
    for place in range(2, len(tail)):
        wrong = tail[:place] + bytes([tail[place] ^ 1]) + tail[place + 1 :]
        assert "unknown extensible" in refused(riff(extensible(wrong), data))
    for length in range(16, 40):
        refused(riff(extensible(tail, length), data))
    nested = struct.pack("<H", 0xFFFE) + audio_header.SUBFORMAT_TAIL
    refused(riff(extensible(nested), data))


def test_a_flood_of_chunks_is_not_followed() -> None:
    data = chunk(b"data", BLOCK)
    few = [chunk(b"junk", b"x")] * (MOST_CHUNKS - 2)
    assert read_content(riff(form(), *few, data)).frames == 100
    assert "more than 64 chunks" in refused(riff(form(), *few, chunk(b"junk", b""), data))
    before = time.process_time()
    refused(riff(form(), *[chunk(b"junk", b"")] * 200_000, data))
    assert time.process_time() - before < 1.0


def test_chunks_of_odd_lengths_have_a_byte_more() -> None:
    for length in range(5):
        header = read_content(riff(form(), chunk(b"LIST", b"x" * length), chunk(b"data", BLOCK)))
        assert header.data_offset == 12 + 24 + 8 + length + length % 2 + 8
    refused(riff(form(), chunk(b"LIST", b"x", pad=False), chunk(b"data", BLOCK)))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (riff(), "WAV without a format"),
        (riff(form()), "WAV without samples"),
        (riff(chunk(b"data", BLOCK)), "samples come before their format"),
        (riff(chunk(b"data", BLOCK), form()), "samples come before their format"),
        (riff(chunk(b"fmt ", b"\1\0")), "format that is cut short"),
        (riff(chunk(b"fmt ", b"")), "format that is cut short"),
        (riff(form(), chunk(b"junk", b"", LONG), chunk(b"data", BLOCK)), "WAV without samples"),
        (riff(form(), chunk(b"junk", b"", 1 << 31), chunk(b"data", BLOCK)), "WAV without samples"),
        (riff(form(), chunk(b"data", BLOCK, 401)), "cut short, 400 of 401 bytes"),
        (riff(form(), chunk(b"data", BLOCK, LONG)), f"cut short, 400 of {LONG} bytes"),
        (riff(form(), chunk(b"data", b"", LONG)), f"cut short, 0 of {LONG} bytes"),
        (riff(ds64(400), form(), chunk(b"data", BLOCK, LONG)), f"cut short, 400 of {LONG} bytes"),  # not RF64
        (riff(form(), chunk(b"data", BLOCK, LONG), mark=b"RF64"), f"cut short, 400 of {LONG} bytes"),
        (riff(ds64(401), form(), chunk(b"data", BLOCK, LONG), mark=b"RF64"), "cut short, 400 of 401 bytes"),
        (riff(ds64((1 << 64) - 1), form(), chunk(b"data", BLOCK, LONG), mark=b"RF64"), "cut short, 400 of"),
        (riff(form(), chunk(b"data", BLOCK, LONG), ds64(400), mark=b"RF64"), "cut short, 436 of"),
    ],
)
def test_lengths_that_lie_are_found_out(content: bytes, problem: str) -> None:
    assert problem in refused(content)


def test_the_length_of_the_whole_is_not_believed() -> None:
    """Whoever wrote to a pipe could not go back and fill it in; what counts is the samples'."""
    for length in (0, 4, LONG):
        assert read_content(riff(form(), chunk(b"data", BLOCK), length=length)).frames == 100


def test_a_ds64_that_is_not_asked_for_changes_nothing() -> None:
    content = riff(ds64(1 << 60), form(), chunk(b"data", BLOCK), mark=b"RF64")
    assert read_content(content).frames == 100


def test_what_comes_after_the_samples_is_none_of_them() -> None:
    content = riff(form(), chunk(b"data", BLOCK), chunk(b"data", BLOCK), chunk(b"LIST", b"x" * 1000))
    assert read_content(content).frames == 100


@pytest.mark.parametrize("more", [1, 2, 3])
def test_part_of_a_frame_is_no_frame(more: int) -> None:
    header = read_content(riff(form(), chunk(b"data", BLOCK + bytes(more))))
    assert (header.frames, header.data_bytes) == (100, 400)


class Counting(io.BytesIO):
    """A file that notes what is read of it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.read_bytes())
        self._descriptor = path.open("rb")
        self.read_bytes = 0

    def fileno(self) -> int:
        return self._descriptor.fileno()

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        assert 0 <= size <= 64
        self.read_bytes += size
        return super().read(size)


def contents() -> Iterator[bytes]:
    yield riff(form(), chunk(b"data", bytes(1 << 20)))
    yield riff(chunk(b"fmt ", bytes(1 << 20)), chunk(b"data", BLOCK))
    yield riff(ds64(400) + chunk(b"junk", bytes(1 << 20)), form(), chunk(b"data", BLOCK), mark=b"RF64")
    yield b"fLaC" + bytes(1 << 20)


@pytest.mark.parametrize("content", list(contents()))
def test_little_is_read_of_any_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    counting = Counting(tmp_path / "a")
    with contextlib.suppress(HeaderError):
        audio_header.read(counting)
    assert counting.read_bytes < 4096
