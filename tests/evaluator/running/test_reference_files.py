"""A reference that is not whole is found before anything runs, whatever its header says."""

import hashlib
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from evaluator.running import dataset, reference_files
from evaluator.running.dataset import DataError
from evaluator.running.reference_files import DamagedFileError
from tests.evaluator import audio
from tests.thinned import one_in

pytestmark = pytest.mark.quick

FRAMES = 5000
SUBTYPES = ("PCM_16", "PCM_24", "PCM_32", "PCM_U8", "FLOAT", "DOUBLE")
Damage = Callable[[bytes], bytes]


def write(file: Path, subtype: str = "PCM_16", kind: str | None = None, frames: int = FRAMES) -> Path:
    soundfile.write(file, audio.noise(frames), audio.RATE_HZ, subtype=subtype, format=kind)
    return file


def check(file: Path, frames: int = FRAMES) -> None:
    """What a run checks of a file before it starts."""
    assert reference_files.read_header(file).frames == frames
    reference_files.check_content(file, frames)


def problem(file: Path) -> str:
    with pytest.raises(DamagedFileError) as caught:
        check(file)
    return str(caught.value)


def place(content: bytes, chunk: bytes) -> int:
    """Where the size of a chunk stands."""
    return content.index(chunk) + 4


def with_size(content: bytes, chunk: bytes, size: int) -> bytes:
    at = place(content, chunk)
    return content[:at] + struct.pack("<I", size) + content[at + 4 :]


def size_of(content: bytes, chunk: bytes) -> int:
    (size,) = struct.unpack_from("<I", content, place(content, chunk))
    return int(size)


@pytest.mark.parametrize("subtype", one_in(3, SUBTYPES))
@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64"])
def test_whole_files_are_whole(subtype: str, kind: str, tmp_path: Path) -> None:
    check(write(tmp_path / "a.wav", subtype, kind))
    check(write(tmp_path / "odd.wav", subtype, kind, frames=1), frames=1)


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
def test_whole_files_of_flac_are_whole(subtype: str, tmp_path: Path) -> None:
    check(write(tmp_path / "a.flac", subtype))
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[26:42] = bytes(16)  # an encoder that was piped into states no MD5
    (tmp_path / "a.flac").write_bytes(content)
    check(tmp_path / "a.flac")


@pytest.mark.parametrize("subtype", ["IMA_ADPCM", "ULAW", "ALAW"])
def test_other_codings_in_wav_are_counted(subtype: str, tmp_path: Path) -> None:
    file = write(tmp_path / "a.wav", subtype)
    frames = soundfile.info(file).frames
    check(file, frames)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(DamagedFileError):
        check(file, frames)


