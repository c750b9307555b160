"""What sound effects are made of: noise, random curves, envelopes, struck modes, and sounds in their places.

Signals are mono, (samples,), at the rate `dsp.RATE`.
"""

from collections.abc import Callable

import numpy as np
from scipy import signal
from scipy.ndimage import gaussian_filter1d

from .dsp import RATE, Floats

Rng = np.random.Generator


def noise(rng: Rng, samples: int, *sections: Floats) -> Floats:
    """White noise through second-order sections in series."""
    white = rng.standard_normal(samples)
    return np.asarray(signal.sosfilt(np.concatenate(sections), white)) if sections else white


def wandering(rng: Rng, samples: int, per_second: float, low: float, high: float) -> Floats:
    """A smooth random curve between low and high that turns about `per_second` times per second."""
    points = rng.uniform(low, high, max(4, int(samples / RATE * per_second) + 3))
    smooth = gaussian_filter1d(points, 0.7, mode="nearest")
    return np.asarray(np.interp(np.linspace(0, len(points) - 1, samples), np.arange(len(points)), smooth))


def decay(samples: int, seconds: float, attack_seconds: float = 0.001) -> Floats:
    """An envelope that rises in `attack_seconds` and falls by 60 dB in `seconds`."""
    time = np.arange(samples) / RATE
    return np.minimum(1.0, time / attack_seconds) * 10.0 ** (-3.0 * time / seconds)


def ringing(rng: Rng, samples: int, frequencies: Floats, seconds: float) -> Floats:
    """Struck modes: decaying sines, the higher ones dying sooner."""
    time = np.arange(samples) / RATE
    out = np.zeros(samples)
    for hz in frequencies[frequencies < 18_000]:
        fall = seconds * (frequencies[0] / hz) ** 0.5 * rng.uniform(0.7, 1.3)
        out += (
            rng.uniform(0.3, 1.0)
            * np.sin(2 * np.pi * hz * time + rng.uniform(0, 6.28))
            * decay(samples, fall)
        )
    return out


def swept(frequency: Floats) -> Floats:
    """A sine whose frequency in Hz is given at every sample."""
    return np.asarray(np.sin(2 * np.pi * np.cumsum(frequency) / RATE))


def placed(samples: int, starts: Floats, sounds: list[Floats]) -> Floats:
    """Sounds added at start samples, cut at the end."""
    out = np.zeros(samples)
    for start, sound in zip(starts.astype(int), sounds, strict=True):
        length = min(len(sound), samples - start)
        if length > 0:
            out[start : start + length] += sound[:length]
    return out


def repeated(rng: Rng, samples: int, every: float, jitter: float, sound: Callable[[], Floats]) -> Floats:
    """A sound made again about every `every` seconds."""
    count = max(1, int(samples / RATE / every))
    starts = (np.arange(count) + rng.uniform(-jitter, jitter, count).clip(-0.5, 0.5)) * every * RATE
    return placed(samples, np.maximum(starts, 0), [sound() for _ in range(count)])
