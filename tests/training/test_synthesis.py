"""The composer, the signal processing and the effects: laws that hold for any seed. Needs no tools."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from evaluator.datasets.mixing import gain
from tests.thinned import one_in
from training.synthesis import dsp, effects, singing, text
from training.synthesis.catalogue import Palette, held_out_palette, training_palette
from training.synthesis.composer import Song, SungNote, compose
from training.synthesis.dataset import VARIANTS, replayed
from training.synthesis.dsp import RATE
from training.synthesis.midi import DRUM_CHANNEL, Note, Part, Program, standard_midi_file, variable_length

LOWEST = 50


def song(seed: int, seconds: float = 20.0, lowest: int | None = LOWEST) -> Song:
    return compose(np.random.default_rng(seed), training_palette(), seconds, lowest)


def noise(channels: int = 2, seconds: float = 1.0, seed: int = 0) -> dsp.Audio:
    return (np.random.default_rng(seed).standard_normal((channels, round(seconds * RATE))) * 0.1).astype(
        np.float32
    )


def events(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(tick, message) of the one track of a format-0 file without running status."""
    assert data[:4] == b"MThd"
    place, tick = 22, 0
    while place < len(data):
        delta = 0
        while True:
            byte = data[place]
            place += 1
            delta = delta << 7 | byte & 0x7F
            if byte < 0x80:
                break
        tick += delta
        status = data[place]
        length = 3 + data[place + 2] if status == 0xFF else 2 if status >> 4 == 0xC else 3
        yield tick, data[place : place + length]
        place += length


@pytest.mark.parametrize(
    ("value", "coded"), [(0, "00"), (127, "7f"), (128, "8100"), (16383, "ff7f"), (16384, "818000")]
)
def test_variable_lengths_are_those_of_the_midi_standard(value: int, coded: str) -> None:
    assert variable_length(value).hex() == coded


def test_every_note_that_begins_in_time_sounds_and_nothing_sounds_past_the_end() -> None:
    notes = tuple(Note(start, 1.0, 60 + i, 90) for i, start in enumerate((0.0, 0.5, 1.9, 2.5)))
    data = standard_midi_file(
        (Part(Program("fluid", 3), notes), Part(Program("fluid", 0), notes, drums=True)), 2.0
    )
    found = list(events(data))
    on = [(tick, message[0] & 15, message[1]) for tick, message in found if message[0] >> 4 == 9]
    assert sorted(on) == [
        (tick, channel, pitch)
        for tick, pitch in ((0, 60), (500, 61), (1900, 62))
        for channel in (0, DRUM_CHANNEL)
    ]
    assert found[-1] == (2000, b"\xff\x2f\x00")
    assert {message[0] & 15 for tick, message in found if tick == 2000 and message[1:] == b"\x78\x00"} == set(
        range(16)
    )


def test_more_parts_than_channels_are_refused() -> None:
    part = Part(Program("fluid", 0), ())
    with pytest.raises(ValueError, match="16 given"):
        standard_midi_file((part,) * 16, 1.0)


def test_one_seed_is_one_song() -> None:
    assert song(3) == song(3)
    assert song(3) != song(4)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("seconds", [10.5, 30.0])
def test_songs_are_playable(seed: int, seconds: float) -> None:
    made = song(seed, seconds)
    for part in (made.drums, made.bass, *made.other):
        for note in part.notes:
            assert 0 <= note.start <= seconds + 4.0
            assert note.seconds > 0
            assert 1 <= note.velocity <= 127
            assert 0 <= note.pitch <= 127
    assert made.drums.drums
    assert len(made.drums.notes) > seconds
    assert len(made.bass.notes) > seconds / 8
    assert all(26 <= note.pitch <= 62 for note in made.bass.notes)
    assert 1 <= len(made.other) <= 3


@pytest.mark.parametrize("seed", range(12))
def test_melodies_stay_in_the_singers_range_and_one_note_follows_another(seed: int) -> None:
    made = song(seed, 30.0)
    assert made.melody
    assert all(LOWEST <= note.pitch <= LOWEST + 15 for note in made.melody)
    assert all(a.start < b.start for a, b in zip(made.melody, made.melody[1:], strict=False))
    assert all(note.start + note.seconds < made.seconds for note in made.melody)
    by_start = {note.start: note for note in made.melody}
    for third in made.harmony:
        assert third.word == by_start[third.start].word
        assert 3 <= third.pitch - by_start[third.start].pitch <= 4


