"""Formats of stems: lengths to the sample, sound in its place, bit rates."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from my_submission.files.errors import OutputFailed
from my_submission.files.formats import FORMATS, Encoding
from my_submission.files.sinks import open_sink
from my_submission.signal.resampling import resampled_length
from sdx.decoding import Reading, probe
from tests.thinned import one_in

Array = Any
LOSSY = [name for name, form in FORMATS.items() if form.kbps]


def noise(samples: int, channels: int = 2) -> Array:
    return np.random.default_rng(samples).uniform(-0.4, 0.4, (channels, samples)).astype(np.float32)


def write(path: Path, encoding: Encoding, rate: int, signal: Array) -> Path:
    path.touch()
    channels, samples = signal.shape
    sink = open_sink(path, encoding, rate, channels, samples)
    for start in range(0, samples, 7_001):
        sink.write(torch.from_numpy(signal[:, start : start + 7_001]))
    sink.close()
    found, expected = sink.length()
    assert found == expected
    return path


def decoded(path: Path) -> tuple[Array, int]:
    sound = probe(path)
    reading = Reading(sound)
    samples = np.concatenate(list(reading.blocks())).T
    assert not reading.warnings
    assert not reading.facts
    return samples, sound.sample_rate


@pytest.mark.parametrize("samples", one_in(2, [30_011, 1_024, 100, 1_000]))
@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (48_000, 1), (22_050, 2)])
@pytest.mark.parametrize("format", list(FORMATS))
def test_every_format_keeps_the_length_to_the_sample(
    tmp_path: Path, format: str, rate: int, channels: int, samples: int
) -> None:
    path = write(tmp_path / f"a.{format}", Encoding(format), rate, noise(samples, channels))
    found, found_rate = decoded(path)
    assert found_rate == (48_000 if format == "opus" else rate)
    assert found.shape == (channels, resampled_length(samples, rate, found_rate))


@pytest.mark.parametrize("format", list(FORMATS))
def test_every_format_keeps_sound_in_its_place(tmp_path: Path, format: str) -> None:
    """The signal that comes back is most like the one that was written without any delay."""
    signal = noise(48_000)
    found, _ = decoded(write(tmp_path / f"a.{format}", Encoding(format), 48_000, signal))
    spectra = np.fft.rfft(found[0], 2**17), np.fft.rfft(signal[0], 2**17)
    assert int(np.argmax(np.fft.irfft(spectra[0] * spectra[1].conj()))) == 0


@pytest.mark.parametrize("format", LOSSY)
@pytest.mark.parametrize("kbps", one_in(2, [192, 96]))
def test_a_bit_rate_is_of_the_whole_file(tmp_path: Path, format: str, kbps: int) -> None:
    seconds, rate = 2, 44_100
    signal = noise(seconds * rate)
    path = write(tmp_path / f"a.{format}", Encoding(format, bitrate=kbps), rate, signal)
    found = path.stat().st_size * 8 / seconds / 1000
    assert 0.85 * kbps < found < 1.4 * kbps  # noise takes Vorbis more than its nominal rate
    samples, found_rate = decoded(path)
    assert samples.shape[-1] == resampled_length(seconds * rate, rate, found_rate)


@pytest.mark.parametrize(
    ("rate", "kbps"), [(44_100, 64), (44_100, 320), (24_000, 64), (12_000, 32), (8_000, 64)]
)
def test_mp3_knows_its_length_at_every_bit_rate_that_is_allowed(tmp_path: Path, rate: int, kbps: int) -> None:
    encoding, signal = Encoding("mp3", bitrate=kbps), noise(20_011)
    encoding.check_form(rate, 2)
    path = write(tmp_path / "a.mp3", encoding, rate, signal)
    assert decoded(path)[0].shape == signal.shape
    assert path.stat().st_size * 8 / (20_011 / rate) / 1000 == pytest.approx(kbps, rel=0.35)


@pytest.mark.parametrize(
    ("format", "kbps", "message"),
    [
        ("wav", 320, "wav has none, it is lossless; formats that have one: mp3, ogg, opus, m4a"),
        ("mp3", 321, "expected 32 to 320 kbit/s for mp3, found 321"),
        ("opus", 5, "expected 6 to 510 kbit/s"),
        ("ogg", 501, "expected 32 to 500"),
        ("m4a", 0, "expected 16 to 512"),
    ],
)
def test_wrong_bit_rates_are_refused(format: str, kbps: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Encoding(format, bitrate=kbps)


@pytest.mark.parametrize(
    ("format", "kbps", "rate", "channels", "message"),
    [
        ("mp3", 300, 44_100, 2, "one of 64, .* 256, 320 for mp3 at 44100 Hz in stereo, found 300 kbit/s"),
        ("mp3", 320, 22_050, 2, "one of 64, .*, 160 for mp3 at 22050 Hz"),
        ("m4a", 320, 44_100, 1, "at most 264 for m4a at 44100 Hz in mono"),
        ("opus", 300, 44_100, 1, "at most 256 for opus"),
        ("ogg", 192, 96_000, 2, "leave --bitrate out"),
        ("m4a", None, 44_100, 3, "m4a allows at most 2 channels"),
        ("m4a", None, 37_800, 2, "m4a does not support 37800 Hz"),
    ],
)
def test_what_a_recordings_form_does_not_allow_is_said(
    format: str, kbps: int | None, rate: int, channels: int, message: str
) -> None:
    with pytest.raises(OutputFailed, match=message):
        Encoding(format, bitrate=kbps).check_form(rate, channels)
