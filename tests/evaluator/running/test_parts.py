"""Parts of a track: samples as libsndfile reads them, and hashes, for which each file is read once."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from evaluator.digests import sha256_of_file
from evaluator.running import parts

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [("wav", "PCM_16"), ("flac", "PCM_16"), ("aiff", "PCM_16"), ("wav", "PCM_24"), ("wav", "FLOAT")],
)
def test_blocks_hold_what_libsndfile_reads_to_the_bit(
    tmp_path: Path, suffix: str, subtype: str, channels: int
) -> None:
    file = tmp_path / f"x.{suffix}"
    sound = np.random.default_rng(0).uniform(-1, 1, (1000, channels))
    sound[:2, 0] = (-1, 1)  # the ends of the scale
    soundfile.write(file, sound, 44_100, subtype)
    blocks = [block.copy() for block in parts.blocks(file, 300)]
    assert [len(block) for block in blocks] == [300, 300, 300, 100]
    assert all(block.dtype == np.float32 for block in blocks)
    expected = soundfile.read(file, dtype="float32", always_2d=True)[0]
    np.testing.assert_array_equal(np.concatenate(blocks), expected)


def test_a_file_is_hashed_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written a moment ago is read every time: its time may not tell of the next change."""
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return sha256_of_file(path)

    monkeypatch.setattr(parts, "sha256_of_file", counted)
    file = tmp_path / "a.wav"
    file.write_bytes(b"first")
    first = parts.content_sha256(file)
    file.write_bytes(b"other")
    other = parts.content_sha256(file)
    assert (len(read), first != other) == (2, True)
    long_ago = time.time() - 100
    os.utime(file, (long_ago, long_ago))
    assert {parts.content_sha256(file) for _ in range(3)} == {other}
    assert len(read) == 3
    file.write_bytes(b"third")
    os.utime(file, (long_ago + 1, long_ago + 1))
    assert parts.content_sha256(file) not in (first, other)
