"""What a page shows of a signal: log-frequency spectrograms as small PNG files, peaks, SDR over time.

Signals are (samples, channels) float32.
"""

import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from evaluator.measures.sdr import energies, sdr_from

Signal = NDArray[np.float32]

COLUMNS = 480  # of a spectrogram, at most
ROWS = 96
WINDOW_SECONDS = 0.09
LOWEST_HZ, HIGHEST_HZ = 40.0, 20_000.0
RANGE_DB = 70.0
SHADES = 64
PEAKS = 320  # pairs of lowest and highest sample
FRAMES_PER_COLUMN = 3  # at most
FRAMES_AT_ONCE = 128
SILENT_RMS = 1e-3  # −60 dB of full scale; SDR over time means nothing where the reference is quieter
SHORTEST_WINDOW = 0.5  # of a window: a shorter one at the end is left out

# Anchors of a colour map from dark to light whose lightness rises evenly, as that of matplotlib's "magma".
ANCHORS = (
    (0, 0, 4),
    (33, 12, 74),
    (87, 16, 110),
    (139, 38, 108),
    (188, 55, 84),
    (228, 90, 49),
    (249, 143, 14),
    (246, 202, 70),
    (252, 255, 200),
)


def spectrogram(signal: Signal, rate_hz: int) -> NDArray[np.float64]:
    """Mean power over channels of (samples, channels), as (ROWS, columns): rows from high to low frequency.

    Frequencies are spaced evenly on a logarithmic axis from 40 Hz to 20 kHz (or half the rate). A row is the mean
    power density over its band, a column one to three windowed frames in one of at most COLUMNS equal stretches of
    time. One frequency bin of a full-scale sine has power 1.
    """
    from scipy.fft import rfft  # more than three times as quick as numpy's on many frames

    size = 1 << round(np.log2(WINDOW_SECONDS * rate_hz))
    hop = max(len(signal) / COLUMNS / FRAMES_PER_COLUMN, size / 8)
    if hop * FRAMES_PER_COLUMN < 2 * size:  # short enough for one a column to see nearly everything
        hop = max(len(signal) / COLUMNS, size / 8)
    number = max(1, round(len(signal) / hop))
    padded = np.pad(signal.T, ((0, 0), (size // 2, size // 2)))
    bands = _bands(size, rate_hz)
    window = np.hanning(size).astype(np.float32)
    power = np.empty((number, ROWS))
    for first in range(0, number, FRAMES_AT_ONCE):
        middles = (np.arange(first, min(number, first + FRAMES_AT_ONCE)) + 0.5) * hop
        starts = np.minimum(middles.astype(np.int64), len(signal))
        frames = np.lib.stride_tricks.sliding_window_view(padded, size, axis=1)[:, starts]
        spectra = rfft(frames * window)
        mean = (spectra.real**2 + spectra.imag**2).mean(axis=0) / (window.sum() / 2) ** 2
        power[first : first + len(starts)] = mean @ bands.T
    columns = min(COLUMNS, number)
    edges = np.arange(columns) * number // columns
    counts = np.diff([*edges, number])
    return np.flipud((np.add.reduceat(power, edges, axis=0) / counts[:, None]).T)


@lru_cache(maxsize=8)
def _bands(size: int, rate_hz: int) -> NDArray[np.float32]:
    """(ROWS, bins) weights: the mean over each band of a spectrum that is constant within a bin."""
    highest = min(HIGHEST_HZ, rate_hz / 2)
    edges = np.geomspace(min(LOWEST_HZ, highest / 2), highest, ROWS + 1) * size / rate_hz + 0.5
    bins = size // 2 + 1
    covered = np.clip(edges[:, None] - np.arange(bins), 0, 1)  # share of a bin that lies below an edge
    weights = np.diff(covered, axis=0) / np.diff(edges)[:, None]
    return weights.astype(np.float32)


def shades(power: NDArray[np.float64], top: float) -> NDArray[np.uint8]:
    """Power as shades from 0 (RANGE_DB below `top`, or less) to SHADES − 1 (`top` or more)."""
    with np.errstate(divide="ignore"):
        decibels = 10 * np.log10(power / top)
    return np.round(np.clip(decibels / RANGE_DB + 1, 0, 1) * (SHADES - 1)).astype(np.uint8)


def palette() -> NDArray[np.uint8]:
    """(SHADES, 3) red, green, blue."""
    anchors = np.array(ANCHORS, np.float64)
    positions = np.linspace(0, len(anchors) - 1, SHADES)
    channels = [np.interp(positions, np.arange(len(anchors)), anchors[:, i]) for i in range(3)]
    return np.round(np.stack(channels, axis=1)).astype(np.uint8)


def png(indices: NDArray[np.uint8], colours: NDArray[np.uint8]) -> bytes:
    """An image of (height, width) indices into (number, 3) colours as a PNG file (ISO/IEC 15948, colour type 3)."""
    height, width = indices.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    rows = np.pad(indices, ((0, 0), (1, 0)))  # each row begins with its filter, 0 for none
    chunks = (
        (b"IHDR", header),
        (b"PLTE", colours.tobytes()),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def peaks(signal: Signal, top: float) -> NDArray[np.int8]:
    """(stretches, 2) lowest and highest sample over channels in at most PEAKS stretches; ±127 is ±`top`."""
    columns = min(PEAKS, len(signal))
    edges = np.arange(columns) * len(signal) // columns
    low = np.minimum.reduceat(signal, edges, axis=0).min(axis=1)
    high = np.maximum.reduceat(signal, edges, axis=0).max(axis=1)
    return np.round(np.clip(np.stack([low, high], axis=1) / top, -1, 1) * 127).astype(np.int8)


def sdr_over_time(reference: Signal, estimate: Signal, rate_hz: int) -> list[float | None]:
    """Global SDR in dB within each second; None if the reference is as good as silent.

    A last stretch of less than half a second is left out.
    """
    return [
        _window_sdr(reference[start : start + rate_hz], estimate[start : start + rate_hz])
        for start in range(0, len(reference), rate_hz)
        if len(reference) - start >= SHORTEST_WINDOW * rate_hz
    ]


@dataclass(frozen=True)
class Place:
    """A stretch of a stem that is worth hearing. start: in whole seconds; sdr: in dB, None where nothing sounds."""

    kind: str  # worst, or median
    start: int
    sdr: float | None


def worst_and_median(reference: Signal, estimate: Signal, rate_hz: int, seconds: float) -> list[Place]:
    """The stretches of so many seconds with the lowest SDR and with the median one, of those that begin at a second.

    Stretches in which the reference is as good as silent do not count. One place is both where there is no other.
    """
    length = round(seconds * rate_hz)
    starts = range(max(len(reference) - length, 0) // rate_hz + 1)
    scored = [
        (sdr, start)
        for start in starts
        if (sdr := _window_sdr(*(each[start * rate_hz :][:length] for each in (reference, estimate))))
        is not None
    ]
    if not scored:
        return [Place("median", 0, None)]
    scored.sort()
    (worst, first), (median, second) = scored[0], scored[len(scored) // 2]
    found = [Place("worst", first, worst), Place("median", second, median)]
    return found if second != first else found[:1]


def _window_sdr(reference: Signal, estimate: Signal) -> float | None:
    sums = energies(reference, estimate)
    if sums.reference < SILENT_RMS**2 * reference.size:
        return None
    value = sdr_from(sums)
    return value if isfinite(value) else None
