"""Renders a composed song to its four stems."""

from dataclasses import dataclass, replace

import numpy as np

from evaluator.datasets.mixing import gain

from . import dsp
from .catalogue import Palette, Voice
from .composer import Rng, Song, SungNote, compose, pick
from .dsp import RATE, Audio
from .singing import analysed, sing
from .tools import play

STEMS = ("bass", "drums", "other", "vocals")
CUTOFF_HZ = 16_000.0


@dataclass(frozen=True)
class RenderedSong:
    """Stems (stems in STEMS' order, 2, samples) whose sum is the mixture, and what they are, in words."""

    stems: dsp.Stems
    description: str


def random_voice(rng: Rng, palette: Palette) -> Voice:
    """A singer or speaker: an accent, a variant, a throat length, some breath and a range."""
    female = bool(rng.random() < 0.5)
    variant = pick(rng, [name for name, is_female in palette.voices if is_female == female])
    formant = float(rng.uniform(1.02, 1.2) if female else rng.uniform(0.92, 1.08))
    lowest = int(rng.integers(53, 60) if female else rng.integers(44, 53))
    breath = float(pick(rng, (0.0, 0.1, 0.25)) * rng.uniform(0.5, 1.5))
    return Voice(f"{pick(rng, palette.accents)}+{variant}", formant, breath, lowest)


def levelled(audio: Audio, decibels: float) -> Audio:
    """Audio at an active level of `decibels` dBFS.

    Raises:
        ValueError: the audio is silent.
    """
    now = dsp.active_level(audio)
    if now < -100.0:
        raise ValueError("a part rendered to silence; its program may be missing from the sound font")
    return audio * np.float32(gain(decibels - now))


def tone(rng: Rng, audio: Audio, strength: float = 1.0) -> Audio:
    """A song's own equaliser: random shelves and a random peak."""
    return dsp.filtered(
        audio,
        dsp.biquad("low_shelf", rng.uniform(90, 250), rng.uniform(-3, 3) * strength),
        dsp.biquad(
            "peak", float(np.exp(rng.uniform(np.log(300), np.log(5000)))), rng.normal(0, 3) * strength, 1.0
        ),
        dsp.biquad("high_shelf", rng.uniform(4000, 9000), rng.uniform(-4, 4) * strength),
    )


def driven(audio: Audio, amount: float) -> Audio:
    """Soft saturation; `amount` is how far above the tanh's knee the peaks are driven."""
    scale = np.float32(amount / max(float(np.abs(audio).max()), 1e-9))
    return np.asarray(np.tanh(audio * scale).astype(np.float32))


def drum_stem(rng: Rng, song: Song, response: Audio) -> Audio:
    """The song's drums, played, shaped and put into a room: (2, samples) float32."""
    raw = dsp.narrowed(play((song.drums,), song.seconds), float(rng.uniform(0.3, 1.0)))
    shaped = dsp.compressed(tone(rng, levelled(raw, -20.0)), -18.0, float(rng.uniform(1.0, 2.5)))
    if rng.random() < 0.3:
        shaped = driven(shaped, float(rng.uniform(0.8, 2.0)))
    return dsp.reverberated(shaped, response, float(rng.uniform(-30, -12)))


def bass_stem(rng: Rng, song: Song) -> Audio:
    """The song's bass, played and shaped: (2, samples) float32."""
    raw = dsp.narrowed(play((song.bass,), song.seconds), 0.0)
    shaped = tone(rng, levelled(raw, -20.0), 0.8)
    if rng.random() < 0.45:
        shaped = driven(shaped, float(rng.uniform(0.8, 3.0)))
    if rng.random() < 0.5:
        shaped = dsp.filtered(shaped, dsp.low_pass(float(np.exp(rng.uniform(np.log(900), np.log(6000))))))
    return dsp.filtered(dsp.compressed(levelled(shaped, -20.0), -20.0, 3.0), dsp.high_pass(28.0))


