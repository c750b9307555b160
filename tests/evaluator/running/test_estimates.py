"""What is accepted of the files that a submission leaves, and what is refused without being opened."""

import os
import shutil
from pathlib import Path

import pytest
import soundfile

from evaluator.challenge import CINEMATIC, MUSIC
from evaluator.running import dataset, estimates
from evaluator.running.dataset import Track
from tests.evaluator import audio


@pytest.fixture
def track(tmp_path: Path) -> Track:
    (track,) = dataset.load(audio.write_music(tmp_path / "data", {"a": 1000})).tracks
    return track


@pytest.fixture
def predictions(tmp_path: Path, track: Track) -> Path:
    folder = tmp_path / "predictions" / "a"
    folder.mkdir(parents=True)
    for stem in MUSIC.stems:
        soundfile.write(folder / f"{stem}.wav", audio.noise(1000), 44100)
    return folder.parent


def reason(predictions: Path, track: Track) -> str:
    """Why these predictions are refused."""
    with pytest.raises(estimates.InvalidOutputError) as caught:
        estimates.collect(predictions, track, MUSIC, predictions.parent / "taken")
    assert not (predictions.parent / "taken").exists()
    return str(caught.value)


def test_estimates_are_moved_out_of_reach(predictions: Path, track: Track) -> None:
    taken = predictions.parent / "taken"
    estimates.collect(predictions, track, MUSIC, taken)
    assert sorted(os.listdir(taken)) == [f"{stem}.wav" for stem in MUSIC.stems]
    assert list((predictions / "a").iterdir()) == []


def test_cinematic_files_carry_the_name_of_the_folder(tmp_path: Path) -> None:
    (track,) = dataset.load(audio.write_cinematic(tmp_path / "data", ("one",))).tracks
    folder = tmp_path / "predictions" / "one"
    folder.mkdir(parents=True)
    for stem in CINEMATIC.stems:
        soundfile.write(folder / f"one_{stem}.wav", audio.noise(track.frames), 44100)
    estimates.collect(folder.parent, track, CINEMATIC, tmp_path / "taken")
    assert sorted(os.listdir(tmp_path / "taken")) == ["dialog.wav", "effect.wav", "music.wav"]


def test_links_and_things_that_are_no_files(predictions: Path, track: Track) -> None:
    folder = predictions / "a"
    shutil.move(folder / "bass.wav", predictions / "elsewhere.wav")
    (folder / "bass.wav").symlink_to(predictions / "elsewhere.wav")
    os.link(folder / "drums.wav", predictions / "second-name.wav")
    (folder / "other.wav").unlink()
    os.mkfifo(folder / "other.wav")  # opening it would wait for ever
    (folder / "vocals.wav").unlink()
    (folder / "vocals.wav").mkdir()
    assert reason(predictions, track) == (
        "bass: bass.wav is a link; drums: drums.wav has another name elsewhere (hard link); "
        "other: other.wav is not a regular file; vocals: vocals.wav is not a regular file"
    )


def test_a_folder_that_is_a_link(predictions: Path, track: Track) -> None:
    (predictions / "a").rename(predictions / "b")
    (predictions / "a").symlink_to(predictions / "b")
    assert reason(predictions, track) == "folder a is a link"


def test_no_folder(predictions: Path, track: Track) -> None:
    shutil.rmtree(predictions / "a")
    assert reason(predictions, track) == "no folder a was written"


def test_missing_unreadable_and_extra(predictions: Path, track: Track) -> None:
    folder = predictions / "a"
    (folder / "bass.wav").unlink()
    (folder / "drums.wav").write_text("no audio")
    soundfile.write(folder / "guitar.wav", audio.noise(1000), 44100)
    problems = reason(predictions, track).split("; ")
    assert problems[0] == "bass: stem missing, no file bass.wav"
    assert problems[1].startswith("drums: unreadable")
    assert problems[2] == "extra stem: guitar.wav"


def test_rate_channels_and_length(predictions: Path, track: Track) -> None:
    folder = predictions / "a"
    soundfile.write(folder / "bass.wav", audio.noise(1000), 22050)
    soundfile.write(folder / "drums.wav", audio.noise(1000, channels=1), 44100)
    soundfile.write(folder / "other.wav", audio.noise(1001), 44100)
    assert reason(predictions, track) == (
        "bass: sample rate 22050, expected 44100; drums: channels 1, expected 2; "
        "other: length in samples 1001, expected 1000"
    )
