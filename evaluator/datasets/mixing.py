"""Levels of audio that is mixed into data sets; arrays are (channels, samples) float32 at 44.1 kHz."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

RATE_HZ = 44_100

Audio: TypeAlias = npt.NDArray[np.float32]
Pcm: TypeAlias = npt.NDArray[np.int16]

SILENCE_DB = -60.0
BLOCK_SAMPLES = RATE_HZ // 10


def gain(decibels: float) -> float:
    """Amplitude factor of a level in dB."""
    return float(10.0 ** (decibels / 20.0))


def loudness(audio: Audio) -> float:
    """Integrated loudness in LUFS (ITU-R BS.1770-4); −inf for silence.

    Audio shorter than half a second is padded with zeros, for the measure needs blocks of 0.4 s.
    """
    import pyloudnorm  # brings all of scipy.signal, which takes longer than the rest of a command to import

    padded = np.pad(audio, ((0, 0), (0, max(0, RATE_HZ // 2 - audio.shape[1]))))
    return float(pyloudnorm.Meter(RATE_HZ).integrated_loudness(padded.T.astype(np.float64)))


def block_levels(audio: Audio) -> npt.NDArray[np.float64]:
    """RMS level in dBFS of each whole or partial 0.1 s of audio; shape (blocks,)."""
    power = np.square(audio.astype(np.float64)).mean(axis=0)
    starts = np.arange(0, len(power), BLOCK_SAMPLES)
    lengths = np.diff([*starts, len(power)])
    return np.asarray(10.0 * np.log10(np.add.reduceat(power, starts) / lengths + 1e-20))


def is_silent(audio: Audio) -> bool:
    """Whether no 0.1 s of the audio is louder than −60 dBFS; true of no audio at all."""
    return audio.shape[1] == 0 or bool(block_levels(audio).max() < SILENCE_DB)


def faded(audio: Audio, seconds: float) -> Audio:
    """Audio with its first and last `seconds`, or half of it if it is short, faded in and out."""
    samples = min(round(seconds * RATE_HZ), audio.shape[1] // 2)
    if samples == 0:
        return audio
    out = audio.copy()
    ramp = np.linspace(0.0, 1.0, samples, dtype=np.float32)
    out[:, :samples] *= ramp
    out[:, -samples:] *= ramp[::-1]
    return out


def peak(stems: npt.NDArray[np.float32]) -> float:
    """The largest magnitude in stems (stems, channels, samples) and in their sum."""
    return float(max(np.abs(stems).max(initial=0.0), np.abs(stems.sum(axis=0)).max(initial=0.0)))


def quantised(stems: npt.NDArray[np.float32], bits: int = 16) -> Pcm:
    """Stems (stems, channels, samples) as 16-bit integers whose sum, too, fits 16 bits.

    The mixture that is the sum of the integers is then exact. With fewer `bits` the lowest ones are zero,
    which FLAC stores for nothing.

    Raises:
        ValueError: a stem or the sum of the rounded stems would clip.
    """
    step = 2 ** (16 - bits)
    whole = np.round(stems.astype(np.float64) * (32768.0 / step)) * step
    highest = max(np.abs(whole).max(initial=0.0), np.abs(whole.sum(axis=0)).max(initial=0.0))
    if highest > 32767:
        raise ValueError(f"stems: peak {highest / 32768:.3f} of full scale would clip; lower the level first")
    return np.asarray(whole, dtype=np.int16)
