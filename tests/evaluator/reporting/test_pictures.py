"""Pictures and measures of signals with a known answer."""

import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluator.measures.sdr import sdr
from evaluator.reporting import charts, pictures

RATE_HZ = 44100


def sine(hertz: float, seconds: float = 1.0, level: float = 1.0) -> NDArray[np.float32]:
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    wave = level * np.sin(2 * np.pi * hertz * time)
    return np.stack([wave, wave], axis=1).astype(np.float32)


def row_of(hertz: float) -> int:
    """The row, counted from the top, in which a frequency lies."""
    share = np.log(hertz / pictures.LOWEST_HZ) / np.log(pictures.HIGHEST_HZ / pictures.LOWEST_HZ)
    return pictures.ROWS - 1 - int(share * pictures.ROWS)


@pytest.mark.parametrize("hertz", [60.0, 440.0, 1000.0, 5000.0, 15000.0])
@pytest.mark.parametrize("seconds", [0.3, 12.0])
def test_a_sine_is_a_line_in_its_row(hertz: float, seconds: float) -> None:
    power = pictures.spectrogram(sine(hertz, seconds), RATE_HZ)
    middle = power[:, power.shape[1] // 2]
    assert abs(int(middle.argmax()) - row_of(hertz)) <= 1
    far = np.abs(np.arange(pictures.ROWS) - row_of(hertz)) > 24
    assert middle[far].max() < 1e-4 * middle.max()


def test_a_click_is_a_column_at_its_time() -> None:
    signal = np.zeros((10 * RATE_HZ, 2), np.float32)
    signal[int(7.5 * RATE_HZ)] = 1
    power = pictures.spectrogram(signal, RATE_HZ).sum(axis=0)
    assert power.argmax() / len(power) == pytest.approx(0.75, abs=0.01)


def test_power_is_the_mean_over_channels_and_scales_with_the_square() -> None:
    both, left = sine(440.0), sine(440.0)
    left[:, 1] = 0
    power = pictures.spectrogram(both, RATE_HZ)
    assert pictures.spectrogram(left, RATE_HZ) == pytest.approx(power / 2, rel=1e-4, abs=1e-12)
    assert pictures.spectrogram(both / np.float32(10), RATE_HZ) == pytest.approx(
        power / 100, rel=1e-3, abs=1e-12
    )


@pytest.mark.parametrize("frames", [1, 2, 100, 5000])
@pytest.mark.parametrize("channels", [1, 2])
def test_short_signals_have_pictures(frames: int, channels: int) -> None:
    signal = np.full((frames, channels), 0.5, np.float32)
    power = pictures.spectrogram(signal, RATE_HZ)
    assert power.shape[0] == pictures.ROWS
    assert np.isfinite(power).all()
    assert (pictures.peaks(signal, 0.5) == 127).all()


def test_silence_is_the_darkest_shade() -> None:
    power = pictures.spectrogram(np.zeros((RATE_HZ, 2), np.float32), RATE_HZ)
    assert (pictures.shades(power, 1.0) == 0).all()


def test_shades_are_even_in_decibels() -> None:
    levels = np.linspace(0, -pictures.RANGE_DB, pictures.SHADES)
    assert pictures.shades(10 ** (levels / 10), 1.0).tolist() == list(range(pictures.SHADES - 1, -1, -1))
    assert pictures.shades(np.array([2.0, 1e-30]), 1.0).tolist() == [pictures.SHADES - 1, 0]


def test_the_png_file_holds_the_pixels() -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    content = pictures.png(pixels, pictures.palette())
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, position = {}, 8
    while position < len(content):
        (length,) = struct.unpack_from(">I", content, position)
        kind, body = content[position + 4 : position + 8], content[position + 8 : position + 8 + length]
        assert struct.unpack_from(">I", content, position + 8 + length) == (zlib.crc32(kind + body),)
        chunks[kind] = body
        position += 12 + length
    assert struct.unpack(">IIBBBBB", chunks[b"IHDR"]) == (4, 3, 8, 3, 0, 0, 0)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(3, 5)
    assert (rows[:, 0] == 0).all()
    assert (rows[:, 1:] == pixels).all()
    assert len(chunks[b"PLTE"]) == 3 * pictures.SHADES


def test_peaks_are_the_extremes_of_their_stretch() -> None:
    signal = np.zeros((pictures.PEAKS * 10, 2), np.float32)
    signal[25, 0], signal[27, 1] = 1.0, -0.5
    found = pictures.peaks(signal, 1.0)
    assert found.shape == (pictures.PEAKS, 2)
    assert found[2].tolist() == [-64, 127]
    assert not found[np.arange(pictures.PEAKS) != 2].any()


def test_sdr_over_time_is_the_sdr_of_each_second() -> None:
    generator = np.random.default_rng(0)
    reference = generator.standard_normal((int(2.7 * RATE_HZ), 2)).astype(np.float32)
    estimate = reference + 0.1 * generator.standard_normal(reference.shape).astype(np.float32)
    reference[RATE_HZ : 2 * RATE_HZ] *= 1e-5
    first, second, last = pictures.sdr_over_time(reference, estimate, RATE_HZ)
    assert first == sdr(reference[:RATE_HZ], estimate[:RATE_HZ])
    assert second is None
    assert last == sdr(reference[2 * RATE_HZ :], estimate[2 * RATE_HZ :])
    assert (
        len(pictures.sdr_over_time(reference[: int(1.4 * RATE_HZ)], estimate[: int(1.4 * RATE_HZ)], RATE_HZ))
        == 1
    )


@pytest.mark.parametrize(
    "values", [[0.0], [5.0, 5.0], [-3.2, 8.9], [0.01, 0.02], [-70.0, 40.0], [-400.0, 900.0]]
)
def test_an_axis_holds_its_values_between_few_round_ticks(values: list[float]) -> None:
    axis = charts.axis(values)
    assert all(0 <= axis.percent(value) <= 100 for value in values)
    assert (axis.percent(axis.low), axis.percent(axis.high)) == (0, 100)
    assert 2 <= len(axis.ticks) <= charts.MOST_TICKS


def test_a_strip_keeps_neighbours_apart() -> None:
    strip = charts.strip("bass", [(i, f"track {i}", 1.0) for i in range(5)])
    assert len({dot.lane for dot in strip.dots}) == 5
    assert (strip.median, strip.mean) == (1.0, 1.0)