WAV_DAMAGES: dict[str, Damage] = {
    "cut in half": lambda wav: wav[: len(wav) // 2],
    "cut by a byte": lambda wav: wav[:-1],
    "cut by a frame": lambda wav: wav[: len(wav) - 16],
    "cut after the header": lambda wav: wav[: place(wav, b"data") + 4],
    "a header of more": lambda wav: with_size(wav, b"data", size_of(wav, b"data") + 4800),
    "a header of fewer": lambda wav: with_size(wav, b"data", size_of(wav, b"data") // 2),
    "a header of one frame fewer": lambda wav: with_size(wav, b"data", size_of(wav, b"data") - 48),
    "a header of no samples": lambda wav: with_size(wav, b"data", 0),
    "a header that was never finished": lambda wav: with_size(wav, b"data", 0xFFFFFFFF),
    "a header of sox in a pipe": lambda wav: with_size(wav, b"data", 0x7FFFF000),
    "both headers of fewer": lambda wav: with_size(with_size(wav, b"data", 4800), b"RIFF", 4836),
    "part of a frame": lambda wav: with_size(wav, b"data", size_of(wav, b"data") - 1),
    "samples after the end": lambda wav: wav + b"\x12\x34" * 4000,
    "silence after the end": lambda wav: wav + bytes(48000),
    "chunks without end": lambda wav: wav + b"abcd\0\0\0\0" * 10_001,
    "two chunks of samples": lambda wav: wav + wav[place(wav, b"data") - 4 :],
}


@pytest.mark.parametrize("subtype", one_in(3, ["PCM_16", "PCM_24", "FLOAT"]))
@pytest.mark.parametrize("name", WAV_DAMAGES)
def test_a_wav_file_that_is_not_what_its_header_says(name: str, subtype: str, tmp_path: Path) -> None:
    file = write(tmp_path / "a.wav", subtype)
    file.write_bytes(WAV_DAMAGES[name](file.read_bytes()))
    assert problem(file)


@pytest.mark.parametrize("size", [0, 100, FRAMES * 4 // 2, FRAMES * 4 + 4000, 1 << 60, (1 << 64) - 1])
def test_sizes_of_64_bits_are_held_against_the_file(size: int, tmp_path: Path) -> None:
    file = write(tmp_path / "a.wav", kind="RF64")
    content = file.read_bytes()
    at = place(content, b"ds64") + 4 + 8
    assert struct.unpack_from("<Q", content, at) == (FRAMES * 4,)
    file.write_bytes(content[:at] + struct.pack("<Q", size) + content[at + 8 :])
    assert problem(file)
    file.write_bytes(content[:-100])
    assert "cut short, or never finished: the header says 20000 bytes for its samples" in problem(file)


def test_chunks_and_padding_after_the_samples_are_no_damage(tmp_path: Path) -> None:
    file = write(tmp_path / "a.wav", "PCM_U8", frames=FRAMES)
    content = file.read_bytes()
    for more in (
        b"LIST" + struct.pack("<I", 10) + b"INFOISFT" + bytes(2),
        b"id3 " + struct.pack("<I", 3) + b"ID3",  # an odd size, without the byte that should fill it up
        b"id3 " + struct.pack("<I", 3) + b"ID3\0" + b"cue " + struct.pack("<I", 4) + bytes(4),
        bytes(512),
    ):
        file.write_bytes(content + more)
        check(file)
    file.write_bytes(content + b"LIST" + struct.pack("<I", 1000) + b"INFO")
    assert "the header says 1000 bytes for its part 'LIST', of which 4 are there" in problem(file)


def total_of(flac: bytes, frames: int) -> bytes:
    """The file with another number of samples in its header."""
    rest = int.from_bytes(flac[21:26], "big") >> 36 << 36
    return flac[:21] + (rest | frames).to_bytes(5, "big") + flac[26:]


FLAC_DAMAGES: dict[str, Damage] = {
    "cut in half": lambda flac: flac[: len(flac) // 2],
    "cut by a byte": lambda flac: flac[:-1],
    "a header of more": lambda flac: total_of(flac, FRAMES + 1),
    "a header of fewer": lambda flac: total_of(flac, FRAMES - 1),
    "a header of 68 billion": lambda flac: total_of(flac, (1 << 36) - 1),
    "a header that does not say": lambda flac: total_of(flac, 0),
    "a flipped bit": lambda flac: (
        flac[: len(flac) // 2] + bytes([flac[len(flac) // 2] ^ 4]) + flac[len(flac) // 2 + 1 :]
    ),
    "another MD5": lambda flac: flac[:26] + hashlib.md5(b"").digest() + flac[42:],
    "a header alone": lambda flac: flac[:42],
}


@pytest.mark.parametrize("subtype", one_in(2, ["PCM_16", "PCM_24"]))
@pytest.mark.parametrize("name", FLAC_DAMAGES)
def test_a_flac_file_that_is_not_what_its_header_says(name: str, subtype: str, tmp_path: Path) -> None:
    file = write(tmp_path / "a.flac", subtype)
    file.write_bytes(FLAC_DAMAGES[name](file.read_bytes()))
    with pytest.raises(DamagedFileError):  # of a track whose other files say the same
        reference_files.check_content(file, reference_files.read_header(file).frames)


@pytest.mark.parametrize("kind", ["AIFF", "AU", "OGG", "CAF", "W64"])
def test_another_format_under_the_name_of_wav_is_refused(kind: str, tmp_path: Path) -> None:
    file = write(tmp_path / "a.wav", "VORBIS" if kind == "OGG" else "PCM_16", kind)
    assert problem(file) == f"holds {kind}, expected WAV or FLAC"


def test_what_is_no_file_does_not_hold_us(tmp_path: Path) -> None:
    audio.write_music(tmp_path, {"a": 100})
    for name, stem in (("bass", os.mkfifo), ("drums", os.mkdir)):
        (tmp_path / "a" / f"{name}.wav").unlink()
        stem(tmp_path / "a" / f"{name}.wav")
    with pytest.raises(DataError) as caught:
        dataset.load(tmp_path)
    assert [text.partition(": ")[2].partition(" (")[0] for text in caught.value.problems] == [
        "cannot be read as audio"
    ] * 2


def test_a_track_whose_files_are_all_cut_alike_is_found(tmp_path: Path) -> None:
    """Their lengths agree, so nothing else shows it."""
    audio.write_music(tmp_path / "data", {"a": FRAMES})
    for file in (tmp_path / "data" / "a").iterdir():
        file.write_bytes(file.read_bytes()[:-4000])
    with pytest.raises(DataError, match="cut short, or never finished") as caught:
        dataset.load(tmp_path / "data")
    assert len(caught.value.problems) == 5


def test_names_of_tracks_that_no_result_can_have(tmp_path: Path) -> None:
    audio.write_music(tmp_path / "data", {"a\x1b[31m": 100, "b\u202e": 100, "می\u200cخواهم": 100, "ü": 100})
    with pytest.raises(DataError) as caught:
        dataset.load(tmp_path / "data")
    assert [text.rpartition("the character ")[2] for text in caught.value.problems] == [
        "\\x1b, which no name may have; give it another name",
        "\\u202e, which no name may have; give it another name",
    ]
    audio.write_music(tmp_path / "odd\nfolder", {"a": 100})
    with pytest.raises(DataError, match=r"its path has the character \\n"):
        dataset.load(tmp_path / "odd\nfolder")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_text_are_said_before_anything_is_opened(tmp_path: Path) -> None:
    audio.write_music(tmp_path / "data", {"a": 100, "b": 100})
    (tmp_path / "data" / "a").rename(tmp_path / "data" / "caf\udce9")
    (tmp_path / "data" / "b" / "bass.wav").write_text("no sound")
    with pytest.raises(DataError) as caught:
        dataset.load(tmp_path / "data")
    name, damaged = caught.value.problems
    assert "found the character \\udce9, which no name may have" in name
    assert "cannot be read as audio" in damaged
    (tmp_path / "data").rename(tmp_path / "caf\udce9")
    with pytest.raises(DataError, match=r"its path has the character \\udce9"):
        dataset.load(tmp_path / "caf\udce9")


def test_infinite_samples_are_found_in_doubles(tmp_path: Path) -> None:
    signal = audio.noise(FRAMES)
    signal[7, 1] = np.nan
    soundfile.write(tmp_path / "a.wav", signal, audio.RATE_HZ, subtype="DOUBLE")
    assert problem(tmp_path / "a.wav") == "holds NaN or infinite samples"
