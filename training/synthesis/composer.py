"""Composes songs: key, tempo, groove, sections, chords, and what each instrument and the singer do."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from .catalogue import Palette
from .midi import Note, Part, Program
from .patterns import (
    BACKBEAT,
    BASS_PATTERNS,
    CHORD_PATTERNS,
    CLAP,
    COWBELL,
    CRASH,
    EIGHTHS,
    GROOVES,
    HAT,
    KICK,
    OPEN_HAT,
    PROGRESSIONS,
    QUARTERS,
    RIDE,
    RIM,
    SHAKER,
    SHORT_SOUNDS,
    SNARE,
    STEPS,
    SUNG_PATTERNS,
    TAMBOURINE,
    TOMS,
    Groove,
)
from .text import lyric_line

Rng = np.random.Generator
T = TypeVar("T")


@dataclass(frozen=True)
class SungNote:
    """A word on a note; `leads_on` says that the line goes on without a breath before it."""

    start: float
    seconds: float
    pitch: int
    word: str
    leads_on: bool


@dataclass(frozen=True)
class Song:
    """A composed song: its parts, and the melody to be sung (none when instrumental)."""

    title: str
    seconds: float
    drums: Part
    bass: Part
    other: tuple[Part, ...]
    melody: tuple[SungNote, ...]
    harmony: tuple[SungNote, ...]


@dataclass(frozen=True)
class Bar:
    """A bar of the plan: the chord's degree, the next one's, how full it is, and whether it ends a section."""

    start: float
    chord: int
    following: int
    energy: float
    sung: bool
    first: bool
    last: bool


@dataclass(frozen=True)
class Grid:
    """Time and harmony of a song: seconds per step, swing as a share of a step pair, tonic and scale."""

    step_seconds: float
    swing: float
    tonic: int
    scale: tuple[int, ...]

    def time(self, bar: Bar, step: float) -> float:
        late = self.swing * 2.0 if int(step) % 4 == 2 and self.swing else 0.0
        return bar.start + (step + late) * self.step_seconds

    def pitch(self, degree: int) -> int:
        """Semitones above the tonic of a scale degree, which may lie outside one octave."""
        octave, index = divmod(degree, len(self.scale))
        return 12 * octave + self.scale[index]


def pick(rng: Rng, choices: Sequence[T]) -> T:
    """One of the choices, each as likely."""
    return choices[int(rng.integers(len(choices)))]


def planned(rng: Rng, grid: Grid, seconds: float) -> list[Bar]:
    """Bars that fill `seconds`: an instrumental bar or two, then sections that differ in chords and energy."""
    bar_seconds = STEPS * grid.step_seconds
    count = int(np.ceil(seconds / bar_seconds))
    verse, chorus = pick(rng, PROGRESSIONS[grid.scale]), pick(rng, PROGRESSIONS[grid.scale])
    intro = 0 if count < 10 else int(rng.integers(0, 3))
    shape: list[tuple[int, float, bool, bool, bool]] = []
    full = rng.random() < 0.5
    while len(shape) < count:
        length = intro if intro and not shape else int(pick(rng, (4, 4, 4, 8)))
        for index in range(length):
            chords = chorus if full else verse
            sung = bool(shape) or not intro
            sung = sung and (length == 4 or index < 6)
            shape.append(
                (chords[index % 4], 0.95 if full else 0.7, sung, index == 0, index == length - 1),
            )
        full = not full
    bars = []
    for index in range(count):
        chord, energy, sung, first, last = shape[index]
        following = shape[min(index + 1, len(shape) - 1)][0]
        bars.append(Bar(index * bar_seconds, chord, following, energy, sung, first, last))
    return bars


def velocity(rng: Rng, centre: float) -> int:
    """A note's MIDI velocity, 12 to 127, near `centre`."""
    return int(np.clip(centre + rng.normal(0, 6), 12, 127))


