"""Renders cinematic scenes: dialogue, music and effects, placed and levelled after DnR's rules.

The loudness rules, those of Divide and Remaster v2, are the data set builder's.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soxr

from evaluator.datasets.mixing import gain, loudness
from evaluator.datasets.tracks import CLASS_SPREAD, CLIP_SPREAD, LOUDNESS, MIXTURE_LOUDNESS

from . import dsp, effects
from .catalogue import Palette
from .composer import compose, pick
from .dsp import RATE, Audio
from .midi import Note, Part
from .song import bass_stem, drum_stem, levelled, other_stem, random_voice, tone
from .text import sentence
from .tools import play, speak

Rng = np.random.Generator

SCENE_STEMS = ("speech", "music", "sfx")
TARGET_LUFS = {"speech": LOUDNESS["dialog"], "music": LOUDNESS["music"], "sfx": LOUDNESS["effect"]}
PEAK_DECIBELS = -1.2


@dataclass(frozen=True)
class RenderedScene:
    """Stems (stems in SCENE_STEMS' order, 2, samples) whose sum is the mixture, and what they are, in words."""

    stems: dsp.Stems
    description: str


def at_loudness(audio: Audio, lufs: float) -> Audio:
    """Audio at an integrated loudness; a sound with no loudness to measure goes by its active level."""
    now = loudness(audio)
    if not np.isfinite(now):
        now = dsp.active_level(audio)
    return audio * np.float32(gain(lufs - now))


def added(track: Audio, clip: Audio, start: int) -> None:
    """Adds a clip to a track in place, cut where the track ends."""
    length = min(clip.shape[1], track.shape[1] - start)
    track[:, start : start + length] += clip[:, :length]


def airy(rng: Rng, voice: Audio) -> Audio:
    """Speech at 22 kHz sampling given a little noise above 10 kHz that follows its sibilants."""
    sibilance = np.abs(dsp.filtered(voice, dsp.band_pass(5000, 9500)))
    follow = dsp.filtered(sibilance, dsp.low_pass(40, 1))
    air = dsp.filtered(rng.standard_normal(voice.shape).astype(np.float32), dsp.high_pass(9500))
    return voice + air * follow * np.float32(rng.uniform(0.2, 0.7))


@dataclass(frozen=True)
class Speaker:
    """A voice with its pace (words a minute), pitch (0–99), tone seed, place and distance in the room."""

    voice: str
    words_per_minute: int
    pitch: int
    tone_seed: int
    position: float
    wet_decibels: float


def utterance(rng: Rng, speaker: Speaker, response: Audio) -> Audio:
    """A sentence or two, spoken in the room: (2, samples)."""
    text = " ".join(sentence(rng) for _ in range(int(pick(rng, (1, 1, 2)))))
    sound, rate = speak(text, speaker.voice, speaker.words_per_minute, speaker.pitch)
    mono = soxr.resample(sound, rate, RATE).astype(np.float32)[None]
    mono = airy(rng, levelled(mono, -20.0))
    mono = tone(np.random.default_rng(speaker.tone_seed), mono)
    mono = dsp.compressed(mono, -20.0, 2.0)
    padded = np.pad(mono[0], (0, RATE // 2))
    return dsp.reverberated(dsp.panned(padded, speaker.position), response, speaker.wet_decibels)


def random_speaker(rng: Rng, palette: Palette) -> Speaker:
    """One of the voices, with a pace, a pitch, a place and a distance of its own."""
    voice = random_voice(rng, palette)
    return Speaker(
        voice.name,
        int(rng.integers(125, 200)),
        int(rng.integers(20, 75)),
        int(rng.integers(1 << 30)),
        float(rng.normal(0, 0.15)),
        float(rng.uniform(-28, -10)),
    )


def spans(
    rng: Rng, seconds: float, silence: tuple[float, float], length: tuple[float, float]
) -> Iterator[tuple[float, float]]:
    """(start, length) in seconds of clips in turn, with random silences before and between them."""
    now = float(rng.uniform(0, min(silence[1], seconds / 6)))
    while now < seconds - 0.6:
        span = min(float(rng.uniform(*length)), seconds - now)
        yield now, span
        now += span + float(rng.uniform(*silence))


def speech_track(rng: Rng, palette: Palette, seconds: float, target: float) -> tuple[Audio, str]:
    """Dialogue of one to three speakers in one room, with silences; and the voices' names."""
    track = np.zeros((2, round(seconds * RATE)), dtype=np.float32)
    response = dsp.room(rng, float(rng.uniform(0.15, 1.0)), float(rng.uniform(3000, 9000)))
    cast = [random_speaker(rng, palette) for _ in range(int(pick(rng, (1, 2, 2, 3))))]
    now = float(rng.uniform(0.1, 1.5))
    while now < seconds - 1.0:
        clip = utterance(rng, pick(rng, cast), response)
        added(
            track, at_loudness(clip, target + float(rng.uniform(-CLIP_SPREAD, CLIP_SPREAD))), int(now * RATE)
        )
        now += clip.shape[1] / RATE - 0.5 + float(pick(rng, (0.2, 0.5, 1.5, 3.0)) * rng.uniform(0.6, 1.4))
    return track, ", ".join(speaker.voice for speaker in cast)


def music_bed(rng: Rng, palette: Palette, seconds: float) -> Audio:
    """Instrumental music: the composer's, with everything, without drums, or with the chords alone."""
    song = compose(rng, palette, seconds, None)
    hall = dsp.room(rng, float(rng.uniform(0.6, 2.5)), float(rng.uniform(3000, 9000)))
    bed = levelled(other_stem(rng, song, hall), -20.0 + float(rng.uniform(0, 4)))
    shape = rng.random()
    if shape < 0.75:
        bed += levelled(bass_stem(rng, song), -20.0 + float(rng.uniform(-3, 1)))
    if shape < 0.55:
        bed += levelled(drum_stem(rng, song, hall), -20.0 + float(rng.uniform(-4, 1)))
    return bed


def music_track(rng: Rng, palette: Palette, seconds: float, target: float) -> Audio:
    """One or two cues, faded in and out, perhaps with a silence between them."""
    track = np.zeros((2, round(seconds * RATE)), dtype=np.float32)
    for start, length in spans(rng, seconds, (0.5, 4.0), (seconds * 0.45, seconds * 1.2)):
        if length < 3.0:
            break
        cue = music_bed(rng, palette, length)
        fade = round(float(rng.uniform(0.05, 1.2)) * RATE)
        cue[:, :fade] *= np.linspace(0, 1, fade, dtype=np.float32)
        cue[:, -fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
        added(
            track, at_loudness(cue, target + float(rng.uniform(-CLIP_SPREAD, CLIP_SPREAD))), int(start * RATE)
        )
    return track


def spread_wide(rng: Rng, mono: Audio, width: float) -> Audio:
    """A mono texture made stereo by a short decorrelating filter on each side."""
    taps = rng.standard_normal((2, 900)) * np.exp(-np.arange(900) / 200)
    taps /= np.sqrt(np.square(taps).sum(axis=1, keepdims=True))
    stereo = np.stack([np.convolve(mono, side)[: len(mono)] for side in taps]).astype(np.float32)
    return dsp.narrowed(stereo, width)


def moved(rng: Rng, mono: Audio, response: Audio) -> Audio:
    """A mono effect in the room, standing or moving across the image: (2, samples)."""
    padded = tone(rng, np.pad(mono, (0, RATE // 3))[None])[0]
    start, end = rng.uniform(-0.8, 0.8, 2)
    path = np.linspace(start, end if rng.random() < 0.3 else start, len(padded))
    angle = (path + 1.0) * np.pi / 4.0
    stereo = np.stack([padded * np.cos(angle), padded * np.sin(angle)]).astype(np.float32)
    return dsp.reverberated(stereo, response, float(rng.uniform(-30, -8)))


def font_effect(rng: Rng, palette: Palette, seconds: float) -> tuple[Audio, str]:
    """One of General MIDI's sound effects, mono, and its program's number."""
    notes = tuple(
        Note(float(start), seconds / 2, int(rng.integers(48, 76)), int(rng.integers(80, 120)))
        for start in rng.uniform(0, seconds / 2, int(rng.integers(1, 3)))
    )
    program = pick(rng, palette.effects)
    played = play((Part(program, notes),), seconds)
    return levelled(played, -20.0).mean(axis=0), f"GM {program.number + 1}"


def effect_track(
    rng: Rng, palette: Palette, seconds: float, target: float, held_out: bool
) -> tuple[Audio, str]:
    """An ambience under single effects with silences between; and their names."""
    track = np.zeros((2, round(seconds * RATE)), dtype=np.float32)
    response = dsp.room(rng, float(rng.uniform(0.2, 1.8)), float(rng.uniform(3000, 9000)))
    names = []
    textures = effects.TEXTURES + (effects.HELD_OUT_TEXTURES if held_out else ())
    events = effects.EVENTS + (effects.HELD_OUT_EVENTS if held_out else ())
    if rng.random() < 0.65:
        make = pick(rng, textures)
        bed = tone(rng, spread_wide(rng, effects.rendered(rng, make, seconds), float(rng.uniform(0.2, 0.9))))
        added(track, at_loudness(bed, target - float(rng.uniform(3, 12))), 0)
        names.append(make.__name__)
    few = pick(rng, ((0.2, 1.5), (0.5, 3.0), (1.0, 5.0)))
    for start, length in spans(rng, seconds, few, (0.8, 5.0)):
        if rng.random() < 0.12:
            mono, name = font_effect(rng, palette, length)
        else:
            make = pick(rng, textures if rng.random() < 0.2 else events)
            mono, name = effects.rendered(rng, make, length), make.__name__
        clip = moved(rng, mono, response)
        added(
            track,
            at_loudness(clip, target + float(rng.uniform(-CLIP_SPREAD, CLIP_SPREAD))),
            int(start * RATE),
        )
        names.append(name)
    return track, ", ".join(names)


def render_scene(rng: Rng, palette: Palette, seconds: float, held_out: bool) -> RenderedScene:
    """Composes and renders a scene: three stems whose sum is the mixture, at DnR's mixture loudness.

    The mixture is at −27 ± 2 LUFS unless its peak, or a stem's, would then pass −1.2 dBFS.
    """
    target = {
        stem: lufs + float(rng.uniform(-CLASS_SPREAD, CLASS_SPREAD)) for stem, lufs in TARGET_LUFS.items()
    }
    speech, cast = speech_track(rng, palette, seconds, target["speech"])
    music = music_track(rng, palette, seconds, target["music"])
    sounds, names = effect_track(rng, palette, seconds, target["sfx"], held_out)
    stems = dsp.filtered(np.stack([speech, music, sounds]), dsp.low_pass(16_000.0, 8))
    fade = round(0.02 * RATE)
    stems[..., -fade:] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)
    wanted = MIXTURE_LOUDNESS + float(rng.uniform(-CLASS_SPREAD, CLASS_SPREAD))
    stems = stems * np.float32(gain(wanted - loudness(stems.sum(axis=0))))
    peak = max(float(np.abs(stems.sum(axis=0)).max()), float(np.abs(stems).max()))
    ceiling = gain(PEAK_DECIBELS)
    if peak > ceiling:
        stems = stems * np.float32(ceiling / peak)
    return RenderedScene(stems, f"voices {cast}; effects {names}")