def test_instrumentals_have_no_melody() -> None:
    assert song(1, lowest=None).melody == ()


def numbers(palette: Palette) -> dict[str, set[int]]:
    groups = {"bass": palette.basses, "effects": palette.effects, **palette.chordal, **palette.leads}
    return {name: {program.number for program in group} for name, group in groups.items()}


def test_what_the_demo_sounds_of_is_not_trained_on() -> None:
    train, demo = training_palette(), held_out_palette()
    for name, held_out in numbers(demo).items():
        assert held_out
        assert not held_out & numbers(train)[name]
    trained_programs = set().union(*numbers(train).values())
    assert not set().union(*numbers(demo).values()) & trained_programs
    assert not {kit.number for kit in demo.kits} & {kit.number for kit in train.kits if kit.font == "fluid"}
    assert not {name for name, _ in demo.voices} & {name for name, _ in train.voices}
    assert {female for _, female in demo.voices} == {True, False}
    assert not {*effects.HELD_OUT_EVENTS, *effects.HELD_OUT_TEXTURES} & {*effects.EVENTS, *effects.TEXTURES}


@pytest.mark.parametrize("seed", range(40))
def test_words_are_words(seed: int) -> None:
    rng = np.random.default_rng(seed)
    line = text.lyric_line(rng)
    assert line
    assert not set("NVA") & set(line)
    said = text.sentence(rng)
    assert said[0].isupper()
    assert said[-1] in ".?!"
    assert not {"P", "L", "T", "W"} & {word.strip(".,!?") for word in said.split()}


def test_panning_keeps_the_power() -> None:
    mono = noise(1)[0]
    for position in (-1.0, -0.3, 0.0, 0.8):
        assert np.square(dsp.panned(mono, position)).sum() == pytest.approx(
            2 * np.square(mono).sum(), rel=1e-4
        )


@pytest.mark.thorough
def test_width_zero_is_mono_and_one_changes_nothing() -> None:
    audio = noise()
    assert dsp.narrowed(audio, 1.0) == pytest.approx(audio, abs=1e-7)
    mono = dsp.narrowed(audio, 0.0)
    assert (mono[0] == mono[1]).all()
    assert mono[0] == pytest.approx(audio.mean(axis=0), abs=1e-7)


def test_reverberation_keeps_the_length_and_adds_what_was_asked() -> None:
    audio = np.repeat(noise(1, 2.0), 2, axis=0)
    response = dsp.room(np.random.default_rng(1), 0.5, 6000)
    wet = dsp.reverberated(audio, response, -10.0) - audio
    assert wet.shape == audio.shape
    assert dsp.level(wet) - dsp.level(audio) == pytest.approx(-10.0, abs=1.5)


@pytest.mark.thorough
def test_compression_never_makes_louder_and_leaves_quiet_sound_alone() -> None:
    loud, soft = noise() * 5, noise() * np.float32(0.01)
    assert (np.abs(dsp.compressed(loud, -20.0, 4.0)) <= np.abs(loud) + 1e-6).all()
    assert dsp.level(dsp.compressed(loud, -20.0, 4.0)) < dsp.level(loud) - 3
    assert dsp.compressed(soft, -20.0, 4.0) == pytest.approx(soft)


