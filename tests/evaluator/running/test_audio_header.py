"""Headers of sound files: what libsndfile says of the honest ones, an error or the plain truth of all others."""

import io
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from evaluator.running import audio_header
from evaluator.running.audio_header import Header, HeaderError
from tests.evaluator.running.made_headers import BLOCK, LONG, chunk, form, read, read_content, refused, riff

pytestmark = pytest.mark.quick

SUBTYPES = ("PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
FRAME_BYTES = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}
KNOWN_FLAC = ("PCM_S8", "PCM_16", "PCM_24")


def noise(frames: int, channels: int) -> np.ndarray:
    return np.random.default_rng(7).uniform(-1, 1, (frames, channels))


@pytest.mark.parametrize("form", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize("subtype", SUBTYPES)
def test_of_wav_it_says_what_libsndfile_says(tmp_path: Path, form: str, subtype: str) -> None:
    for channels in (1, 2, 7):
        for frames in (0, 1, 3, 1001):
            path = tmp_path / "a.wav"
            soundfile.write(path, noise(frames, channels), 44100 + frames, subtype=subtype, format=form)
            info = soundfile.info(path)
            header = read(path)
            assert (header.container, header.subtype) == ("WAV", info.subtype)
            assert (header.rate_hz, header.channels, header.frames) == (
                info.samplerate, info.channels, info.frames,
            )  # fmt: skip
            assert header.frame_bytes == channels * FRAME_BYTES[subtype]
            padding = path.stat().st_size - header.data_offset - header.data_bytes
            assert padding >= 0


@pytest.mark.parametrize("subtype", KNOWN_FLAC)
def test_of_flac_it_says_what_libsndfile_says(tmp_path: Path, subtype: str) -> None:
    for channels in (1, 2, 8):
        for frames in (1, 4097):
            path = tmp_path / "a.flac"
            soundfile.write(path, noise(frames, channels), 48000, subtype=subtype, format="FLAC")
            info, header = soundfile.info(path), read(path)
            assert header.container == "FLAC"
            assert header.subtype.replace("PCM_8", "PCM_S8") == info.subtype
            assert (header.rate_hz, header.channels, header.frames) == (
                info.samplerate, info.channels, info.frames,
            )  # fmt: skip


@pytest.mark.parametrize("form", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize("subtype", SUBTYPES)
def test_with_a_header_of_ours_the_samples_are_exactly_the_same(
    tmp_path: Path, form: str, subtype: str
) -> None:
    for channels, frames in ((1, 1001), (3, 1001), (2, 0), (1, 1)):
        path = tmp_path / "a.wav"
        soundfile.write(path, noise(frames, channels), 44100, subtype=subtype, format=form)
        header = read(path)
        samples = path.read_bytes()[header.data_offset :][: header.data_bytes]
        rewritten = audio_header.wav(header) + samples + b"\0" * (len(samples) % 2)
        assert read_content(rewritten) == at(header, len(audio_header.wav(header)))
        again, rate = soundfile.read(io.BytesIO(rewritten), always_2d=True)
        np.testing.assert_array_equal(again, soundfile.read(path, always_2d=True)[0])
        assert rate == 44100
        assert soundfile.info(io.BytesIO(rewritten)).subtype == subtype


def at(header: Header, data_offset: int) -> Header:
    return replace(header, data_offset=data_offset)


def test_a_header_of_ours_for_more_than_4_gib_is_one_that_is_read(tmp_path: Path) -> None:
    """The samples are a hole in the file."""
    stated = Header("WAV", "DOUBLE", 96000, 2, 400_000_000, 0, 16)
    written = audio_header.wav(stated)
    assert written[:4] == b"RF64"
    with (tmp_path / "long.wav").open("wb") as file:
        file.write(written)
        file.truncate(len(written) + stated.data_bytes)
    assert read(tmp_path / "long.wav") == at(stated, len(written))
    info = soundfile.info(tmp_path / "long.wav")
    assert (info.frames, info.channels, info.samplerate, info.subtype) == (400_000_000, 2, 96000, "DOUBLE")


def test_the_form_changes_where_32_bits_end() -> None:
    """No size that is written may be the one that says: look elsewhere."""
    most = (LONG - 1 - 36) // 2  # frames of two bytes, after 36 of header that count
    short, long = (audio_header.wav(Header("WAV", "PCM_16", 44100, 1, most + more, 0, 2)) for more in (0, 1))
    assert struct.unpack_from("<4sI", short) == (b"RIFF", 36 + 2 * most)
    assert struct.unpack_from("<4sI", short, 36) == (b"data", 2 * most)
    assert struct.unpack_from("<4sI", long) == (b"RF64", LONG)
    assert struct.unpack_from("<QQQ", long, 20) == (len(long) - 8 + 2 * most + 2, 2 * most + 2, most + 1)
    assert struct.unpack_from("<4sI", long, len(long) - 8) == (b"data", LONG)


MADE = {
    "wav": lambda path: soundfile.write(path, noise(20, 2), 44100, subtype="PCM_16", format="WAV"),
    "wavex": lambda path: soundfile.write(path, noise(20, 2), 44100, subtype="FLOAT", format="WAVEX"),
    "rf64": lambda path: soundfile.write(path, noise(20, 2), 44100, subtype="PCM_24", format="RF64"),
    "flac": lambda path: soundfile.write(path, noise(20, 2), 44100, subtype="PCM_16", format="FLAC"),
}


def consistent(header: Header, size: int) -> bool:
    """What is stated of a WAV file is there; of FLAC, only the decoder can tell."""
    if min(header.rate_hz, header.channels) < 1 or header.frames < 0:
        return False
    if header.container == "FLAC":
        return header.frames < 1 << 36 and header.channels <= 8
    known = header.frame_bytes == header.channels * FRAME_BYTES[header.subtype]
    return known and 0 < header.data_offset <= size and header.data_offset + header.data_bytes <= size


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_a_file_cut_anywhere_is_an_error_or_still_true(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "sound"
    make(path)
    content = path.read_bytes()
    whole = read(path)
    for length in range(len(content)):
        try:
            header = read_content(content[:length])
        except HeaderError:
            continue
        assert consistent(header, length)
        assert header == whole  # no shorter file is taken for a sound that is only shorter


def test_a_file_cut_within_its_samples_says_so() -> None:
    content = riff(form(), chunk(b"data", BLOCK))
    assert refused(content[:-1]) == "cut short, 399 of 400 bytes of samples"
    assert refused(content[:44]) == "cut short, 0 of 400 bytes of samples"


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_any_byte_of_a_header_may_be_wrong(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "sound"
    make(path)
    content = path.read_bytes()
    start = read(path).data_offset or 42
    for place in range(start):
        for value in {
            0,
            1,
            0x7F,
            0x80,
            0xFF,
            content[place] ^ 1,
            content[place] ^ 0x80,
            255 - content[place],
        }:
            try:
                header = read_content(content[:place] + bytes([value]) + content[place + 1 :])
            except HeaderError:
                continue
            assert consistent(header, len(content)), (place, value, header)


def test_flac_that_states_billions_of_samples_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    MADE["flac"](path)
    content = bytearray(path.read_bytes()[:242])
    content[21] |= 0x0F
    content[22:26] = b"\xff" * 4
    before = time.process_time()
    header = read_content(bytes(content))
    assert header.frames == (1 << 36) - 1
    assert header.data_bytes == 0
    assert time.process_time() - before < 1.0


FLAC_FAULTS = {
    "only the mark": lambda content: content[:4],
    "a first block of another kind": lambda content: content[:4] + b"\x04" + content[5:],
    "a first block of another length": lambda content: content[:7] + b"\x21" + content[8:],
    "a rate of 0": lambda content: content[:18] + b"\0\0" + bytes([content[20] & 0x0F]) + content[21:],
}


@pytest.mark.parametrize("spoil", FLAC_FAULTS.values(), ids=FLAC_FAULTS)
def test_flac_without_a_sound_first_block(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.flac"
    MADE["flac"](path)
    assert "FLAC" in refused(spoil(path.read_bytes()))


def test_tags_before_flac_are_not_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    MADE["flac"](path)
    assert refused(b"ID3\x04\0\0\0\0\0\0" + path.read_bytes()) == "neither WAV nor FLAC"


OTHERS = {
    "": "an empty file",
    "RIF": "neither WAV nor FLAC",
    "RIFX": "neither WAV nor FLAC",
    "OggS": "neither WAV nor FLAC",
    "caff": "neither WAV nor FLAC",
    "FORM": "neither WAV nor FLAC",
    "RIFF": "RIFF, but not WAVE",
    "RIFF    AVI LIST": "RIFF, but not WAVE",
}


@pytest.mark.parametrize("content", OTHERS)
def test_other_files_are_named_what_they_are(content: str) -> None:
    assert refused(content.encode()) == OTHERS[content]


@pytest.mark.parametrize("kind", ["AIFF", "CAF", "W64", "OGG", "MP3", "AU", "SVX", "WVE", "VOC"])
def test_what_else_libsndfile_writes_is_refused(tmp_path: Path, kind: str) -> None:
    if kind not in soundfile.available_formats():
        pytest.skip(f"this libsndfile does not write {kind}")
    try:
        soundfile.write(tmp_path / "a", noise(1000, 1), 8000, format=kind)
    except (soundfile.LibsndfileError, ValueError):
        pytest.skip(f"this libsndfile writes {kind} of other sounds only")
    refused((tmp_path / "a").read_bytes())


@pytest.mark.parametrize("subtype", ["PCM_U8", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32"])
def test_wav_of_other_samples_is_refused(tmp_path: Path, subtype: str) -> None:
    soundfile.write(tmp_path / "a.wav", noise(1000, 1), 8000, subtype=subtype)
    assert "expected integers of 16, 24, 32 or floats of 32, 64" in refused((tmp_path / "a.wav").read_bytes())
