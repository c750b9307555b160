"""What enters and leaves: dtypes, shapes, rates."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
import torch

from my_submission.signal.audio import (
    check_sample_rate,
    round_to_16_bits,
    signal_from_array,
    to_channels,
    to_stereo,
)
from my_submission.signal.resampling import StreamResampler, resample
from tests.thinned import one_in

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("samples", "dtype", "expected"),
    [
        ([-32768, 0, 16384], "int16", [-1, 0, 0.5]),
        ([-(2**31), 0, 2**30], "int32", [-1, 0, 0.5]),
        ([-128, 0, 64], "int8", [-1, 0, 0.5]),
        ([0, 128, 192], "uint8", [-1, 0, 0.5]),
        ([-1, 0, 0.5], "float16", [-1, 0, 0.5]),
        ([-1, 0, 1.5], "float32", [-1, 0, 1.5]),
        ([-1, 0, 1.5], "float64", [-1, 0, 1.5]),
    ],
)
def test_pcm_and_float_samples(samples: list[float], dtype: str, expected: list[float]) -> None:
    array = np.array(samples, dtype)
    assert signal_from_array(array).tolist() == [expected]
    assert signal_from_array(np.stack([array, array], axis=1)).tolist() == [expected, expected]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(0), "found an empty array"),
        (np.zeros((0, 2)), "found an empty array"),
        (np.zeros((10, 3)), r"found 3 channels, shape \(10, 3\)$"),
        (np.zeros((2, 44100)), "looks transposed: pass array.T"),
        (np.zeros((1, 10, 2)), "found 3 axes"),
        (np.zeros(10, complex), "found dtype complex128"),
        (np.zeros(10, np.int64), "found dtype int64"),
        (np.array([[0, 0], [0, np.nan]]), "found nan at sample 1 of channel 1"),
        (np.array([0, -np.inf]), "found -inf at sample 1 of channel 0"),
        (np.array([0, 1e300]), "found inf at sample 1"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_unusable_input_says_what_was_found(array: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        signal_from_array(array)


@pytest.mark.parametrize(
    "rate", [7_999, 192_001, 0, 44_100.5, math.nan, math.inf, np.float32("nan"), None, "44100", [44_100]]
)
def test_unusable_rates(rate: object) -> None:
    with pytest.raises(ValueError, match="sample_rate: expected a whole number from 8000 to 192000"):
        check_sample_rate(rate)


def test_channels() -> None:
    mono = torch.tensor([[1.0, 2.0]])
    assert to_stereo(mono).tolist() == [[1, 2], [1, 2]]
    assert to_channels(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), 1).tolist() == [[2, 3]]


@pytest.mark.parametrize("rate", [8_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("samples", [1, 2, 999, 100_003])
def test_resampling_there_and_back_keeps_length_and_place(rate: int, samples: int) -> None:
    time = torch.arange(samples) / rate
    tone = torch.stack([torch.sin(2 * torch.pi * 440 * time), torch.cos(2 * torch.pi * 1000 * time)])
    back = resample(resample(tone, rate, 44_100), 44_100, rate, samples)
    assert back.shape == tone.shape
    inner = slice(
        samples // 10, samples - samples // 10
    )  # the ends ring: the signal begins and ends abruptly
    if samples > 50_000:
        assert (back - tone)[:, inner].abs().max() < 1e-3


@pytest.mark.thorough
def test_resampling_does_not_drift() -> None:
    """An impulse near the end of ten minutes stays where it is."""
    impulse = torch.zeros(1, 48_000 * 600)
    impulse[0, 48_000 * 599] = 1.0
    resampled = resample(impulse, 48_000, 44_100)
    assert resampled.shape[-1] == 44_100 * 600
    assert int(resampled.argmax()) == 44_100 * 599


RATES = [8_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000]


@pytest.mark.parametrize("rate", one_in(2, RATES))
@pytest.mark.parametrize("block_samples", [1, 441, 10_007, 65_536])
def test_a_signal_in_blocks_is_resampled_bit_for_bit_like_the_whole(rate: int, block_samples: int) -> None:
    """Against soxr in one call on the padded signal, in both directions, at lengths asked for and by default."""
    samples = 300 if block_samples == 1 else 12_001
    signal = torch.randn(2, samples, generator=torch.Generator().manual_seed(rate))
    for from_rate, to_rate in ((rate, 44_100), (44_100, rate)):
        default = -(-samples * to_rate // from_rate)
        for wanted in (None, default + 3, default - 5):
            stream = StreamResampler(2, from_rate, to_rate, samples, wanted)
            pieces = [stream.push(block) for block in torch.split(signal, block_samples, dim=1)]
            found = torch.cat(pieces, dim=1)
            length = wanted or default
            silence = max(0, -(-length * from_rate // to_rate) - samples) + 2
            padded = torch.nn.functional.pad(signal, (0, silence)).T.numpy()
            expected = soxr.resample(padded, from_rate, to_rate, quality="VHQ")[:length].T
            assert found.shape == (2, length)
            assert np.array_equal(found.numpy(), expected)
            assert torch.equal(found, resample(signal, from_rate, to_rate, wanted))


def test_rounding_to_16_bits_leaves_what_a_file_holds(tmp_path: Path) -> None:
    """libsndfile rounds down: by itself it makes −1 of −0.2 steps, and 0 of 0.8. Nothing is rescaled or clipped."""
    steps = np.array([-0.2, 0.2, -0.8, 0.8, 0.0, 100.4, -100.6, 32_766.6, -32_767.4, -32_768], np.float32)
    rounded = [0, 0, -1, 1, 0, 100, -101, 32_767, -32_767, -32_768]
    for samples, held in (
        (round_to_16_bits(np.float32(1 / 32_768) * steps), rounded),
        (steps / 32_768, np.floor(steps).tolist()),
    ):
        soundfile.write(tmp_path / "x.wav", samples, 44_100)
        assert soundfile.read(tmp_path / "x.wav", dtype="int16")[0].tolist() == held
    assert round_to_16_bits(np.array([1.5, -3.00001], np.float32)).tolist() == [1.5, -3.0]
    whole = np.arange(-(2**15), 2**15, dtype=np.int16)
    soundfile.write(
        tmp_path / "x.wav", round_to_16_bits(np.float32(2**-15) * whole.astype(np.float32)), 44_100
    )
    assert np.array_equal(soundfile.read(tmp_path / "x.wav", dtype="int16")[0], whole)
