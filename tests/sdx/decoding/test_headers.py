"""Headers that lie: what is there is decoded, what is missing is said, and whatever is true is not doubted."""

import io
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sdx.decoding import Reading, Undecodable, probe
from sdx.decoding.headers import View, read_header

SAMPLES, RATE = 22_051, 44_100
Patch = Callable[[bytearray], bytes | bytearray]


def noise(samples: int = SAMPLES) -> "np.ndarray[tuple[int, int], np.dtype[np.int16]]":
    return np.random.default_rng(0).integers(-9_000, 9_000, (samples, 2)).astype(np.int16)


def set_at(mark: bytes, offset: int, value: int, format: str) -> Patch:
    def patch(data: bytearray) -> bytearray:
        struct.pack_into(format, data, data.index(mark) + offset, value)
        return data

    return patch


def cut(data: bytearray) -> bytearray:
    return data[: len(data) // 2]


def appended(extra: bytes) -> Patch:
    return lambda data: bytes(data) + extra


DATA = 4 * SAMPLES
SAY_NOTHING, UNFINISHED, MISSING, LONGER = "", "never completed", r"states .* only", "all of which are read"
LIES: list[tuple[str, Patch, str]] = [
    ("WAV", set_at(b"data", 4, 0, "<I"), UNFINISHED),
    ("WAV", set_at(b"data", 4, 2**32 - 1, "<I"), SAY_NOTHING),
    ("WAV", set_at(b"data", 4, 2**31 - 1, "<I"), MISSING),
    ("WAV", set_at(b"data", 4, DATA // 3 // 4 * 4, "<I"), LONGER),
    ("WAV", cut, MISSING),
    ("WAV", appended(b"LIST" + struct.pack("<I", 4) + b"INFO"), SAY_NOTHING),
    ("WAV", appended(b"ID3\x04" + bytes(90_000)), SAY_NOTHING),
    ("WAV", appended(bytes(90_000)), SAY_NOTHING),
    ("RF64", set_at(b"ds64", 16, 0, "<Q"), UNFINISHED),
    ("RF64", cut, MISSING),
    ("W64", set_at(b"data\xf3", 16, 24, "<Q"), UNFINISHED),
    ("W64", cut, MISSING),
    ("AIFF", set_at(b"SSND", 4, 0, ">I"), UNFINISHED),
    ("AIFF", cut, MISSING),
    ("AU", set_at(b".snd", 8, 0, ">I"), UNFINISHED),
    ("FLAC", set_at(b"fLaC", 22, 0, ">I"), SAY_NOTHING),
    ("FLAC", set_at(b"fLaC", 22, 20 * SAMPLES, ">I"), MISSING),
    ("FLAC", lambda data: b"ID3\x04\0\0\0\0\x08\0" + bytes(1024) + data, SAY_NOTHING),
    ("FLAC", cut, MISSING),
    *((format, bytes, SAY_NOTHING) for format in ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC")),
]  # fmt: skip


@pytest.mark.parametrize(("format", "patch", "warning"), LIES)
def test_what_is_there_is_decoded(tmp_path: Path, format: str, patch: Patch, warning: str) -> None:
    path, truth = tmp_path / "a", noise()
    soundfile.write(path, truth, RATE, format=format, subtype="PCM_16")
    path.write_bytes(patch(bytearray(path.read_bytes())))
    reading = Reading(probe(path))
    found = np.concatenate(list(reading.blocks()))
    if patch is cut:
        assert 0.4 * SAMPLES - 4_608 < len(found) < 0.51 * SAMPLES + 4_608  # and whole frames of FLAC
    else:
        assert len(found) == SAMPLES
    assert (found * 2**15 == truth[: len(found)]).all()
    said = "; ".join(reading.warnings)
    assert bool(said) == bool(warning)
    assert re.search(warning, said), said


@pytest.mark.parametrize("format", ["WAV", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC"])
def test_a_file_may_end_anywhere_in_its_header(format: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, noise(100), RATE, format=format, subtype="PCM_16")
    data = file.getvalue()
    for length in range(len(data)):
        header = read_header(io.BytesIO(data[:length]))
        assert "-" not in header.warning, header.warning  # no negative length


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
def test_every_sample_format_is_what_libsndfile_makes_of_it(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(500) / 2**15, RATE, subtype=subtype)
    found = np.concatenate(list(Reading(probe(path)).blocks()))
    assert np.array_equal(found, soundfile.read(path, dtype="float32")[0])


@pytest.mark.parametrize("format", ["WAV", "AIFF", "W64", "AU", "FLAC"])
@pytest.mark.parametrize("start", [1, 4_097, SAMPLES - 1, SAMPLES, SAMPLES + 9])
def test_reading_may_start_anywhere(tmp_path: Path, format: str, start: int) -> None:
    path, truth = tmp_path / "a", noise()
    soundfile.write(path, truth, RATE, format=format, subtype="PCM_16")
    blocks = [np.zeros((0, 2), np.float32), *Reading(probe(path)).blocks(start)]
    assert np.array_equal(np.concatenate(blocks) * 2**15, truth[start:])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"hello\n" * 99, "no recording"),
        *((start, "no") for start in (b".snd", b".snd\0\0\0\x18\0\0\0", b"RIFF\0\0\0\0WAVE", b"ID3")),
        (b"#EXTM3U\n#EXTINF:1,x\na.wav\n", "no recording"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "no recording"),
        (b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\2\0\x44\xac\0\0\x10\xb1\2\0\4\0\x10\0data\0\0\0\0", "no audio"),
    ],
)  # fmt: skip
def test_what_is_no_recording_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "song.mp3"
    path.write_bytes(content)
    with pytest.raises(Undecodable, match=rf"song\.mp3: {message}|song\.mp3: it holds {message}"):
        probe(path)


def test_a_view_is_the_file_but_for_its_patches() -> None:
    data, patches = bytes(range(100)), {3: b"abc", 50: b"x"}
    expected = data[:3] + b"abc" + data[6:50] + b"x" + data[51:80]
    for size in (1, 4, 7, 100):
        view, found = View(io.BytesIO(data), patches, 80), b""
        while piece := view.read(size):
            found += piece
        assert found == expected
    assert view.seek(0, 2) == 80
    assert (view.seek(-1), view.seek(-81, 2), view.seek(-81, 1)) == (-1, -1, -1)
    assert (view.tell(), view.seek(-1, 1), view.seek(-2, 2)) == (80, 79, 78)
