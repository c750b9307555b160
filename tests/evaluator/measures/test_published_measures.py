"""The measures that are published: equal to the packages that define them, in blocks of any size, and in silence."""

import pickle
import tracemalloc
from collections.abc import Iterator
from importlib.resources import files
from math import log

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from evaluator.measures import frames, log_wmse, mel, spectral
from evaluator.measures import published as measures
from evaluator.measures.catalogue import MEASURES, Measure
from evaluator.measures.spectral import Pair
from tests.evaluator.measures import published_measures as published
from tests.thinned import one_in

Samples = NDArray[np.float64]

LENGTHS = [5000, 44100, 2 * (1 << 15), 70001]
ROUNDED = 1e-6  # of a value: spectra are float32


def in_blocks(samples: Samples, size: int = 1 << 15) -> Iterator[frames.Frames]:
    """The samples as they come, (channels, samples)."""
    return (samples[start : start + size].T.astype(np.float32) for start in range(0, len(samples), size))


def music(length: int, channels: int = 2, seed: int = 0) -> Samples:
    """Noise that swells and falls, with more in its lows than in its highs."""
    noise = np.random.default_rng(seed).standard_normal((length, channels))
    noise[1:] += 0.9 * noise[:-1]
    return noise * 0.1 * np.abs(np.sin(np.arange(length) / 9000 + seed))[:, None]


def ours(
    reference: Samples, estimate: Samples, mixture: Samples, block: int = 1 << 15
) -> dict[str, float | None]:
    def pairs() -> Iterator[Pair]:
        return map(np.stack, zip(*(in_blocks(each, block) for each in (reference, estimate)), strict=True))

    return measures.scores(measures.NAMES, pairs, lambda: log_wmse.weighted_rms(in_blocks(mixture, block)))


def theirs(reference: Samples, estimate: Samples, mixture: Samples) -> dict[str, float]:
    bleedless, fullness = published.bleed(reference, estimate)
    return {
        "l1_freq": published.l1_freq(reference, estimate),
        "log_wmse": published.log_wmse(reference, estimate, mixture),
        "aura_stft": published.aura_stft(reference, estimate),
        "aura_mrstft": published.aura_mrstft(reference, estimate),
        "bleedless": bleedless,
        "fullness": fullness,
    }


@pytest.mark.parametrize("level", one_in(3, [0.02, 1e-4, 0.5]))
@pytest.mark.parametrize("length", one_in(4, LENGTHS))
def test_they_equal_the_packages_that_define_them(length: int, level: float) -> None:
    reference, rest, error = (music(length, seed=seed) for seed in range(3))
    estimate = 0.9 * reference + level * error
    found, expected = (compute(reference, estimate, reference + rest) for compute in (ours, theirs))
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.thorough
@pytest.mark.parametrize("which", ["reference", "estimate"])
def test_they_equal_the_packages_where_a_part_is_silent(which: str) -> None:
    reference, estimate, mixture = (music(50000, seed=seed) for seed in range(3))
    (reference if which == "reference" else estimate)[10000:30000] = 0
    assert ours(reference, estimate, mixture) == pytest.approx(theirs(reference, estimate, mixture), abs=1e-4)


@pytest.mark.parametrize("block", one_in(2, [1024, 37, 4097, 100_000]))
def test_blocks_of_any_size_give_the_same(block: int) -> None:
    reference, estimate, mixture = (music(8345, seed=seed) for seed in range(3))
    whole = ours(reference, estimate, mixture)
    assert ours(reference, estimate, mixture, block) == pytest.approx(whole, rel=ROUNDED)


def test_blocks_without_samples_change_nothing() -> None:
    """A filter gives such, until there is enough for it."""
    pair = np.stack([*in_blocks(music(4096)), *in_blocks(music(4096, seed=1))])
    empty = pair[..., :0]
    found = [
        measures.scores(measures.NAMES, lambda: iter(pairs), lambda: np.ones(2))  # noqa: B023
        for pairs in ([pair], [empty, pair, empty], [pair[..., :1024], empty, pair[..., 1024:], empty])
    ]
    assert found[1] == pytest.approx(found[0], rel=ROUNDED)
    assert found[2] == pytest.approx(found[0], rel=ROUNDED)


