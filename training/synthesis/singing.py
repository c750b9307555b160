"""Sings: words spoken by espeak-ng, taken apart by WORLD, stretched to the notes and put together again."""

import warnings
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from .catalogue import Voice
from .composer import SungNote
from .dsp import RATE, Audio, Floats
from .tools import speak

with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # pkg_resources, which it imports, is deprecated
    import pyworld

FRAME_SECONDS = 0.005
FFT_SIZE = 1024  # of the analysis at espeak's 22.05 kHz
BINS = 1025  # of a 44.1 kHz envelope; the analysis fills the lower half
KNOWN_BINS = 500
LEAD_FRAMES = 20  # consonants may sound this long before the beat
ONSET_FRAMES = 6


@dataclass(frozen=True)
class SpokenWord:
    """WORLD's analysis of a word: envelope and aperiodicity (frames, BINS); frames first…last are voiced."""

    envelope: Floats
    aperiodicity: Floats
    first: int
    last: int


def extended(half: Floats, fall: float) -> Floats:
    """Frames (frames, ≥ KNOWN_BINS) of a 22.05 kHz analysis continued to 44.1 kHz, falling by `fall` per bin."""
    top = half[:, KNOWN_BINS - 60 : KNOWN_BINS].mean(axis=1, keepdims=True)
    above = top * np.power(fall, np.arange(BINS - KNOWN_BINS))
    return np.concatenate([half[:, :KNOWN_BINS], above], axis=1)


def warped(envelope: Floats, factor: float) -> Floats:
    """An envelope (frames, bins) whose frequencies are multiplied by `factor`: a shorter or longer throat."""
    position = np.minimum(np.arange(envelope.shape[1]) / factor, envelope.shape[1] - 1.001)
    below = position.astype(int)
    share = position - below
    return np.asarray(envelope[:, below] * (1 - share) + envelope[:, below + 1] * share)


def analysed(word: str, voice: Voice) -> SpokenWord:
    """A word as the voice speaks it, trimmed of silence, its formants shifted, breath added, level unified."""
    sound, rate = speak(word, voice.name, 150, 45)
    loud = np.flatnonzero(np.abs(sound) > 0.01 * np.abs(sound).max())
    margin = rate // 100
    sound = np.ascontiguousarray(sound[max(0, loud[0] - margin) : loud[-1] + margin])
    rough, times = pyworld.dio(sound, rate, f0_floor=60.0, f0_ceil=500.0)
    f0 = pyworld.stonemask(sound, rough, times, rate)
    envelope = pyworld.cheaptrick(sound, f0, times, rate, fft_size=FFT_SIZE)
    aperiodicity = pyworld.d4c(sound, f0, times, rate, fft_size=FFT_SIZE)
    voiced = np.flatnonzero(f0 > 0)
    first, last = (int(voiced[0]), int(voiced[-1])) if len(voiced) > 3 else (0, len(f0) - 1)
    full = warped(extended(envelope, 0.994), voice.formant)
    full /= full[first : last + 1].sum(axis=1).mean()
    noise = np.minimum(1.0, extended(aperiodicity, 1.0) * (1 - voice.breath) + 0.6 * voice.breath)
    noise[:, KNOWN_BINS:] = np.maximum(noise[:, KNOWN_BINS:], 0.9)
    return SpokenWord(full, noise, first, last)