def drum_part(rng: Rng, grid: Grid, bars: list[Bar], groove: Groove, kit: Program) -> Part:
    """Kick, snare and hats after the groove, with ghost notes, crashes, extra percussion and fills."""
    kick, snare, hat = pick(rng, groove.kick), pick(rng, groove.snare), pick(rng, groove.hat)
    cymbal = RIDE if rng.random() < 0.25 else HAT
    back = CLAP if rng.random() < 0.12 else SNARE
    extra = pick(rng, (None, None, None, TAMBOURINE, SHAKER, COWBELL))
    extra_steps = pick(rng, (QUARTERS, EIGHTHS, BACKBEAT))
    loose = rng.uniform(0.002, 0.009)
    notes: list[Note] = []

    def hit(bar: Bar, step: float, pitch: int, loud: float) -> None:
        start = max(0.0, grid.time(bar, step) + rng.normal(0, loose))
        notes.append(Note(start, 0.15, pitch, velocity(rng, loud)))

    for bar in bars:
        fill_from = int(pick(rng, (8, 8, 12, 4))) if bar.last and rng.random() < 0.75 else STEPS
        if bar.first and rng.random() < 0.7:
            hit(bar, 0, CRASH if rng.random() < 0.8 else 57, 105)
        for step in range(fill_from):
            mark = kick[step]
            if mark == "x" or (mark == "?" and rng.random() < 0.35):
                hit(bar, step, KICK, 100 + 14 * bar.energy - (6 if step else 0))
            mark = snare[step]
            if mark == "x" or (mark == "?" and rng.random() < 0.3):
                hit(bar, step, back, 92 + 18 * bar.energy)
            elif mark == "o" and rng.random() < 0.8:
                hit(bar, step, SNARE, 44)
            elif mark == "r":
                hit(bar, step, RIM, 88)
            mark = hat[step]
            sounding = cymbal if bar.energy > 0.8 else HAT
            if mark == "O":
                hit(bar, step, OPEN_HAT, 88)
            elif mark == "x":
                opened = sounding == HAT and step == 14 and rng.random() < 0.2
                hit(bar, step, OPEN_HAT if opened else sounding, 80 if step % 4 == 0 else 66)
            elif mark == "o":
                hit(bar, step, sounding, 46)
            if extra is not None and extra_steps[step] == "x" and bar.energy > 0.8:
                hit(bar, step, extra, 70)
        for step in range(fill_from, STEPS):
            if rng.random() < 0.75:
                drum = (
                    SNARE
                    if rng.random() < 0.45
                    else TOMS[min(3, (step - fill_from) * 4 // (STEPS - fill_from))]
                )
                hit(bar, step, drum, 72 + 36 * (step - fill_from) / (STEPS - fill_from))
            if step % 4 == 0:
                hit(bar, step, KICK, 100)
    return Part(kit, tuple(notes), drums=True)


def runs(pattern: str) -> list[tuple[int, int, str]]:
    """(step, length in steps, mark) of every note of a pattern; "-" holds the note before it."""
    found: list[tuple[int, int, str]] = []
    for step, mark in enumerate(pattern):
        if mark == "-" and found and found[-1][0] + found[-1][1] == step:
            found[-1] = (found[-1][0], found[-1][1] + 1, found[-1][2])
        elif mark not in "-.":
            found.append((step, 1, mark))
    return found


def bass_part(rng: Rng, grid: Grid, bars: list[Bar], program: Program) -> Part:
    """A bass line that follows the chords between E1 and about D3."""
    low = 28 + (grid.tonic - 4) % 12  # the tonic's lowest place on a bass guitar
    patterns = (pick(rng, BASS_PATTERNS), pick(rng, BASS_PATTERNS))
    length = rng.uniform(0.75, 1.0)
    loose = rng.uniform(0.002, 0.008)
    notes = []
    for bar in bars:
        pattern = patterns[bar.energy > 0.8]
        root = low + grid.pitch(bar.chord)
        root -= 12 if root > 43 else 0
        for step, held, mark in runs(pattern):
            if mark == "n":
                goal = low + grid.pitch(bar.following)
                goal -= 12 if goal > 43 else 0
                pitch = goal + int(pick(rng, (-2, -1, 1, 2)))
            else:
                steps = {"R": 0, "3": 2, "5": 4, "7": 6, "8": 7}[mark]
                pitch = root + grid.pitch(bar.chord + steps) - grid.pitch(bar.chord)
            start = max(0.0, grid.time(bar, step) + rng.normal(0, loose))
            seconds = held * grid.step_seconds * length
            notes.append(Note(start, seconds, max(26, pitch), velocity(rng, 96 if step == 0 else 88)))
    return Part(program, tuple(notes))


def voicing(grid: Grid, chord: int, notes: int, centre: int) -> list[int]:
    """MIDI pitches of a chord, each in the octave that brings it near `centre`."""
    degrees = [chord, chord + 2, chord + 4, chord + 6][:notes]
    pitches = []
    for degree in degrees:
        pitch = 48 + grid.tonic + grid.pitch(degree)
        pitches.append(pitch + 12 * round((centre - pitch) / 12))
    return sorted(set(pitches))


def chord_part(rng: Rng, grid: Grid, bars: list[Bar], program: Program, family: str, pan: int) -> Part:
    """Chords held, struck, strummed or broken, as suits the family."""
    centre = int(rng.integers(56, 70))
    size = 4 if rng.random() < 0.35 else 3
    broken = family in SHORT_SOUNDS and rng.random() < 0.4
    steps_apart = int(pick(rng, (1, 2, 2)))
    order = pick(rng, ((0, 1, 2, 1), (0, 1, 2, 3), (2, 1, 0, 1), (0, 2, 1, 2)))
    held_family = family in ("strings", "pad", "organ")
    pattern = pick(rng, CHORD_PATTERNS[:2] if held_family and rng.random() < 0.7 else CHORD_PATTERNS)
    strum = rng.uniform(0.008, 0.025) if family == "guitar" else 0.003
    sparse = rng.random() < 0.15
    notes = []
    for index, bar in enumerate(bars):
        if sparse and index % 4 == 3:
            continue
        pitches = voicing(grid, bar.chord, size, centre)
        loud = 64 + 24 * bar.energy
        if broken:
            cycle = [*pitches, pitches[0] + 12]
            for count, step in enumerate(range(0, STEPS, steps_apart)):
                pitch = cycle[order[count % 4] % len(cycle)]
                start = max(0.0, grid.time(bar, step) + rng.normal(0, 0.004))
                notes.append(Note(start, grid.step_seconds * steps_apart * 1.6, pitch, velocity(rng, loud)))
            continue
        for step, held, _ in runs(pattern):
            for count, pitch in enumerate(pitches):
                start = max(0.0, grid.time(bar, step) + count * strum + abs(rng.normal(0, 0.004)))
                notes.append(Note(start, held * grid.step_seconds * 0.95, pitch, velocity(rng, loud)))
    return Part(program, tuple(notes), pan=pan, bend_cents=float(rng.normal(0, 4)))


def lead_part(rng: Rng, grid: Grid, bars: list[Bar], program: Program, pan: int) -> Part:
    """A riff of two bars that comes back transposed to the chords, with gaps for the singer."""
    centre = int(rng.integers(64, 78))
    riff = [
        (pick(rng, SUNG_PATTERNS), [int(pick(rng, (0, 2, 4, 1, -1, 6, 7))) for _ in range(STEPS)])
        for _ in (0, 1)
    ]
    share = rng.uniform(0.5, 1.0)
    notes = []
    for index, bar in enumerate(bars):
        if rng.random() > share:
            continue
        pattern, degrees = riff[index % 2]
        for count, (step, held, _) in enumerate(runs(pattern)):
            pitch = 48 + grid.tonic + grid.pitch(bar.chord + degrees[count])
            pitch += 12 * round((centre - pitch) / 12)
            start = max(0.0, grid.time(bar, step) + rng.normal(0, 0.006))
            notes.append(Note(start, held * grid.step_seconds * 0.95, pitch, velocity(rng, 84)))
    return Part(program, tuple(notes), pan=pan)


def other_parts(rng: Rng, grid: Grid, bars: list[Bar], palette: Palette) -> tuple[Part, ...]:
    """One to three layers: chords, perhaps a second colour, perhaps a riff."""
    families = list(palette.chordal)
    chosen = [str(name) for name in rng.permutation(families)[: int(pick(rng, (1, 2, 2)))]]
    spread = int(rng.integers(8, 40))
    parts = []
    for index, family in enumerate(chosen):
        pan = 64 if len(chosen) == 1 else 64 + (spread if index else -spread)
        parts.append(chord_part(rng, grid, bars, pick(rng, palette.chordal[family]), family, pan))
    if rng.random() < 0.5:
        family = pick(rng, list(palette.leads))
        pan = 64 + int(rng.integers(-30, 31))
        parts.append(lead_part(rng, grid, bars, pick(rng, palette.leads[family]), pan))
    return tuple(parts)


def melody_of(
    rng: Rng, grid: Grid, bars: list[Bar], lowest: int
) -> tuple[tuple[SungNote, ...], tuple[SungNote, ...]]:
    """A sung melody within 15 semitones of `lowest`, and the same a third higher where the song is full.

    Choruses come back to their two lines of words; verses have new ones.
    """
    patterns = [pick(rng, SUNG_PATTERNS) for _ in range(4)]
    stretch = 2 if grid.step_seconds < 0.105 else 1  # at fast tempi one sung bar spans two
    hook = [lyric_line(rng), lyric_line(rng)]
    low = lowest - grid.tonic
    degrees = [d for d in range(-21, 70) if low <= grid.pitch(d) <= low + 15]
    position = len(degrees) // 2
    notes: list[SungNote] = []
    thirds: list[SungNote] = []
    words: list[str] = []
    line = 0
    for index in range(0, len(bars), stretch):
        bar = bars[index]
        if not bar.sung or (bar.last and rng.random() < 0.15):
            continue
        chorus = bar.energy > 0.8
        pattern = patterns[(index // stretch) % 2 + 2 * chorus]
        chord = {(bar.chord + step) % len(grid.scale) for step in (0, 2, 4)}
        for count, (step, held, _) in enumerate(runs(pattern)):
            if not words:
                words = list(hook[line % 2] if chorus else lyric_line(rng))
                line += 1
            position += int(pick(rng, (-2, -1, -1, 0, 1, 1, 2, 0)))
            position += 1 if chorus and count == 0 and position < len(degrees) // 2 else 0
            position = int(np.clip(position, 0, len(degrees) - 1))
            if step % 8 == 0:  # strong beats sit on the chord
                near = [i for i, d in enumerate(degrees) if d % len(grid.scale) in chord]
                position = min(near, key=lambda i: abs(i - position))
            start = bar.start + (grid.time(bar, step) - bar.start) * stretch
            seconds = held * grid.step_seconds * stretch * 0.98
            pitch = grid.tonic + grid.pitch(degrees[position])
            joined = bool(notes) and start - (notes[-1].start + notes[-1].seconds) < 0.06
            notes.append(
                SungNote(max(0.0, start + rng.normal(0, 0.012)), seconds, pitch, words.pop(0), joined)
            )
            if chorus:
                third = grid.tonic + grid.pitch(degrees[position] + 2)
                thirds.append(replace(notes[-1], pitch=third))
    return tuple(notes), tuple(thirds)


def compose(rng: Rng, palette: Palette, seconds: float, lowest: int | None) -> Song:
    """A song of `seconds`; `lowest` is the singer's lowest MIDI pitch, None for an instrumental."""
    style = pick(rng, list(GROOVES))
    groove = GROOVES[style]
    tempo = float(rng.uniform(*groove.tempo))
    grid = Grid(60.0 / tempo / 4.0, groove.swing, int(rng.integers(12)), pick(rng, list(PROGRESSIONS)))
    bars = planned(rng, grid, seconds)
    drums = drum_part(rng, grid, bars, groove, pick(rng, palette.kits))
    bass = bass_part(rng, grid, bars, pick(rng, palette.basses))
    other = other_parts(rng, grid, bars, palette)
    sung = melody_of(rng, grid, bars, lowest) if lowest is not None else ((), ())
    melody, harmony = (
        tuple(note for note in notes if note.start + note.seconds < seconds - 0.05) for notes in sung
    )
    return Song(f"{style}, {tempo:.0f} bpm, tonic {grid.tonic}", seconds, drums, bass, other, melody, harmony)
