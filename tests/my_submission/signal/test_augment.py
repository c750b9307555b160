"""Every augmentation's inverse undoes it."""

import itertools

import numpy as np
import pytest
import torch

from my_submission.signal import augment
from my_submission.signal.augment import (
    Augmentation,
    Normalise,
    Polarity,
    draw_delays,
    loudness_gain,
    mean_and_deviation,
)
from my_submission.signal.chunking import reader

pytestmark = pytest.mark.quick


@pytest.mark.parametrize("gain", [1.0, -1.0, 0.125, -7.0])
@pytest.mark.parametrize("delay", [0, 1, 5, 64])
def test_inverse_undoes_forward(gain: float, delay: int) -> None:
    track = torch.randn(2, 33, generator=torch.Generator().manual_seed(1))
    for offset, piece_samples in itertools.product((0.0, 0.5), (1, 7, 100)):
        augmentation = Augmentation(gain, delay, offset)
        read = augmentation.forward(reader(track), track.shape[-1])
        restored = torch.full_like(track, torch.nan)
        for start in range(0, track.shape[-1] + delay, piece_samples):
            length = min(piece_samples, track.shape[-1] + delay - start)
            there, piece = augmentation.inverse(start, read(start, length))
            restored[:, there : there + piece.shape[-1]] = piece
        torch.testing.assert_close(restored, track)


def test_forward_delays_and_inverts() -> None:
    read = Augmentation(-1.0, 2).forward(reader(torch.tensor([[1.0, 2.0]])), 2)
    assert read(0, 5).tolist() == [[0, 0, -1, -2, 0]]


def test_an_offset_is_that_of_the_track_and_not_of_the_silence_around_it() -> None:
    track = torch.tensor([[1.0, 2.0]])
    read = Augmentation(2.0, 1, offset=1.5).forward(reader(track), 2)
    assert read(-1, 5).tolist() == [[0, 0, -1, 1, 0]]
    assert read(2, 2).tolist() == [[1, 0]]
    assert [read(start, 2).tolist() for start in (-3, 4)] == 2 * [[[0, 0]]]
    assert track.tolist() == [[1, 2]]


@pytest.mark.parametrize("of", Normalise)
def test_mean_and_deviation_are_those_of_the_whole_track_in_blocks_of_any_size(
    of: Normalise, monkeypatch: pytest.MonkeyPatch
) -> None:
    track = 0.01 * torch.randn(2, 1_000, generator=torch.Generator().manual_seed(1)) + 0.5
    track[1] *= -0.2
    values = track.double().mean(dim=0) if of is Normalise.MONO else track.double()
    for block in (1, 7, 999, 1_000, 5_000):
        monkeypatch.setattr(augment, "_BLOCK_SAMPLES", block)
        assert mean_and_deviation(reader(track), 1_000, of) == pytest.approx(
            (float(values.mean()), float(values.std())), rel=1e-9
        )


@pytest.mark.parametrize("of", Normalise)
@pytest.mark.parametrize("track", [torch.zeros(2, 500), torch.full((2, 500), 0.5), torch.ones(2, 1)])
def test_what_has_no_deviation_is_left_as_it_is(of: Normalise, track: torch.Tensor) -> None:
    assert mean_and_deviation(reader(track), track.shape[-1], of) == (0.0, 1.0)


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
