"""Parts of recordings: exact to the sample, named apart, and known again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from my_submission.files import FileOptions, UnreadableAudio, separate_file
from my_submission.files.excerpt import Excerpt, loudest_stretch
from my_submission.files.formats import FORMATS, Encoding
from my_submission.files.times import parse_time
from sdx.decoding import probe
from tests.my_submission.files.test_formats import decoded, noise, write
from tests.my_submission.files_model import KnownShares
from tests.thinned import one_in

RATE = 48_000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90.5", 90.5), ("1:30", 90), ("1:02:03.5", 3723.5), ("0:05", 5), ("75:00", 4500)],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "1:75", "1:60:00", "-3", "1m", "song.mp3", "1:2:3:4", "nan", "1e3"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="expected seconds, minutes:seconds or hours:minutes:seconds, found"):
        parse_time(text)


@pytest.mark.parametrize(
    ("excerpt", "name"),
    [
        (Excerpt(), ""),
        (Excerpt(90), "from 1m30s"),
        (Excerpt(3723.25), "from 1h02m03.25s"),
        (Excerpt(0, 20), "0s to 20s"),
        (Excerpt(65, 60), "1m05s to 2m05s"),
        (Excerpt(seconds=30, loudest=True), "loudest 30s"),
    ],
)  # fmt: skip
def test_names(excerpt: Excerpt, name: str) -> None:
    assert excerpt.name == name


@pytest.mark.parametrize(
    "wrong",
    [
        {"start": -1},
        {"start": 1e30},
        {"start": float("nan")},
        {"seconds": 0},
        {"seconds": float("inf")},
        {"loudest": True},
        {"loudest": True, "start": 1},
    ],
)
def test_impossible_parts(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Excerpt(**wrong)


@pytest.mark.parametrize("format", list(FORMATS))
@pytest.mark.parametrize(("start", "seconds"), one_in(2, [(0.123, None), (0.5, 0.25), (0.9, 5), (0, 0.7)]))
def test_a_part_is_that_of_the_whole_to_the_sample(
    tmp_path: Path, format: str, start: float, seconds: float | None
) -> None:
    path = write(tmp_path / f"a.{format}", Encoding(format), RATE, noise(RATE + 17))
    whole, _ = decoded(path)
    result = separate_file(
        path,
        tmp_path,
        model=KnownShares(7_001),
        options=FileOptions(("mixture",), excerpt=Excerpt(start, seconds)),
    )
    first = round(start * RATE)
    expected = whole[:, first : None if seconds is None else first + round(seconds * RATE)]
    found = soundfile.read(result.files["mixture"], dtype="float32")[0].T
    assert result.start_samples == first
    assert found.shape == expected.shape
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("block", [999, 10_000, 1_000_000])
@pytest.mark.parametrize("where", [0, 40_000, 70_000, 80_000])
def test_the_loudest_stretch_is_found(block: int, where: int) -> None:
    signal = 0.01 * torch.randn(2, 100_000, generator=torch.Generator().manual_seed(0))
    signal[:, where : where + 20_000] *= 30
    blocks = torch.split(signal, block, dim=1)
    assert loudest_stretch(blocks, 20_000, 1_000) == where


def test_a_loudest_stretch_as_long_as_the_recording_is_all_of_it() -> None:
    signal = torch.ones(1, 5_500)
    assert loudest_stretch([signal], 5_500, 1_000) == 0
    assert loudest_stretch([signal], 90_000, 1_000) == 0
    rising = torch.linspace(0, 1, 5_500)[None]
    assert loudest_stretch([rising], 3_000, 1_000) == 2_500  # up to the end, and not beyond


def test_a_preview_says_where_it_is(tmp_path: Path) -> None:
    signal = 0.1 * noise(3 * RATE)
    signal[:, RATE : 2 * RATE] *= 8
    path = write(tmp_path / "a.wav", Encoding("wav"), RATE, signal)
    options = FileOptions(("mixture",), excerpt=Excerpt(seconds=1, loudest=True))
    result = separate_file(path, tmp_path, model=KnownShares(), options=options)
    assert (result.start_samples, result.samples) == (RATE, RATE)
    assert result.files["mixture"] == tmp_path / "a (loudest 1s)" / "mixture.wav"


@pytest.mark.parametrize("start", [1.0, 60.0])
def test_a_start_beyond_the_end_is_one_sentence(tmp_path: Path, start: float) -> None:
    path = write(tmp_path / "a.flac", Encoding("flac"), RATE, noise(RATE))
    with pytest.raises(
        UnreadableAudio, match=r"a.flac: it ends before \d:\d\d, where .* \(it is 0:01 long\); choose"
    ):
        separate_file(
            path, tmp_path / "out", model=KnownShares(), options=FileOptions(excerpt=Excerpt(start))
        )
    assert not (tmp_path / "out").exists()


def test_parts_and_the_whole_are_done_each_for_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", Encoding("wav"), RATE, noise(RATE))
    parts = [Excerpt(), Excerpt(0.5), Excerpt(seconds=0.5), Excerpt(seconds=0.5, loudest=True)]
    for skipped in (False, True):
        for part in parts:
            options = FileOptions(("bass",), excerpt=part, resume=True)
            result = separate_file(path, tmp_path / "out", model=KnownShares(), options=options)
            assert result.skipped == skipped
            assert result.start_samples == (RATE // 2 if part.start else result.start_samples)
    assert len(list((tmp_path / "out").rglob("*.wav"))) == len(parts)
    assert probe(tmp_path / "out" / "a" / "bass.wav").seconds == 1