def other_stem(rng: Rng, song: Song, response: Audio) -> Audio:
    """All other parts of the song together, played, shaped and put into a room: (2, samples) float32."""
    mixed = np.zeros((2, round(song.seconds * RATE)), dtype=np.float32)
    for part in song.other:
        if not part.notes:
            continue
        layer = levelled(play((part,), song.seconds), -20.0 + float(rng.uniform(-4, 1)))
        mixed += layer
    shaped = tone(rng, dsp.compressed(mixed, -18.0, float(rng.uniform(1.0, 2.0))))
    shaped = dsp.filtered(shaped, dsp.high_pass(float(rng.uniform(60, 140))))
    return dsp.reverberated(shaped, response, float(rng.uniform(-24, -8)))


def shifted(rng: Rng, notes: tuple[SungNote, ...], late: float) -> tuple[SungNote, ...]:
    """The notes as another take: each a little earlier or later."""
    return tuple(replace(n, start=max(0.0, n.start + late + float(rng.normal(0, 0.012)))) for n in notes)


def vocal_stem(rng: Rng, song: Song, voice: Voice, response: Audio) -> Audio:
    """The melody sung, perhaps doubled left and right, perhaps with thirds; equalised, levelled, in a room."""
    words = {word: analysed(word, voice) for word in sorted({note.word for note in song.melody})}
    lead = sing(rng, song.melody, words, song.seconds)
    mixed = dsp.panned(levelled(lead[None], -20.0)[0], float(rng.normal(0, 0.06)))
    if rng.random() < 0.25:
        for side in (-1.0, 1.0):
            take = sing(rng, shifted(rng, song.melody, 0.012), words, song.seconds)
            position = side * float(rng.uniform(0.4, 0.9))
            mixed += dsp.panned(levelled(take[None], -20.0 + float(rng.uniform(-12, -5)))[0], position)
    if song.harmony and rng.random() < 0.4:
        take = sing(rng, shifted(rng, song.harmony, 0.01), words, song.seconds)
        position = float(rng.uniform(-0.7, 0.7))
        mixed += dsp.panned(levelled(take[None], -20.0 + float(rng.uniform(-10, -4)))[0], position)
    shaped = dsp.filtered(tone(rng, mixed), dsp.high_pass(90.0))
    shaped = dsp.compressed(levelled(shaped, -20.0), -20.0, float(rng.uniform(1.5, 3.5)))
    if rng.random() < 0.3:
        beat = rng.uniform(0.18, 0.45)
        echo = np.zeros_like(shaped)
        offset = int(beat * RATE)
        echo[:, offset:] = shaped[::-1, :-offset] * np.float32(gain(float(rng.uniform(-20, -12))))
        shaped = shaped + echo
    return dsp.reverberated(shaped, response, float(rng.uniform(-26, -9)))


def render_song(rng: Rng, palette: Palette, seconds: float) -> RenderedSong:
    """Composes and renders a song: four stems whose sum is the mixture, its peak at most −1.2 dBFS."""
    voice = random_voice(rng, palette)
    song = compose(rng, palette, seconds, voice.lowest)
    while not song.melody:
        song = compose(rng, palette, seconds, voice.lowest)
    hall = dsp.room(rng, float(rng.uniform(0.4, 2.2)), float(rng.uniform(3000, 9000)))
    small = dsp.room(rng, float(rng.uniform(0.2, 0.7)), float(rng.uniform(4000, 10000)))
    balance = {
        "bass": rng.normal(0.6, 1.5),
        "drums": rng.normal(0.5, 1.5),
        "other": rng.normal(-0.5, 1.5),
        "vocals": rng.normal(1.8, 1.5),
    }
    rendered = {
        "bass": bass_stem(rng, song),
        "drums": drum_stem(rng, song, small),
        "other": other_stem(rng, song, hall),
        "vocals": vocal_stem(rng, song, voice, hall),
    }
    stems = np.stack([levelled(rendered[stem], -20.0 + float(balance[stem])) for stem in STEMS])
    stems = dsp.filtered(stems, dsp.low_pass(CUTOFF_HZ, 8))
    fade = round(0.02 * RATE)
    stems[..., -fade:] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)
    mastered = dsp.mastered(stems, float(rng.uniform(-4.0, -1.2)))
    return RenderedSong(mastered, f"{song.title}, sung by {voice.name}")
