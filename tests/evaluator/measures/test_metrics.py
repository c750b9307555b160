"""The measures against closed forms and against an independent computation in float64."""

from math import log10

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluator.measures.sdr import energies, sdr, sdr_from, si_sdr
from tests.evaluator.audio import noise

pytestmark = pytest.mark.quick


def sdr_in_float64(reference: NDArray[np.float64], estimate: NDArray[np.float64]) -> float:
    """The formula of the organisers, written down once more: float32 signals, everything else in float64."""
    s = np.float32(reference).astype(np.longdouble)
    s_hat = np.float32(estimate).astype(np.longdouble)
    return float(10 * np.log10((np.sum(s * s) + 1e-7) / (np.sum((s - s_hat) ** 2) + 1e-7)))


@pytest.mark.parametrize("gain", [0.0, 0.5, 0.99, 2.0, -1.0])
def test_sdr_of_a_scaled_reference(gain: float) -> None:
    s = noise(50000, level=0.1).astype(np.float32)
    assert sdr(s, np.float32(gain) * s) == pytest.approx(-20 * log10(abs(1 - gain)), abs=1e-4)


def test_sdr_of_the_reference_itself_is_its_energy_over_delta() -> None:
    s = noise(1000)
    assert sdr(s, s) == pytest.approx(10 * log10((np.sum(s**2) + 1e-7) / 1e-7), abs=1e-4)


def test_sdr_of_silence() -> None:
    silence, ones = np.zeros((100, 2)), np.ones((100, 2))
    assert sdr(silence, silence) == 0
    assert sdr(silence, ones) == pytest.approx(10 * log10(1e-7 / (200 + 1e-7)))


@pytest.mark.parametrize("frames", [1, 511, 512, 513, 44100, 400_000])
@pytest.mark.parametrize("error", [1e-5, 1e-2, 1.0, 100.0])
def test_sdr_agrees_with_float64(frames: int, error: float) -> None:
    s = np.random.default_rng(1).standard_normal((frames, 2))
    s_hat = s + error * np.random.default_rng(2).standard_normal((frames, 2))
    assert sdr(s, s_hat) == pytest.approx(sdr_in_float64(s, s_hat), abs=1e-4)


def test_both_signals_are_cast_to_float32_first() -> None:
    s = np.full((1000, 2), 0.1)
    assert sdr(s, s + 1e-12) == sdr(s, s)


def test_energies_add_up_over_blocks() -> None:
    s, s_hat = noise(3000, seed=1), noise(3000, seed=2)
    parts = energies(s[:1234], s_hat[:1234]) + energies(s[1234:], s_hat[1234:])
    assert sdr_from(parts) == pytest.approx(sdr(s, s_hat), abs=1e-6)


def test_a_long_quiet_passage_counts_beside_a_loud_one() -> None:
    """Each of its samples is less than float32 can add to the energy of the loud one."""
    s = np.concatenate([np.ones((1 << 9, 2), np.float32), np.full((1 << 21, 2), 2.0**-13, np.float32)])
    exact = float(np.sum(s.astype(np.float64) ** 2))
    assert exact - (1 << 10) == 0.0625
    assert energies(s, np.zeros_like(s)).reference == pytest.approx(exact, rel=1e-7)


@pytest.mark.parametrize("gain", [0.1, 1.0, 0.9, -3.0])
def test_si_sdr_does_not_see_the_scale(gain: float) -> None:
    s, n = noise(50000, seed=1), noise(50000, seed=2, level=0.001)
    scaled = si_sdr(s, gain * (s + n))
    assert scaled == pytest.approx(si_sdr(s, s + n), abs=1e-3)


def test_si_sdr_of_orthogonal_noise_is_its_level() -> None:
    t = np.arange(44100)[:, None] / 44100
    s, n = np.sin(2 * np.pi * 100 * t), 0.01 * np.sin(2 * np.pi * 200 * t)
    assert si_sdr(s, 0.3 * (s + n)) == pytest.approx(40, abs=1e-3)


def test_si_sdr_of_silence_is_finite() -> None:
    silence, ones = np.zeros((100, 2)), np.ones((100, 2))
    assert si_sdr(silence, silence) == 0
    assert si_sdr(silence, ones) < -60
    assert si_sdr(ones, silence) == pytest.approx(0)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"reference \(10, 2\) and estimate \(10, 1\)"):
        sdr(np.zeros((10, 2)), np.zeros((10, 1)))
