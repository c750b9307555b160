"""Signal processing shared by the renderers: arrays are (channels, samples) float32 at 44.1 kHz."""

import math

import numpy as np
import numpy.typing as npt
from scipy import signal

from evaluator.datasets.mixing import RATE_HZ, gain

RATE = RATE_HZ

Audio = npt.NDArray[np.float32]
Stems = npt.NDArray[np.float32]  # (stems, channels, samples)
Floats = npt.NDArray[np.float64]
Pcm = npt.NDArray[np.int16]


def level(audio: npt.ArrayLike) -> float:
    """RMS level in dBFS over all samples and channels; −200 for silence."""
    power = float(np.mean(np.square(np.asarray(audio, dtype=np.float64))))
    return 10.0 * math.log10(power + 1e-20)


def active_level(audio: Audio) -> float:
    """RMS level in dBFS over the 100 ms blocks within 30 dB of the loudest one."""
    block = RATE // 10
    mono_power = np.asarray(np.mean(np.square(audio), axis=0, dtype=np.float64))
    count = max(1, len(mono_power) // block)
    powers = np.array([part.mean() for part in np.array_split(mono_power, count)])
    return 10.0 * math.log10(float(powers[powers >= powers.max() * 1e-3].mean()) + 1e-20)


def biquad(kind: str, hz: float, decibels: float = 0.0, q: float = 0.7) -> Floats:
    """One second-order section (1, 6): "low_shelf", "high_shelf" or "peak" (R. Bristow-Johnson's cookbook)."""
    a = 10.0 ** (decibels / 40.0)
    omega = 2.0 * math.pi * hz / RATE
    cos, alpha = math.cos(omega), math.sin(omega) / (2.0 * q)
    if kind == "peak":
        b = [1 + alpha * a, -2 * cos, 1 - alpha * a]
        d = [1 + alpha / a, -2 * cos, 1 - alpha / a]
    elif kind in ("low_shelf", "high_shelf"):
        sign = 1.0 if kind == "low_shelf" else -1.0
        root = 2.0 * math.sqrt(a) * alpha
        b = [
            a * ((a + 1) - sign * (a - 1) * cos + root),
            sign * 2 * a * ((a - 1) - sign * (a + 1) * cos),
            a * ((a + 1) - sign * (a - 1) * cos - root),
        ]
        d = [
            (a + 1) + sign * (a - 1) * cos + root,
            -sign * 2 * ((a - 1) + sign * (a + 1) * cos),
            (a + 1) + sign * (a - 1) * cos - root,
        ]
    else:
        raise ValueError(f"filter kind {kind!r}: expected low_shelf, high_shelf or peak")
    return np.asarray(np.array([[*b, *d]]) / d[0])


def filtered(audio: Audio, *sections: Floats) -> Audio:
    """Audio through second-order sections in series."""
    return np.asarray(signal.sosfilt(np.concatenate(sections), audio, axis=-1), dtype=np.float32)


def low_pass(hz: float, order: int = 2) -> Floats:
    """A Butterworth filter as second-order sections, (sections, 6)."""
    return np.asarray(signal.butter(order, min(hz, 0.49 * RATE), "low", fs=RATE, output="sos"))


def high_pass(hz: float, order: int = 2) -> Floats:
    """A Butterworth filter as second-order sections, (sections, 6)."""
    return np.asarray(signal.butter(order, hz, "high", fs=RATE, output="sos"))


def band_pass(low_hz: float, high_hz: float, order: int = 1) -> Floats:
    """A Butterworth filter as second-order sections, (sections, 6)."""
    return np.asarray(
        signal.butter(order, [low_hz, min(high_hz, 0.49 * RATE)], "band", fs=RATE, output="sos")
    )


def panned(mono: Audio, position: float) -> Audio:
    """A mono signal (samples,) placed between left (−1) and right (+1) at constant power: (2, samples)."""
    angle = (position + 1.0) * math.pi / 4.0
    return np.stack([mono * math.cos(angle), mono * math.sin(angle)]).astype(np.float32) * np.float32(
        math.sqrt(2)
    )


def narrowed(audio: Audio, width: float) -> Audio:
    """Stereo (…, 2, samples) with its width scaled: 0 is mono, 1 is unchanged."""
    other_side = audio[..., ::-1, :]
    return np.float32(0.5 + width / 2) * audio + np.float32(0.5 - width / 2) * other_side


def room(rng: np.random.Generator, seconds: float, bright_hz: float) -> Audio:
    """Stereo impulse response (2, samples) of a room: early reflections, then noise that dies away.

    `seconds` is the time to −60 dB; high frequencies die faster than low ones.
    """
    samples = int(seconds * RATE)
    time = np.arange(samples) / RATE
    noise = rng.standard_normal((2, samples))
    dark = signal.sosfilt(low_pass(bright_hz / 4), noise, axis=-1)
    tail = dark * 10.0 ** (-3.0 * time / seconds)
    tail += 0.5 * signal.sosfilt(low_pass(bright_hz), noise, axis=-1) * 10.0 ** (-6.0 * time / seconds)
    tail *= np.minimum(1.0, time / 0.02)
    early = np.zeros((2, samples))
    for delay in rng.uniform(0.004, 0.05, 8):
        early[rng.integers(2), min(samples - 1, int(delay * RATE))] += rng.choice([-1.0, 1.0])
    early *= 0.35 * np.sqrt(np.square(tail).sum() / np.square(early).sum())
    response = tail + early
    return np.asarray((response / np.sqrt(np.square(response).sum(axis=1, keepdims=True))).astype(np.float32))


def reverberated(audio: Audio, response: Audio, wet_decibels: float) -> Audio:
    """Stereo audio plus its reverberation, whose level is relative to the dry sound; the length is kept."""
    wet = signal.oaconvolve(audio.mean(axis=0, keepdims=True), response, axes=-1)[:, : audio.shape[1]]
    return np.asarray(audio + np.float32(gain(wet_decibels)) * wet.astype(np.float32))


def smoothed_peaks(audio: Audio, block: int, release_blocks: float) -> Floats:
    """Level per block of `block` samples: RMS over channels, falling slowly; shape (blocks,)."""
    samples = audio.shape[1]
    count = -(-samples // block)
    padded = np.pad(np.square(audio).mean(axis=0), (0, count * block - samples))
    powers = padded.reshape(count, block).mean(axis=1)
    pole = math.exp(-1.0 / release_blocks)
    return np.asarray(np.sqrt(np.maximum(signal.lfilter([1 - pole], [1, -pole], powers), 1e-12)))


def compressed(audio: Audio, threshold_decibels: float, ratio: float) -> Audio:
    """Gentle compression: levels above the threshold (dBFS) rise by 1/ratio only."""
    block = 256
    over = 20.0 * np.log10(smoothed_peaks(audio, block, 8.0)) - threshold_decibels
    reduction = -np.maximum(over, 0.0) * (1.0 - 1.0 / ratio)
    return audio * curve(10.0 ** (reduction / 20.0), block, audio.shape[1])


def curve(points: Floats, block: int, samples: int) -> Audio:
    """A control curve with one point every `block` samples, interpolated to (samples,) float32."""
    return np.interp(np.arange(samples), np.arange(len(points)) * block, points).astype(np.float32)


def limiter(mixture: Audio, ceiling: float) -> Audio:
    """Gain curve (samples,) that keeps |mixture · gain| at or below `ceiling`, with 10 ms look-ahead."""
    block = 64
    samples = mixture.shape[1]
    count = -(-samples // block) + 1
    peaks = np.abs(np.pad(mixture, ((0, 0), (0, count * block - samples)))).max(axis=0)
    wanted = np.minimum(1.0, ceiling / np.maximum(peaks.reshape(count, block).max(axis=1), 1e-9))
    reach = 8
    edges = np.pad(wanted, reach, mode="edge")
    lowest = np.lib.stride_tricks.sliding_window_view(edges, 2 * reach + 1).min(axis=1)
    kernel = np.hanning(2 * reach + 1)[1:-1] / np.hanning(2 * reach + 1).sum()
    smooth = np.convolve(np.pad(lowest, reach - 1, mode="edge"), kernel, mode="valid")
    return curve(smooth, block, samples)


def mastered(stems: Stems, peak_decibels: float) -> Stems:
    """Stems (stems, channels, samples) under one common gain: limited by 4 dB, then at the peak asked for.

    Every stem gets the same gain curve, so that their sum stays the limited mixture.
    """
    mixture = stems.sum(axis=0)
    peak = float(np.abs(mixture).max(initial=1e-9))
    limited = stems * limiter(mixture, peak * gain(-4.0))
    loudest = max(float(np.abs(limited.sum(axis=0)).max()), float(np.abs(limited).max()), 1e-9)
    return limited * np.float32(gain(peak_decibels) / loudest)
