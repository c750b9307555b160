"""Reading a user's recordings: any rate, channels and format come out as stereo at 44.1 kHz."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from evaluator.datasets import recordings
from evaluator.datasets.mixing import RATE_HZ
from evaluator.datasets.recordings import RecordingError

needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None, reason="ffmpeg is not installed"
)


def write_sine(path: Path, rate: int, seconds: float = 1.0, channels: int = 1, hz: float = 1000.0) -> Path:
    time = np.arange(round(seconds * rate)) / rate
    sine = 0.4 * np.sin(2 * np.pi * hz * time)
    soundfile.write(path, np.repeat(sine[:, None], channels, axis=1), rate)
    return path


def strongest_hz(audio: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> float:
    spectrum = np.abs(np.fft.rfft(audio[0] * np.hanning(audio.shape[1])))
    return float(spectrum.argmax() * RATE_HZ / audio.shape[1])


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_every_rate_and_format_keeps_pitch_and_length(tmp_path: Path, rate: int, suffix: str) -> None:
    recording = recordings.probe(write_sine(tmp_path / f"a{suffix}", rate))
    audio = recordings.read(recording, 0.2, 0.5)
    assert recording.seconds == 1.0
    assert audio.shape == (2, round(0.5 * RATE_HZ))
    assert strongest_hz(audio) == pytest.approx(1000.0, abs=3)
    assert (audio[0] == audio[1]).all()


def test_an_excerpt_is_what_is_there_and_ends_where_the_file_ends(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-9000, 9000, (RATE_HZ, 2)).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, RATE_HZ, subtype="PCM_16")
    recording = recordings.probe(tmp_path / "a.wav")
    audio = recordings.read(recording, 0.5, 2.0)
    assert (samples[RATE_HZ // 2 :] == audio.T * 32768).all()
    assert recordings.read(recording, 7.0, 1.0).shape == (2, 0)


def test_the_centre_of_surround_sound_goes_to_both_sides_and_low_effects_are_left_out(tmp_path: Path) -> None:
    surround = np.zeros((RATE_HZ // 10, 6))
    surround[:, 2] = 0.5
    surround[:, 3] = 0.9
    soundfile.write(tmp_path / "a.wav", surround, RATE_HZ, subtype="FLOAT")
    audio = recordings.read(recordings.probe(tmp_path / "a.wav"), 0, 0.1)
    assert audio == pytest.approx(0.5 * 10 ** (-3.01 / 20), abs=1e-3)


def test_files_are_found_in_order_without_hidden_ones_and_other_kinds(tmp_path: Path) -> None:
    for name in ("b.WAV", "a/c.mp3", ".hidden/d.wav", "notes.txt", "a/.e.wav"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert recordings.find(tmp_path) == [tmp_path / "a/c.mp3", tmp_path / "b.WAV"]


def test_an_odd_number_of_channels_is_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((100, 5)), RATE_HZ)
    with pytest.raises(RecordingError, match="5 channels, expected 1, 2 or 6"):
        recordings.probe(tmp_path / "a.wav")


def test_samples_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full((100, 1), np.nan), RATE_HZ, subtype="FLOAT")
    with pytest.raises(RecordingError, match=r"a\.wav: holds NaN"):
        recordings.probe(tmp_path / "a.wav")


def test_what_nobody_reads_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_text("not audio")
    with pytest.raises(RecordingError, match=r"a\.wav: no recording"):
        recordings.probe(path)


@needs_ffmpeg
def test_formats_that_libsndfile_does_not_know(tmp_path: Path) -> None:
    source = write_sine(tmp_path / "a.wav", 48000, 2.0)
    coded = tmp_path / "a.m4a"
    subprocess.run(["ffmpeg", "-v", "error", "-i", source, coded], check=True)
    recording = recordings.probe(coded)
    audio = recordings.read(recording, 0.5, 1.0)
    assert recording.seconds == pytest.approx(2.0, abs=0.03)
    assert audio.shape == (2, RATE_HZ)
    assert strongest_hz(audio) == pytest.approx(1000.0, abs=2)
