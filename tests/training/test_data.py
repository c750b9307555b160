"""Training examples: reproducible, of the right shape, and sums of their stems."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from training.config import AugmentationSettings, ConfigError, DataSettings, parse_config
from training.data import OCTAVES_HZ, Examples, draw_stems, find_tracks

PLAIN: dict[str, Any] = {
    "remix_share": 0.0,
    "gain_db": (0.0, 0.0),
    "drop_share": 0.0,
    "swap_channels": False,
    "flip_polarity": False,
}
MUSIC = {stem: stem for stem in ("drums", "bass", "other", "vocals")}


def examples(document: dict[str, Any], process: int = 0) -> Examples:
    config = parse_config(document)
    return Examples(
        data=config.data,
        tracks=tuple(tuple(find_tracks(data, data.train)) for data in config.data),
        sources=config.model.sources,
        augmentation=config.augmentation,
        samples=config.model.example_samples,
        batch=config.optimisation.batch,
        seed=config.seed,
        process=process,
    )


def test_a_batch_depends_on_seed_process_and_step_alone(documents: dict[str, dict[str, Any]]) -> None:
    first, second = examples(documents["mdx_net"]), examples(documents["mdx_net"])
    _ = first[0]
    assert torch.equal(first[7][0], second[7][0])
    assert not torch.equal(first[7][0], first[8][0])
    assert not torch.equal(first[7][0], examples(documents["mdx_net"], process=1)[7][0])


def test_the_mixture_is_the_sum_of_the_sources(documents: dict[str, dict[str, Any]]) -> None:
    mixtures, references = examples(documents["htdemucs"])[0]
    assert references.shape == (2, 4, 2, 11_025)
    torch.testing.assert_close(mixtures, references.sum(1))


def test_without_augmentation_the_stems_of_one_track_come_back(data_root: Path) -> None:
    tracks = find_tracks(
        DataSettings(root=data_root / "music", train="train", valid="valid", stems=MUSIC), "train"
    )
    plain = AugmentationSettings(**PLAIN)
    stems = draw_stems(tracks, plain, tracks[0].samples, np.random.default_rng(1))
    track = next(t for t in tracks if np.array_equal(t.read("bass", 0, t.samples), stems["bass"]))
    for stem, signal in stems.items():
        np.testing.assert_array_equal(signal, track.read(stem, 0, track.samples))


def test_dropped_stems_are_silent_and_gain_is_in_decibels(data_root: Path) -> None:
    tracks = find_tracks(
        DataSettings(root=data_root / "music", train="train", valid="valid", stems=MUSIC), "train"
    )[:1]
    silent = AugmentationSettings(drop_share=1.0)
    for signal in draw_stems(tracks, silent, 1_000, np.random.default_rng(1)).values():
        assert not signal.any()
    louder = AugmentationSettings(**{**PLAIN, "gain_db": (6.0, 6.0), "level_db": (-26.0, -26.0)})
    stems = draw_stems(tracks, louder, tracks[0].samples, np.random.default_rng(1))
    np.testing.assert_allclose(stems["bass"], 0.1 * tracks[0].read("bass", 0, tracks[0].samples), rtol=1e-6)


def test_mono_files_are_in_both_channels_and_ends_are_padded(data_root: Path) -> None:
    data = DataSettings(root=data_root / "cinematic", train="tr", valid="cv", stems={"dialog": "speech"})
    track = find_tracks(data, "tr")[0]
    signal = track.read("dialog", track.samples - 10, 30)
    assert signal.shape == (2, 30)
    np.testing.assert_array_equal(signal[0], signal[1])
    assert signal[:, :10].any()
    assert not signal[:, 10:].any()


def test_speed_changes_the_pitch_by_that_factor(tmp_path: Path) -> None:
    folder = tmp_path / "train" / "001"
    folder.mkdir(parents=True)
    sine = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(88_200) / 44_100)
    soundfile.write(folder / "tone.wav", sine, 44_100, subtype="FLOAT")
    tracks = find_tracks(
        DataSettings(root=tmp_path, train="train", valid="train", stems={"vocals": "tone"}), "train"
    )
    settings = AugmentationSettings(**{**PLAIN, "speed": 0.1})
    for seed in range(5):
        signal = draw_stems(tracks, settings, 44_100, np.random.default_rng(seed))["vocals"]
        assert signal.shape == (2, 44_100)
        peak = np.abs(np.fft.rfft(signal[0] * np.hanning(44_100))).argmax()
        assert 895 <= peak <= 1105


def test_tone_changes_an_octave_by_no_more_than_asked_and_each_stem_apart(tmp_path: Path) -> None:
    stems = {stem: stem for stem in ("bass", "other")}
    silence = 11_025
    (tmp_path / "train" / "001").mkdir(parents=True)
    for seed, stem in enumerate(stems):
        noise = 0.1 * np.random.default_rng(seed).standard_normal((44_100, 2))
        noise[:silence] = noise[-silence:] = 0  # so that nothing of the tone is cut off
        soundfile.write(tmp_path / "train" / "001" / f"{stem}.wav", noise, 44_100, subtype="FLOAT")
    tracks = find_tracks(DataSettings(root=tmp_path, train="train", valid="train", stems=stems), "train")
    settings = AugmentationSettings(**{**PLAIN, "tone_db": 6.0})
    toned = draw_stems(tracks, settings, 44_100, np.random.default_rng(0))
    drawn = []
    for stem in stems:
        plain = np.fft.rfft(tracks[0].read(stem, 0, 44_100))
        gain_db = 20 * np.log10(np.abs(np.fft.rfft(toned[stem]) / plain))[:, 30:20_000]  # one bin a hertz
        np.testing.assert_allclose(gain_db[0], gain_db[1], atol=0.2)
        assert np.abs(gain_db).max() < 6.2
        drawn.append(gain_db[0, OCTAVES_HZ.round().astype(int) - 30])
        halfway = round(1000 * 2**0.5) - 30  # between the fifth and the sixth
        assert gain_db[0, halfway] == pytest.approx(np.mean(drawn[-1][4:6]), abs=0.3)
    assert np.ptp(drawn, axis=1).min() > 3
    assert np.abs(drawn[0] - drawn[1]).max() > 3


def test_what_ends_an_excerpt_does_not_ring_at_its_start(tmp_path: Path) -> None:
    (tmp_path / "train" / "001").mkdir(parents=True)
    late = np.zeros(44_100)
    late[-200:] = 0.5 * np.sin(2 * np.pi * 80 * np.arange(200) / 44_100)
    soundfile.write(tmp_path / "train" / "001" / "bass.wav", late, 44_100, subtype="FLOAT")
    tracks = find_tracks(
        DataSettings(root=tmp_path, train="train", valid="train", stems={"bass": "bass"}), "train"
    )
    settings = AugmentationSettings(**{**PLAIN, "tone_db": 12.0})
    toned = draw_stems(tracks, settings, 44_100, np.random.default_rng(0))["bass"]
    assert np.abs(toned[:, :20_000]).max() < 1e-3 * np.abs(toned).max()


def test_what_is_missing_or_of_another_rate_is_named(data_root: Path, tmp_path: Path) -> None:
    music = data_root / "music"
    with pytest.raises(ConfigError, match=r"guitar\.wav: no such file"):
        find_tracks(
            DataSettings(root=music, train="train", valid="valid", stems={"guitar": "guitar"}), "train"
        )
    with pytest.raises(ConfigError, match="test: no such folder"):
        find_tracks(DataSettings(root=music, train="test", valid="valid", stems=MUSIC), "test")
    (tmp_path / "train" / "001").mkdir(parents=True)
    soundfile.write(tmp_path / "train" / "001" / "bass.wav", np.zeros(100), 22_050)
    with pytest.raises(ConfigError, match=r"bass\.wav: expected 44100 Hz.*found 22050 Hz"):
        find_tracks(
            DataSettings(root=tmp_path, train="train", valid="train", stems={"bass": "bass"}), "train"
        )
    (tmp_path / "train" / "001" / "bass.wav").write_text("no audio")
    with pytest.raises(ConfigError, match=r"bass\.wav: cannot be read as audio: "):
        find_tracks(
            DataSettings(root=tmp_path, train="train", valid="train", stems={"bass": "bass"}), "train"
        )


def test_mixtures_come_at_the_level_asked_for(data_root: Path) -> None:
    tracks = find_tracks(
        DataSettings(root=data_root / "music", train="train", valid="valid", stems=MUSIC), "train"
    )
    settings = AugmentationSettings(mixture_dbfs=(-20.0, -20.0), drop_share=0.0)
    stems = draw_stems(tracks, settings, 5_000, np.random.default_rng(1))
    assert np.sqrt(np.mean(np.square(sum(stems.values())))) == pytest.approx(0.1, rel=1e-4)
    silent = AugmentationSettings(mixture_dbfs=(-20.0, -20.0), drop_share=1.0)
    assert not any(
        signal.any() for signal in draw_stems(tracks, silent, 500, np.random.default_rng(1)).values()
    )
