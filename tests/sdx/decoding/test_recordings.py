"""Whole files: three that went wrong, and what PyAV writes of the same kinds."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from mutagen.mp4 import MP4, MP4FreeForm

from sdx.decoding import Reading, Sound, Undecodable, probe
from sdx.decoding.fold import fold_matrix

CASES = Path(__file__).with_name("cases")
RATE, FRAME = 48_000, 960
Array = Any


def read(sound: Sound, *, fold: bool = False) -> tuple[Array, Reading]:
    reading = Reading(sound, fold=fold)
    return np.concatenate(list(reading.blocks())), reading


def write_film(path: Path, *sounds: tuple[Array, Sequence[int]], picture: bool = True) -> Path:
    """A film, or only its sound: each stream is (samples, channels) float32 in frames of 20 ms, left out as listed.

    A frame's number is its time. Streams are PCM in Matroska, so that all of it can be compared exactly.
    """
    with av.open(str(path), "w", format="matroska") as file:
        video = file.add_stream("mpeg4", rate=25, width=16, height=16) if picture else None
        streams = [
            file.add_stream("pcm_f32le", rate=RATE, layout={1: "mono", 2: "stereo", 6: "5.1"}[audio.shape[1]])
            for audio, _ in sounds
        ]
        for number in range(25 if video is not None else 0):
            image = av.VideoFrame(16, 16, "yuv420p")
            image.pts, image.time_base = number, Fraction(1, 25)
            file.mux(video.encode(image))  # type: ignore[union-attr]
        for stream, (audio, left_out) in zip(streams, sounds, strict=True):
            for number in range(len(audio) // FRAME):
                if number in left_out:
                    continue
                piece = audio[number * FRAME : (number + 1) * FRAME].reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), "flt", stream.layout.name)
                frame.sample_rate, frame.pts, frame.time_base = RATE, number * FRAME, Fraction(1, RATE)
                file.mux(stream.encode(frame))
        for stream in streams:
            file.mux(stream.encode(None))
        if video is not None:
            file.mux(video.encode(None))
    return path


def noise(channels: int = 2, seed: int = 0, seconds: float = 0.8) -> Array:
    return np.random.default_rng(seed).uniform(-1, 1, (round(seconds * RATE), channels)).astype(np.float32)


def test_an_mp3_whose_length_is_an_estimate_is_decoded_to_its_end() -> None:
    found, reading = read(probe(CASES / "vbr_no_header.mp3"))
    assert found.shape == (133_632, 2)
    assert found[-50_000:].any()
    assert not reading.warnings
    assert not reading.facts


def test_a_film_whose_sound_starts_late_keeps_its_clock() -> None:
    found, reading = read(probe(CASES / "audio_starts_at_0.8s.mkv"))
    assert len(found) == 57_818
    assert not found[:34_266].any()
    assert found[34_266:].any()
    assert reading.facts == ["its sound starts at 0.777 s, with silence before it"]


def test_the_default_stream_is_read_and_another_on_demand() -> None:
    path = CASES / "two_audio_streams.mkv"
    sound = probe(path)
    assert (sound.stream, sound.channels, sound.sample_rate) == (2, 2, 44_100)
    assert sound.chosen.startswith("stream 2 (stereo, 44100 Hz, ac3, eng, default) of: 1 (mono, 48000 Hz")
    assert len(read(sound)[0]) == 133_632
    assert (probe(path, "1").channels, probe(path, "1").sample_rate) == (1, 48_000)
    with pytest.raises(Undecodable, match="expected a stream '3', found none of that name; there is: 1"):
        probe(path, "3")


@pytest.mark.parametrize("left_out", [[], [0, 1, 2], [5], [0, 10, 11, 12, 20]])
def test_where_there_is_no_sound_there_is_silence(tmp_path: Path, left_out: list[int]) -> None:
    truth = noise()
    found, reading = read(probe(write_film(tmp_path / "film.mkv", (truth, left_out))))
    for number in left_out:
        truth[number * FRAME : (number + 1) * FRAME] = 0
    assert np.array_equal(found, truth)
    assert bool(reading.facts) == bool(left_out)
    assert not reading.warnings


def test_without_a_picture_sound_starts_where_it_starts(tmp_path: Path) -> None:
    truth = noise()
    found, _ = read(probe(write_film(tmp_path / "a.mka", (truth, [0, 1]), picture=False)))
    assert np.array_equal(found, truth[2 * FRAME :])


def test_the_most_channels_are_read_and_folded(tmp_path: Path) -> None:
    stereo, surround = noise(2), noise(6, seed=1)
    sound = probe(write_film(tmp_path / "film.mkv", (stereo, []), (surround, [])))
    assert sound.stream == 2
    folded, _ = read(sound, fold=True)
    assert np.allclose(folded, surround @ fold_matrix(sound.places, 6), atol=1e-6)


def test_a_film_that_was_cut_off_says_so(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mkv", (noise(), []))
    film.write_bytes(film.read_bytes()[:-60_000])
    found, reading = read(probe(film))
    assert np.array_equal(found, noise()[: len(found)])
    assert len(found) > RATE // 4
    assert any("only" in warning and "are there" in warning for warning in reading.warnings)


def test_what_is_joined_is_all_there(tmp_path: Path) -> None:
    """Two files in one, as `cat` makes them, are as long as both."""
    one, both = tmp_path / "one", tmp_path / "both"
    soundfile.write(one, 0.3 * noise(seconds=1), 44_100, format="MP3")
    both.write_bytes(one.read_bytes() * 2)
    (alone, _), (found, reading) = read(probe(one)), read(probe(both))
    assert 2 * len(alone) <= len(found) < 2 * len(alone) + 4 * 1152
    assert not reading.warnings


def test_what_changes_its_rate_is_as_long_as_its_frames(tmp_path: Path) -> None:
    path, tone = tmp_path / "a.mp3", 0.3 * np.sin(np.arange(24_000) / 7, dtype=np.float32)
    for rate in (48_000, 24_000, 32_000):
        soundfile.write(tmp_path / "one.mp3", tone, rate)
        with path.open("ab") as file:
            file.write((tmp_path / "one.mp3").read_bytes())
    with av.open(str(path)) as container:
        seconds = sum(Fraction(frame.samples, frame.sample_rate) for frame in container.decode(audio=0))
    sound = probe(path)
    found, _ = read(sound)
    assert len(found) == pytest.approx(float(seconds * sound.sample_rate), abs=3)  # one for each rounding


@pytest.mark.parametrize("samples", [1, 500, 8_000, 44_100])
@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_ogg_vorbis_of_any_length_is_exact_alone_and_joined(tmp_path: Path, rate: int, samples: int) -> None:
    """A steady tone takes one page in seconds, where libav loses 128 samples or finds up to a block too many."""
    tone = 0.3 * np.sin(np.arange(samples) / 7, dtype=np.float32)
    one, joined = tmp_path / "one.ogg", tmp_path / "joined.ogg"
    soundfile.write(one, tone, rate, format="OGG", subtype="VORBIS")
    joined.write_bytes(one.read_bytes() * 3)
    truth = soundfile.read(one, dtype="float32", always_2d=True)[0]
    assert len(truth) == samples
    for path, times in ((one, 1), (joined, 3)):
        found, reading = read(probe(path))
        assert found.shape == (times * samples, 1)
        assert np.allclose(found, np.tile(truth, (times, 1)), atol=1e-4)
        assert not reading.warnings
        assert times > 1 or not reading.facts  # where files were joined, the clock starts anew


@pytest.mark.parametrize("seed", range(6))
def test_ogg_vorbis_with_blocks_of_both_lengths_has_no_gaps(tmp_path: Path, seed: int) -> None:
    """Attacks make Vorbis change between long and short blocks, and libav takes one for the other."""
    samples = 30_000 + 1_111 * seed
    signal = noise(seed=seed, seconds=1)[:samples] * np.abs(np.sin(np.arange(samples) / 3000))[:, None] ** 8
    soundfile.write(tmp_path / "a.ogg", signal, RATE, format="OGG", subtype="VORBIS")
    found, reading = read(probe(tmp_path / "a.ogg"))
    truth = soundfile.read(tmp_path / "a.ogg", dtype="float32")[0]
    assert found.shape == truth.shape
    assert np.allclose(found, truth, atol=1e-4)
    assert not reading.facts


@pytest.mark.parametrize("samples", [1, 1_023, 1_024, 30_001])
@pytest.mark.parametrize("says", ["its table of times", "a tag"])
def test_aac_in_mp4_ends_where_the_file_says(tmp_path: Path, samples: int, says: str) -> None:
    path, signal = tmp_path / "a.m4a", 0.3 * noise()[:samples]
    with av.open(str(path), "w", format="ipod", options={"movie_timescale": str(RATE)}) as file:
        stream = file.add_stream("aac", rate=RATE, layout="stereo")
        for start in range(0, samples, 1024):
            piece = signal[start : start + 1024]
            if says == "a tag":  # an encoder that counts whole packets in its table
                piece = np.pad(piece, ((0, 1024 - len(piece)), (0, 0)))
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece.T), "fltp", "stereo")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    if says == "a tag":
        tags = MP4(path)
        gapless = f" 00000000 00000400 {-samples % 1024:08X} {samples:016X}"
        tags["----:com.apple.iTunes:iTunSMPB"] = [MP4FreeForm(gapless.encode())]
        tags.save()
    found, reading = read(probe(path))
    assert found.shape == signal.shape
    assert not reading.warnings


DTS_HEADER = bytes.fromhex("7ffe8001fc3c3ff0b5e001380003ef7f")  # of a frame of 1,024 bytes


@pytest.mark.parametrize("silence_bytes", [0, 40_000])
def test_a_wav_of_dts_is_not_taken_for_its_samples(tmp_path: Path, silence_bytes: int) -> None:
    """Which would be noise. Little of a WAV is looked at; these frames hold nothing, and their decoder says so."""
    frames = np.frombuffer((DTS_HEADER + bytes(1_008)) * 20, ">i2").astype(np.int16)
    samples = np.concatenate([np.zeros(silence_bytes // 2, np.int16), frames])
    soundfile.write(tmp_path / "a.wav", samples.reshape(-1, 2), RATE, subtype="PCM_16")
    with pytest.raises(Undecodable, match="it holds no audio samples.*dca"):
        probe(tmp_path / "a.wav")


def test_damage_is_no_end_and_is_said(tmp_path: Path) -> None:
    path, truth = tmp_path / "a.flac", (noise(seconds=2) * 9_000).astype(np.int16)
    soundfile.write(path, truth, RATE)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 20_000] = bytes(20_000)
    path.write_bytes(data)
    found, reading = read(probe(path))
    assert len(found) == len(truth)
    assert (found[-RATE // 2 :] * 2**15 == truth[-RATE // 2 :]).all()
    assert reading.warnings


@pytest.mark.parametrize("channels", range(3, 10))
def test_no_channel_without_a_place_is_lost_but_for_low_effects(channels: int) -> None:
    weights = fold_matrix((), channels)
    assert weights.shape == (channels, 2)
    assert (weights.any(axis=1).sum()) >= channels - (channels in (6, 7, 8))
    assert np.allclose(weights.sum(axis=0)[0], weights.sum(axis=0)[1])