def stretched(word: SpokenWord, frames: int) -> tuple[Floats, int]:
    """Positions in the word's frames, one per sung frame, and how many of them lie before the beat.

    Consonants keep their speed; the vowel's middle is stretched so that it lasts `frames` from the beat.
    """
    lead = min(word.first, LEAD_FRAMES)
    vowel = max(1, word.last - word.first)
    onset = min(ONSET_FRAMES, vowel // 3)
    release = min(ONSET_FRAMES, vowel // 3)
    tail = min(len(word.envelope) - 1 - word.last, 30)
    middle = max(2, frames - onset - release - tail // 2)
    return np.concatenate(
        [
            np.arange(word.first - lead, word.first + onset, dtype=np.float64),
            np.linspace(word.first + onset, word.last - release, middle),
            np.arange(word.last - release + 1, word.last + tail + 1, dtype=np.float64),
        ]
    ), lead


def pitch_curve(rng: np.random.Generator, notes: tuple[SungNote, ...], frames: int) -> Floats:
    """MIDI pitch (frames,): glides between notes, scoops into phrases, late vibrato, a little drift."""
    steps = np.full(frames, float(notes[0].pitch))
    vibrato = np.zeros(frames)
    rate, depth = rng.uniform(4.8, 6.6), rng.uniform(0.12, 0.5)
    for note in notes:
        start, length = round(note.start / FRAME_SECONDS), max(1, round(note.seconds / FRAME_SECONDS))
        steps[start:] = note.pitch
        if not note.leads_on:
            steps[max(0, start - 8) : start + 4] = note.pitch - rng.uniform(0.3, 1.5)
        time = np.arange(length) * FRAME_SECONDS
        swell = np.clip((time - 0.18) / 0.25, 0.0, 1.0) * depth
        wave = swell * np.sin(2 * np.pi * rate * time + rng.uniform(0, 6.28))
        vibrato[start : start + length] = wave[: max(0, frames - start)]
    drift = gaussian_filter1d(rng.standard_normal(frames), 20)
    drift *= rng.uniform(0.04, 0.12) / max(float(drift.std()), 1e-9)
    return np.asarray(gaussian_filter1d(steps, rng.uniform(4, 9)) + vibrato + drift)


def phrases(notes: tuple[SungNote, ...]) -> list[tuple[SungNote, ...]]:
    """The notes cut where the singer rests for more than a quarter of a second."""
    groups: list[list[SungNote]] = []
    for note in notes:
        if groups and note.start - (groups[-1][-1].start + groups[-1][-1].seconds) < 0.25:
            groups[-1].append(note)
        else:
            groups.append([note])
    return [tuple(group) for group in groups]


def sing_phrase(
    rng: np.random.Generator, notes: tuple[SungNote, ...], words: dict[str, SpokenWord]
) -> Floats:
    """One phrase sung, its first note's vowel LEAD_FRAMES after the beginning: (samples,) float64."""
    origin = notes[0].start - LEAD_FRAMES * FRAME_SECONDS
    shifted = tuple(replace(note, start=note.start - origin) for note in notes)
    frames = round((shifted[-1].start + shifted[-1].seconds) / FRAME_SECONDS) + 40
    envelope = np.full((frames, BINS), 1e-16)
    aperiodicity = np.full((frames, BINS), 1.0 - 1e-6)
    voiced = np.zeros(frames, dtype=bool)
    for note in shifted:
        word = words[note.word]
        position, lead = stretched(word, round(note.seconds / FRAME_SECONDS))
        start = max(0, round(note.start / FRAME_SECONDS) - lead)
        position = position[: frames - start]
        below = np.minimum(position.astype(int), len(word.envelope) - 2)
        share = (position - below)[:, None]
        accent = rng.uniform(0.6, 1.0) ** 2
        place = slice(start, start + len(position))
        envelope[place] = accent * (word.envelope[below] * (1 - share) + word.envelope[below + 1] * share)
        aperiodicity[place] = word.aperiodicity[below]
        voiced[place] = (position >= word.first) & (position <= word.last)
    np.maximum(envelope, 1e-16, out=envelope)
    f0 = np.where(voiced, 440.0 * 2.0 ** ((pitch_curve(rng, shifted, frames) - 69.0) / 12.0), 0.0)
    return np.asarray(pyworld.synthesize(f0, envelope, aperiodicity, RATE, FRAME_SECONDS * 1000))


def sing(
    rng: np.random.Generator, notes: tuple[SungNote, ...], words: dict[str, SpokenWord], seconds: float
) -> Audio:
    """The notes sung with the analysed words: (samples,) of `seconds`, at an arbitrary level."""
    samples = round(seconds * RATE)
    out = np.zeros(samples, dtype=np.float32)
    for phrase in phrases(notes):
        sung = sing_phrase(rng, phrase, words)
        start = round((phrase[0].start - LEAD_FRAMES * FRAME_SECONDS) * RATE)
        sung, start = sung[max(0, -start) :], max(0, start)
        length = min(len(sung), samples - start)
        out[start : start + length] += sung[:length]
    return out
