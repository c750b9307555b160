"""Levels, fades and rounding: laws that hold for any audio."""

import numpy as np
import pytest

from evaluator.datasets import mixing
from evaluator.datasets.mixing import RATE_HZ

pytestmark = pytest.mark.quick


def noise(seconds: float, level_db: float = -20.0, seed: int = 0) -> mixing.Audio:
    samples = np.random.default_rng(seed).standard_normal((2, round(seconds * RATE_HZ)))
    return (samples * mixing.gain(level_db)).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.2, 0.45, 3.0])
def test_a_gain_in_db_changes_loudness_by_as_many_lu(seconds: float) -> None:
    audio = noise(seconds)
    louder = audio * np.float32(mixing.gain(7.0))
    assert mixing.loudness(louder) - mixing.loudness(audio) == pytest.approx(7.0, abs=0.01)


def test_silence_has_no_loudness() -> None:
    assert mixing.loudness(np.zeros((2, RATE_HZ), np.float32)) == -np.inf


def test_block_levels_are_those_of_the_blocks() -> None:
    audio = np.concatenate([noise(0.1, -20), noise(0.1, -50), noise(0.03, -30)], axis=1)
    assert mixing.block_levels(audio) == pytest.approx([-20, -50, -30], abs=0.3)


@pytest.mark.parametrize("audio", [np.zeros((2, 0)), np.zeros((2, 99)), noise(2.0, -70.0)])
def test_what_is_silent(audio: mixing.Audio) -> None:
    assert mixing.is_silent(audio)


def test_a_tenth_of_a_second_of_sound_is_not_silence() -> None:
    audio = np.zeros((2, 10 * RATE_HZ), np.float32)
    audio[:, 4 * RATE_HZ : 4 * RATE_HZ + 8000] = noise(8000 / RATE_HZ, -50)
    assert not mixing.is_silent(audio)


@pytest.mark.parametrize("samples", [0, 1, 2, 5, 30000])
def test_fades_keep_the_length_and_the_middle_and_leave_the_argument_alone(samples: int) -> None:
    audio = np.ones((2, samples), np.float32)
    out = mixing.faded(audio, 0.1)
    assert out.shape == audio.shape
    assert (audio == 1).all()
    assert (out[:, 4410:-4410] == 1).all()
    if samples > 1:
        assert (out[:, 0] == 0).all()
        assert (out[:, -1] == 0).all()


@pytest.mark.parametrize("bits", [16, 14, 8])
def test_rounded_stems_are_near_and_their_lowest_bits_zero(bits: int) -> None:
    stems = np.stack([noise(0.1, seed=seed) for seed in range(3)]) * 0.2
    whole = mixing.quantised(stems, bits)
    step = 2 ** (16 - bits)
    assert (whole % step == 0).all()
    assert np.abs(whole - stems * 32768.0).max() <= step / 2 + 0.01


def test_stems_whose_sum_clips_are_refused_though_each_fits() -> None:
    stems = np.full((2, 2, 4), 0.6, np.float32)
    with pytest.raises(ValueError, match="would clip"):
        mixing.quantised(stems)


def test_stems_that_clip_are_refused_though_their_sum_fits() -> None:
    stems = np.stack([np.full((2, 4), 1.2), np.full((2, 4), -1.2)]).astype(np.float32)
    with pytest.raises(ValueError, match="would clip"):
        mixing.quantised(stems)
