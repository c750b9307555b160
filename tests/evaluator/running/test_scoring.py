"""Scores from files: floored to 16 bits, clipped, read in blocks, silent; and their means."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from evaluator.measures import log_wmse, means, published
from evaluator.measures.catalogue import MEASURES
from evaluator.measures.sdr import sdr, si_sdr
from evaluator.running import dataset, parts, scoring
from evaluator.running.dataset import Track
from evaluator.running.estimates import InvalidOutputError
from tests.evaluator import audio

pytestmark = pytest.mark.quick

SILENT = np.zeros((30000, 2))


def track_of(folder: Path, stems: dict[str, NDArray[np.float64]]) -> Track:
    """A music track of these stems; those not given are noise."""
    length = len(next(iter(stems.values())))
    files = {
        stem: stems.get(stem, audio.noise(length, seed=index))
        for index, stem in enumerate(("bass", "drums", "other", "vocals"))
    }
    audio.write_track(folder / "track", {**files, "mixture": sum(files.values(), np.zeros((length, 2)))})
    (track,) = dataset.load(folder).tracks
    return track


def write_estimates(folder: Path, track: Track, **changed: NDArray[np.float64]) -> Path:
    """Estimates equal to the references but for the stems given, written as the wrapper writes them."""
    folder.mkdir()
    for stem, path in track.references.items():
        array = changed[stem] if stem in changed else soundfile.read(path)[0]
        soundfile.write(folder / f"{stem}.wav", data=array, samplerate=track.rate_hz)
    return folder


@pytest.mark.parametrize("frames", [1, parts.BLOCK_FRAMES - 1, parts.BLOCK_FRAMES, 70001])
def test_the_score_of_files_is_that_of_their_arrays(tmp_path: Path, frames: int) -> None:
    reference, estimate = audio.noise(frames, seed=7), audio.noise(frames, seed=8)
    track = track_of(tmp_path / "data", {"bass": reference})
    folder = write_estimates(tmp_path / "estimates", track, bass=estimate)
    scores = scoring.score_track(track, folder, ["sdr", "si_sdr"])
    assert scores["sdr"]["bass"] == pytest.approx(sdr(reference, estimate), abs=1e-4)
    assert scores["si_sdr"]["bass"] == pytest.approx(si_sdr(reference, estimate), abs=1e-4)


def test_estimates_are_scored_after_clipping(tmp_path: Path) -> None:
    reference = audio.noise(30000, level=0.2)
    estimate = reference * 4
    track = track_of(tmp_path / "data", {"bass": reference})
    folder = write_estimates(tmp_path / "estimates", track, bass=estimate)
    got = scoring.score_track(track, folder, ["sdr"])["sdr"]["bass"]
    clipped = np.clip(np.round(estimate * 32768), -32768, 32767) / 32768
    assert got == pytest.approx(sdr(reference, clipped), abs=1e-3)
    assert got is not None
    assert got > sdr(reference, estimate) + 1  # here, clipping takes error away


@pytest.mark.parametrize(("offset", "written"), [(0.0, 0), (0.2, 0), (0.99, 0), (-0.2, -1), (-0.99, -1)])
def test_estimates_are_scored_after_libsndfile_has_floored_them_to_16_bits(
    tmp_path: Path, offset: float, written: int
) -> None:
    reference = audio.noise(30000)
    track = track_of(tmp_path / "data", {"bass": reference})
    folder = write_estimates(tmp_path / "estimates", track, bass=reference + offset / 32768)
    scores = scoring.score_track(track, folder, ["sdr"])["sdr"]
    assert scores["bass"] == pytest.approx(sdr(reference, reference + written / 32768), abs=1e-6)


def test_a_mono_reference_stands_for_both_channels(tmp_path: Path) -> None:
    (track,) = dataset.load(audio.write_dnr(tmp_path / "data")).tracks
    assert (track.reference_channels, track.estimate_channels) == (1, 2)
    folder = tmp_path / "estimates"
    folder.mkdir()
    for stem, path in track.references.items():
        mono, _ = soundfile.read(path)
        soundfile.write(folder / f"{stem}.wav", np.stack([mono, 0 * mono], axis=1), track.rate_hz)
    assert scoring.score_track(track, folder, ["sdr"])["sdr"]["dialog"] == pytest.approx(
        10 * np.log10(2), abs=1e-4
    )


def test_nan_in_a_float_file_is_invalid_output(tmp_path: Path) -> None:
    track = track_of(tmp_path / "data", {"bass": audio.noise(30000)})
    folder = write_estimates(tmp_path / "estimates", track)
    broken = audio.noise(30000)
    broken[-1, 0] = np.nan
    soundfile.write(folder / "bass.wav", broken, track.rate_hz, subtype="FLOAT")
    with pytest.raises(InvalidOutputError, match="bass: NaN or infinite samples"):
        scoring.score_track(track, folder, ["sdr"])


def test_an_estimate_that_ends_early_is_invalid_output(tmp_path: Path) -> None:
    track = track_of(tmp_path / "data", {"bass": audio.noise(30000)})
    folder = write_estimates(tmp_path / "estimates", track, drums=audio.noise(29999))
    with pytest.raises(InvalidOutputError, match="drums: unreadable after sample 0|drums: unreadable after"):
        scoring.score_track(track, folder, ["sdr"])


def test_silent_references_have_finite_scores(tmp_path: Path) -> None:
    track = track_of(tmp_path / "data", {"vocals": SILENT})
    folder = write_estimates(tmp_path / "estimates", track)
    scores = scoring.score_track(track, folder, ["sdr", "si_sdr"])
    assert scores["sdr"]["vocals"] == scores["si_sdr"]["vocals"] == 0


def test_bss_eval_leaves_out_silent_stems(tmp_path: Path) -> None:
    reference, error = audio.noise(30000, seed=1), audio.noise(30000, seed=2, level=0.005)
    silent = {"vocals": SILENT, "other": SILENT, "drums": SILENT}
    track = replace(track_of(tmp_path / "data", {"bass": reference, **silent}), rate_hz=10000)
    folder = write_estimates(tmp_path / "estimates", track, bass=reference + error)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = scoring.bss_eval(track, folder, ["bss_eval_sdr"])["bss_eval_sdr"]
    assert scores == {"bass": pytest.approx(20, abs=0.5), "drums": None, "other": None, "vocals": None}


def test_bss_eval_of_silence_alone_is_not_defined(tmp_path: Path) -> None:
    track = track_of(tmp_path / "data", dict.fromkeys(("bass", "drums", "other", "vocals"), SILENT))
    folder = write_estimates(tmp_path / "estimates", track)
    for scores in scoring.bss_eval(track, folder, [*scoring.BSS_EVAL]).values():
        assert set(scores.values()) == {None}


def published_scores(*signals: NDArray[np.float64]) -> dict[str, float | None]:
    """Of a reference and an estimate, (samples, channels), beside a mixture."""
    s, s_hat, x = (each.T.astype(np.float32) for each in signals)
    return published.scores(
        published.NAMES, lambda: iter([np.stack([s, s_hat])]), lambda: log_wmse.weighted_rms([x])
    )


@pytest.mark.thorough
def test_costly_measures_of_files_are_those_of_their_arrays(tmp_path: Path) -> None:
    reference, estimate = audio.noise(40000, seed=7), audio.noise(40000, seed=8)
    track = track_of(tmp_path / "data", {"bass": reference})
    folder = write_estimates(tmp_path / "estimates", track, bass=estimate)
    names = [name for name in scoring.costly([*MEASURES]) if name not in scoring.BSS_EVAL]
    found = scoring.costly_scores(track, folder, names)
    mixture, _ = soundfile.read(track.mixtures[0])
    expected = published_scores(reference, estimate, mixture)
    assert {name: found[name]["bass"] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert {name: found[name]["drums"] for name in expected} == {
        name: pytest.approx(log_wmse.HIGHEST if name == "log_wmse" else 100) for name in expected
    }
    assert set(found) == set(names) == set(expected)


@pytest.mark.thorough
def test_costly_measures_depend_on_the_samples_and_not_on_their_rate(tmp_path: Path) -> None:
    names = [name for name in scoring.costly([*MEASURES]) if name not in scoring.BSS_EVAL]
    found = []
    for rate in (44100, 48000, 8000):
        track = track_of(tmp_path / f"{rate}", {"bass": audio.noise(20000, seed=1)})
        folder = write_estimates(tmp_path / f"{rate}-estimates", track, bass=audio.noise(20000, seed=2))
        for path in (*track.mixtures, *track.references.values(), *folder.iterdir()):
            soundfile.write(path, soundfile.read(path)[0], rate)
        found.append(scoring.costly_scores(replace(track, rate_hz=rate), folder, names))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("channels", [1, 2])
def test_a_mixture_in_two_files_is_one_of_two_channels(tmp_path: Path, channels: int) -> None:
    (track,) = dataset.load(audio.write_cinematic(tmp_path / "data", ("one",))).tracks
    left, right = (soundfile.read(path)[0] for path in track.mixtures)
    estimates = tmp_path / "estimates"
    estimates.mkdir()
    estimate = audio.noise(20000, channels=channels, seed=5)
    for stem in track.references:
        soundfile.write(estimates / f"{stem}.wav", estimate, track.rate_hz)
    found = scoring.costly_scores(track, estimates, ["log_wmse"])["log_wmse"]["music"]
    reference, _ = soundfile.read(track.references["music"])
    expected = published_scores(reference, np.broadcast_to(estimate, (20000, 2)), np.stack([left, right], 1))
    assert found == pytest.approx(expected["log_wmse"])


def test_totals_are_plain_means() -> None:
    tracks = [{"a": 1.0, "b": 3.0}, {"a": 5.0, "b": 7.0}]
    assert means.total(tracks, ("a", "b")) == {"mean": 4.0, "a": 3.0, "b": 5.0}


def test_totals_leave_out_what_is_not_defined() -> None:
    tracks = [{"a": 1.0, "b": None}, {"a": 5.0, "b": None}]
    assert means.total(tracks, ("a", "b")) == {"mean": 3.0, "a": 3.0, "b": None}
    assert means.total([], ("a",)) == {"mean": None, "a": None}


def test_what_is_not_defined_in_one_track_counts_neither_there_nor_as_zero() -> None:
    tracks: list[means.Scores] = [{"a": 1.0, "b": None}, {"a": 5.0, "b": 9.0}]
    # The mean is that of the tracks' means, 1 and 7; the stems' own means would give 6.
    assert means.total(tracks, ("a", "b")) == {"mean": 4.0, "a": 3.0, "b": 9.0}
    nothing: means.Scores = {"a": None, "b": None}
    assert means.total([*tracks, nothing], ("a", "b")) == {"mean": 4.0, "a": 3.0, "b": 9.0}