def test_mono_scores_as_it_would_in_two_equal_channels() -> None:
    s, s_hat, x = (music(8000, channels=1, seed=seed) for seed in range(3))
    found = ours(s, s_hat, x)
    s2, s_hat2, x2 = (np.repeat(each, 2, axis=1) for each in (s, s_hat, x))
    assert found == pytest.approx(ours(s2, s_hat2, x2), rel=ROUNDED)
    assert found == pytest.approx(theirs(s, s_hat, x), abs=1e-4)


def test_no_more_of_a_long_signal_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectral, "KEPT_BYTES", 0)
    pair = np.stack([*in_blocks(music(8192)), *in_blocks(music(8192, seed=1))])

    def peak_bytes(blocks: int) -> int:
        tracemalloc.start()
        try:
            measures.scores(measures.NAMES, lambda: (pair.copy() for _ in range(blocks)), lambda: np.ones(2))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak_bytes(8)  # makes windows and bands
    assert peak_bytes(80) < 1.3 * peak_bytes(16)


@pytest.mark.parametrize("frames_kept", [0, 1, 5, 7, 1000])
def test_levels_that_are_not_kept_are_computed_again(
    frames_kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, estimate, mixture = (music(20_000, seed=seed) for seed in range(3))
    expected = ours(reference, estimate, mixture)
    monkeypatch.setattr(frames, "FRAMES_AT_ONCE", 8)  # two of both stereo signals
    monkeypatch.setattr(spectral, "KEPT_BYTES", frames_kept * 4 * 4 * spectral.BLEED_BANDS)
    assert ours(reference, estimate, mixture, 3000) == pytest.approx(expected, rel=ROUNDED)


def test_sounds_of_any_loudness_are_measured() -> None:
    s, s_hat = music(5000), music(5000, seed=1)
    loud, louder = (
        ours(factor * s, factor * s_hat, factor * s)  # beside which the floors are nothing
        for factor in (1e6, 1e20)
    )
    for name in ("aura_stft", "aura_mrstft", "bleedless", "fullness"):
        assert louder[name] == pytest.approx(loud[name], rel=1e-4)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_perfect_estimate_has_the_highest_values(channels: int) -> None:
    reference = music(8123, channels)
    best = {"log_wmse": -4 * log(1e-8)}
    for found in (ours(reference, reference, 2 * reference), ours(0 * reference, 0 * reference, reference)):
        assert found == pytest.approx({name: best.get(name, 100.0) for name in found}, abs=1e-9)


def test_silence_is_finite_and_says_which_of_the_two_it_is() -> None:
    signal = music(8000)
    bleeding, empty = ours(0 * signal, signal, signal), ours(signal, 0 * signal, signal)
    for found in (bleeding, empty):
        assert all(MEASURES[name].can_be(value) and value is not None for name, value in found.items())
        assert found["aura_stft"] is not None and found["aura_stft"] < 5  # noqa: PT018
    assert bleeding["fullness"] == empty["bleedless"] == 100
    assert bleeding["bleedless"] == pytest.approx(empty["fullness"])
    assert bleeding["bleedless"] is not None and bleeding["bleedless"] < 1  # noqa: PT018


def test_beside_a_silent_mixture_any_error_is_enormous_and_none_is_best() -> None:
    signal, silence = music(8000), np.zeros((8000, 2))
    worst = ours(silence, signal, silence)["log_wmse"]
    assert worst is not None and worst < -100  # noqa: PT018
    assert ours(signal, signal, silence)["log_wmse"] == pytest.approx(log_wmse.HIGHEST)


def test_the_worst_that_anybody_may_write_is_possible() -> None:
    loud = 32768.0 * np.sign(music(8000, seed=3))
    for name, value in ours(loud, -loud, 0 * loud).items():
        assert MEASURES[name].can_be(value), (name, value)


@pytest.mark.parametrize(("name", "longest"), [("l1_freq", 1024), ("aura_stft", 512), ("aura_mrstft", 2048)])
def test_signals_that_are_shorter_than_their_reflection_have_no_value(name: str, longest: int) -> None:
    for length, defined in ((1, False), (longest, False), (longest + 1, True)):
        reference, estimate = (music(length, seed=seed) for seed in range(2))
        assert (ours(reference, estimate, reference)[name] is not None) == defined


def test_one_sample_has_the_other_measures() -> None:
    s, s_hat, x = (np.full((1, 2), value) for value in (0.5, 0.4, 0.6))
    found = ours(s, s_hat, x)
    assert all(found[name] is not None for name in ("log_wmse", "bleedless", "fullness"))


def test_stems_that_add_up_to_the_mixture_have_equal_log_wmse() -> None:
    vocals, rest, error = (music(8000, seed=seed) for seed in range(3))
    mixture = vocals + rest
    one = ours(vocals, vocals + 0.1 * error, mixture)["log_wmse"]
    assert one == pytest.approx(ours(rest, mixture - (vocals + 0.1 * error), mixture)["log_wmse"])


@pytest.mark.parametrize("gain", [0.5, 0.97, 1.03, 4.0])
def test_a_gain_alone_is_heard_as_bleeding_or_as_missing(gain: float) -> None:
    reference = music(8000)
    found = ours(reference, gain * reference, reference)
    wrong, right = (found[name] for name in (measures.BLEED if gain > 1 else measures.BLEED[::-1]))
    assert wrong == pytest.approx(100 / (1 + abs(20 * np.log10(gain))))
    assert right == 100


@pytest.mark.parametrize(("size", "hop"), [(64, 16), (64, 24), (2048, 1024)])
@pytest.mark.parametrize("length", [2000, 2049])
def test_spectra_are_those_of_torch(length: int, size: int, hop: int) -> None:
    signal = music(length)
    for padding, mode, window in (
        ("reflect", "reflect", torch.hann_window(size, dtype=torch.float64)),
        ("zeros", "constant", torch.hann_window(size, dtype=torch.float64)),
        ("reflect", "reflect", torch.ones(size, dtype=torch.float64)),
    ):
        transform = frames.Transform(size, hop, padding, "none" if window.min() == 1 else "hann")  # type: ignore[arg-type]
        found = [spectra for block in in_blocks(signal, 700) for spectra in transform.add(block)]
        found += transform.end()
        expected = torch.stft(
            torch.from_numpy(signal.T.copy()), size, hop, return_complex=True, pad_mode=mode, window=window
        )
        together = np.concatenate(found, axis=1)
        loudest = float(expected.abs().max())
        np.testing.assert_allclose(
            together.transpose(0, 2, 1), expected.abs().numpy(), rtol=0, atol=ROUNDED * loudest
        )


@pytest.mark.parametrize("taps", [1, 2, 5, 400])
@pytest.mark.parametrize("length", [1, 3, 399, 450])
def test_a_filtered_signal_is_the_middle_of_the_convolution(length: int, taps: int) -> None:
    signal, response = music(length), music(taps, channels=1)[:, 0]
    for block in (1, 7, 5000):
        filtered = frames.Filter(response.astype(np.float32)).all_of(in_blocks(signal, block))
        found = np.concatenate([*filtered], axis=1)
        start = (taps - 1) // 2
        expected = [np.convolve(signal[:, i], response)[start : start + length] for i in range(2)]
        np.testing.assert_allclose(found, expected, atol=ROUNDED)


@pytest.mark.parametrize(("size", "bands"), one_in(3, [(4096, 512), (1024, 128), (4096, 128)]))
def test_mel_filters_are_slaneys_and_none_is_empty(size: int, bands: int) -> None:
    found = mel.filters(44100, size, bands)
    np.testing.assert_allclose(found, published.mel(sr=44100, n_fft=size, n_mels=bands), atol=1e-8)
    assert found.any(axis=1).all()


def test_hearing_is_that_of_the_package() -> None:
    expected = pickle.loads(files("log_wmse_audio_quality").joinpath("filter_ir.pkl").read_bytes())
    np.testing.assert_allclose(log_wmse.hearing(), expected, atol=1e-7)


def test_every_measure_says_its_unit_and_which_way_is_better() -> None:
    for name, measure in MEASURES.items():
        assert measure.name == name
        assert measure.unit in ("dB", "0 to 100", "no unit")
        assert measure.words.endswith("higher is better")
    assert Measure("x", "x", "dB", 0, 9).gain(1, 3) == Measure("x", "x", "dB", 0, 9, False).gain(3, 1) == 2
