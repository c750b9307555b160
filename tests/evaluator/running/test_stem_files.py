"""Where the streams of a `.stem.mp4` end."""

from pathlib import Path

import pytest

from evaluator.running import dataset, parts
from tests.evaluator import known_data
from tests.thinned import one_in


@pytest.mark.parametrize("frames", one_in(4, [1500, 100, 1023, 20001]))
def test_a_stem_file_ends_anywhere_in_its_last_packet(tmp_path: Path, frames: int) -> None:
    """As those do that are cut, or encoded again: they are whole, and read to the sample."""
    (track,) = dataset.load(known_data.write_musdb18(tmp_path, frames=frames)).tracks
    dataset.content_hash([track])
    assert track.frames == frames
    assert [len(parts.read(part)) for part in track.references.values()] == [frames] * 4
