"""What a submission is given to read: the mixture, bit for bit, under the names its wrapper expects."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from evaluator.challenge import CINEMATIC, MUSIC, of_stems
from evaluator.running import dataset
from evaluator.running.staging import stage_mixture
from tests.evaluator import audio


@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [
        (".wav", "PCM_16"),
        (".wav", "PCM_24"),
        (".wav", "PCM_32"),
        (".wav", "FLOAT"),
        (".wav", "DOUBLE"),
        (".wav", "PCM_U8"),
        (".flac", "PCM_16"),
        (".flac", "PCM_24"),
        (".flac", "PCM_S8"),
    ],
)
def test_a_staged_mixture_has_exactly_the_same_samples(tmp_path: Path, suffix: str, subtype: str) -> None:
    audio.write_music(tmp_path / "data", {"a": 70_000})
    (tmp_path / "data" / "a" / "mixture.wav").unlink()
    source = tmp_path / "data" / "a" / f"mixture{suffix}"
    samples = np.random.default_rng(3).standard_normal((70_000, 2)) * 0.2
    soundfile.write(source, samples, 44100, subtype=subtype)
    (track,) = dataset.load(tmp_path / "data").tracks
    folder = stage_mixture(track, MUSIC, tmp_path / "staged")
    assert os.listdir(folder) == ["mixture.wav"]
    np.testing.assert_array_equal(soundfile.read(folder / "mixture.wav")[0], soundfile.read(source)[0])


def test_dnr_is_staged_with_its_one_channel_in_both_files(tmp_path: Path) -> None:
    (track,) = dataset.load(audio.write_dnr(tmp_path / "data")).tracks
    folder = stage_mixture(track, CINEMATIC, tmp_path / "staged")
    assert sorted(os.listdir(folder)) == ["0001_mixture_Lt.wav", "0001_mixture_Rt.wav"]
    for path in folder.iterdir():
        np.testing.assert_array_equal(soundfile.read(path)[0], soundfile.read(track.mixtures[0])[0])


def test_a_stereo_cinematic_mixture_is_staged_in_two_files(tmp_path: Path) -> None:
    audio.write_dnr(tmp_path / "data")
    mixture = audio.noise(20000)
    for name in ("mix", "speech", "music", "sfx"):
        soundfile.write(tmp_path / "data" / "0001" / f"{name}.wav", mixture, 44100)
    (track,) = dataset.load(tmp_path / "data").tracks
    folder = stage_mixture(track, CINEMATIC, tmp_path / "staged")
    np.testing.assert_array_equal(soundfile.read(folder / "0001_mixture_Lt.wav")[0], mixture[:, 0])
    np.testing.assert_array_equal(soundfile.read(folder / "0001_mixture_Rt.wav")[0], mixture[:, 1])


@pytest.mark.parametrize(
    "subtypes", [("PCM_16", "PCM_16"), ("PCM_16", "PCM_24"), ("FLOAT", "FLOAT"), ("PCM_U8", "FLOAT")]
)
def test_left_and_right_are_staged_in_one_file_for_stems_of_no_challenge(
    tmp_path: Path, subtypes: tuple[str, str]
) -> None:
    folder = audio.write_cinematic(tmp_path / "data", ("one",), 70_000) / "one"
    sides = [folder / f"one_mixture_{side}.wav" for side in ("Lt", "Rt")]
    for seed, (path, subtype) in enumerate(zip(sides, subtypes, strict=True)):
        soundfile.write(path, audio.noise(70_000, 1, seed), 44100, subtype=subtype)
    wanted = of_stems(["dialog"])
    (track,) = dataset.load(tmp_path / "data", wanted=wanted).tracks
    staged = stage_mixture(track, wanted, tmp_path / "staged") / "mixture.wav"
    assert soundfile.info(staged).subtype == (subtypes[0] if len({*subtypes}) == 1 else "DOUBLE")
    expected = np.stack([soundfile.read(path)[0] for path in sides], axis=1)
    np.testing.assert_array_equal(soundfile.read(staged)[0], expected)