@pytest.mark.parametrize("kind", ["low_shelf", "high_shelf", "peak"])
def test_filters_raise_their_band_by_what_was_asked(kind: str) -> None:
    hz = {"low_shelf": 20.0, "high_shelf": 20_000.0, "peak": 1000.0}[kind]
    time = np.arange(RATE) / RATE
    tone = np.sin(2 * np.pi * hz * time).astype(np.float32)[None]
    raised = dsp.filtered(tone, dsp.biquad(kind, 1000.0, 6.0))
    assert dsp.level(raised[:, RATE // 2 :]) - dsp.level(tone) == pytest.approx(6.0, abs=0.1)
    with pytest.raises(ValueError, match="expected low_shelf, high_shelf or peak"):
        dsp.biquad("notch", 100.0)


@pytest.mark.parametrize("seed", range(4))
def test_the_limiter_holds_its_ceiling(seed: int) -> None:
    mixture = noise(seed=seed) * np.linspace(0.1, 8, RATE, dtype=np.float32)
    curve = dsp.limiter(mixture, 0.5)
    assert curve.max() <= 1.0
    assert np.abs(mixture * curve).max() <= 0.5 + 1e-6


@pytest.mark.thorough
def test_mastering_gives_every_stem_the_same_gain_and_the_mixture_its_peak() -> None:
    stems = np.stack([noise(seed=seed) * (seed + 1) for seed in range(3)])
    done = dsp.mastered(stems, -3.0)
    largest = max(np.abs(done.sum(axis=0)).max(), np.abs(done).max())
    assert largest == pytest.approx(gain(-3.0), rel=1e-5)
    assert done[0] * stems[2] == pytest.approx(done[2] * stems[0], abs=1e-5)


@pytest.mark.parametrize(
    "make",
    one_in(3, [*effects.TEXTURES, *effects.EVENTS, *effects.HELD_OUT_TEXTURES, *effects.HELD_OUT_EVENTS]),
    ids=lambda make: make.__name__,
)
@pytest.mark.parametrize("seconds", one_in(2, [0.7, 2.0]))
def test_effects_sound_and_one_seed_is_one_sound(make: effects.Generator, seconds: float) -> None:
    first, again = (effects.rendered(np.random.default_rng(5), make, seconds) for _ in range(2))
    assert (first == again).all()
    assert first.shape == (round(seconds * RATE),)
    assert np.abs(first).max() == pytest.approx(1.0, abs=0.05)
    assert dsp.active_level(first[None]) > -45


def test_a_throat_of_the_same_length_changes_nothing_and_a_shorter_one_raises_formants() -> None:
    envelope = np.exp(-0.5 * ((np.arange(200) - 60) / 5.0) ** 2)[None] + 1e-9
    assert singing.warped(envelope, 1.0)[:, :-2] == pytest.approx(envelope[:, :-2])
    assert singing.warped(envelope, 1.5).argmax() == 90


@pytest.mark.parametrize("frames", [1, 10, 60, 400])
@pytest.mark.parametrize(("first", "last", "total"), [(0, 50, 51), (12, 40, 60), (30, 33, 50), (5, 5, 9)])
def test_stretching_moves_forward_through_the_word(frames: int, first: int, last: int, total: int) -> None:
    word = singing.SpokenWord(np.ones((total, 3)), np.ones((total, 3)), first, last)
    position, lead = singing.stretched(word, frames)
    assert position[0] == first - lead
    assert lead <= singing.LEAD_FRAMES
    assert (np.diff(position) >= 0).all()
    assert position.min() >= 0
    assert position.max() <= total - 1
    assert frames - singing.ONSET_FRAMES <= len(position) - lead <= max(frames, 14) + 30


def sung(*starts: float, seconds: float = 0.5, pitch: int = 60) -> tuple[SungNote, ...]:
    return tuple(SungNote(start, seconds, pitch + i, "la", False) for i, start in enumerate(starts))


def test_phrases_are_the_notes_cut_at_rests() -> None:
    notes = sung(0.0, 0.5, 1.6, 2.2, 4.0)
    cut = singing.phrases(notes)
    assert [len(phrase) for phrase in cut] == [2, 2, 1]
    assert sum(cut, ()) == notes


def test_the_pitch_stays_near_the_note_that_is_sung() -> None:
    notes = sung(0.2, 0.9, 1.6, seconds=0.6)
    curve = singing.pitch_curve(np.random.default_rng(0), notes, 500)
    for note in notes:
        middle = slice(round((note.start + 0.2) / 0.005), round((note.start + 0.5) / 0.005))
        assert np.abs(curve[middle] - note.pitch).max() < 1.2
        assert curve[middle].mean() == pytest.approx(note.pitch, abs=0.35)


def test_replaying_changes_length_and_pitch_and_never_clips() -> None:
    time = np.arange(RATE) / RATE
    tone = np.repeat((32_700 * np.sin(2 * np.pi * 441 * time)).astype(np.int16)[None], 2, axis=0)
    for factor in (bound for pair in VARIANTS.values() for bound in pair):
        made = replayed({"a": tone, "b": tone // 8}, factor)
        length = made["a"].shape[1]
        assert length == pytest.approx(RATE / factor, abs=2)
        spectrum = np.abs(np.fft.rfft(made["a"][0] * np.hanning(length)))
        assert spectrum.argmax() * RATE / length == pytest.approx(441 * factor, abs=2)
        assert np.abs(made["a"].astype(int) + made["b"]).max() <= 32_767


def test_a_song_is_of_frozen_parts() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        song(1).title = "x"  # type: ignore[misc]
