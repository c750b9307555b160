"""Every augmentation's inverse undoes it."""

import numpy as np
import pytest
import torch

from my_submission.signal.augment import Augmentation, Polarity, draw_delays, loudness_gain
from my_submission.signal.chunking import reader

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("gain", [1.0, -1.0, 0.125, -7.0])
@pytest.mark.parametrize("delay", [0, 1, 5, 64])
@pytest.mark.parametrize("piece_samples", [1, 7, 100])
def test_inverse_undoes_forward(gain: float, delay: int, piece_samples: int) -> None:
    track = torch.randn(2, 33, generator=torch.Generator().manual_seed(1))
    augmentation = Augmentation(gain, delay)
    read = augmentation.forward(reader(track))
    restored = torch.full_like(track, torch.nan)
    for start in range(0, track.shape[-1] + delay, piece_samples):
        length = min(piece_samples, track.shape[-1] + delay - start)
        there, piece = augmentation.inverse(start, read(start, length))
        restored[:, there : there + piece.shape[-1]] = piece
    torch.testing.assert_close(restored, track)


def test_forward_delays_and_inverts() -> None:
    read = Augmentation(-1.0, 2).forward(reader(torch.tensor([[1.0, 2.0]])))
    assert read(0, 5).tolist() == [[0, 0, -1, -2, 0]]


def test_polarity_gains() -> None:
    assert Polarity.PLAIN.gains == (1,)
    assert Polarity.INVERTED.gains == (-1,)
    assert Polarity.BOTH.gains == (1, -1)


def test_delays_are_within_range_and_reproducible() -> None:
    assert draw_delays(0, 100, np.random.default_rng(0)) == (0,)
    delays = draw_delays(500, 3, np.random.default_rng(0))
    assert set(delays) == {0, 1, 2, 3}
    assert delays == draw_delays(500, 3, np.random.default_rng(0))


@pytest.mark.parametrize(("amplitude", "expected_lufs"), [(1.0, -3.01), (0.1, -23.01)])
def test_loudness_gain_of_a_997_hz_sine(amplitude: float, expected_lufs: float) -> None:
    """BS.1770: a full-scale 997 Hz sine in one channel reads −3.01 LKFS."""
    time = torch.arange(5 * 48_000, dtype=torch.float64) / 48_000
    sine = amplitude * torch.sin(2 * torch.pi * 997 * time)
    signal = torch.stack([sine, torch.zeros_like(sine)])
    gain = loudness_gain(signal, 48_000, -27.0)
    assert -27.0 - 20 * np.log10(gain) == pytest.approx(
        expected_lufs, abs=0.1
    )  # EBU Tech 3341 allows ±0.1 LU


def test_loudness_of_silence_and_of_short_signals_changes_nothing() -> None:
    assert loudness_gain(torch.zeros(2, 44_100), 44_100, -27.0) == 1.0
    assert loudness_gain(torch.ones(2, 100), 44_100, -27.0) == 1.0
