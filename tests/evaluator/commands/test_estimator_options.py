"""What `tune` and `ablate` do with tracks that cannot be used."""

import argparse
from argparse import Namespace
from pathlib import Path
from typing import Any, cast

import pytest

from evaluator import __main__
from evaluator.challenge import MUSIC
from evaluator.commands import estimator_options
from evaluator.running.dataset import DataError, Dataset
from evaluator.tuning.estimator import EstimatorError, PresetInfo
from tests.evaluator import audio

pytestmark = pytest.mark.quick


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four tracks; of one a file is missing, and one has a file that ends early."""
    folder = audio.write_music(tmp_path / "data", dict.fromkeys("abcd", 1000))
    (folder / "b" / "drums.wav").unlink()
    cut = (folder / "c" / "bass.wav").read_bytes()[:-400]
    (folder / "c" / "bass.wav").write_bytes(cut)
    return folder


def loaded(data: Path, *words: str, command: str = "tune") -> tuple[Dataset, str]:
    parser = argparse.ArgumentParser()
    __main__.add_parsers(parser.add_subparsers(), [command])
    given: Namespace = parser.parse_args([command, "made", "--data", str(data), *words])
    return estimator_options.load_data(given, cast(PresetInfo, Namespace(instruments=MUSIC.stems)))


@pytest.mark.parametrize("command", ["tune", "ablate"])
def test_tracks_that_cannot_be_used_are_left_out_if_they_may_be(
    data: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, digest = loaded(data, "--skip-bad", command=command)
    assert [track.name for track in found.tracks] == ["a", "d"]
    assert digest == loaded(data, "--only", "[ad]")[1]
    assert estimator_options.tracks_of(found) == "2 of 4 tracks"
    assert capsys.readouterr().err.startswith(
        "2 of 4 tracks were left out, since they cannot be used: b (b/drums.wav: missing"
    )


def test_otherwise_each_is_named_with_what_to_do(data: Path) -> None:
    for only, problem in (("[ab]", "b/drums.wav: missing"), ("[ac]", "c/bass.wav: ")):
        with pytest.raises(EstimatorError, match=problem) as caught:
            loaded(data, "--only", only)
        assert str(caught.value).endswith("leave out 1 track with --skip-bad: then the score is of fewer.")
    with pytest.raises(DataError, match=r"c/bass\.wav: "):
        loaded(data, "--only", "c", "--skip-bad")


def test_where_all_can_be_used_nothing_is_said(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found: Any = loaded(data, "--only", "[ad]", "--skip-bad")[0]
    assert estimator_options.tracks_of(found) == "2 tracks"
    assert capsys.readouterr().err == ""
