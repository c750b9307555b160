"""BSS Eval v4 against the package museval, which defines it, and what museval says nothing of."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluator.measures.bss_eval import Ratio, Signal, medians
from tests.thinned import one_in

RATIOS: list[Ratio] = ["sdr", "isr", "sir", "sar"]
FRAME = 4000


@pytest.fixture(scope="module")
def museval() -> ModuleType:
    """Its module `metrics` alone: importing the package needs ffmpeg."""
    package = importlib.util.find_spec("museval")
    assert package is not None
    assert package.origin is not None
    spec = importlib.util.spec_from_file_location(
        "museval_metrics", Path(package.origin).with_name("metrics.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def in_blocks(signals: NDArray[np.float64], size: int = 3000) -> list[Signal]:
    """(sources, samples, channels) -> a signal for each source."""

    def blocks(signal: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
        return (signal[start : start + size] for start in range(0, len(signal), size))

    return [lambda signal=signal: blocks(signal) for signal in signals]  # type: ignore[misc]


def pair(sources: int, samples: int, channels: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coloured references of growing loudness, and estimates with every kind of error."""
    random = np.random.default_rng(sources)
    noise = random.standard_normal((sources, samples + 1, channels))
    references = (noise[:, 1:] + 0.7 * noise[:, :-1]) * np.linspace(0.1, 1, samples)[:, None]
    filtered = 0.8 * references + 0.1 * np.roll(references, 3, axis=1)
    leaked = 0.05 * references.sum(axis=0)
    return references, filtered + leaked + 0.02 * random.standard_normal(references.shape)


@pytest.mark.parametrize(
    ("sources", "channels", "samples"),
    one_in(4, [(2, 1, 3 * FRAME + 700), (2, 2, 3 * FRAME + 700), (3, 1, 2 * FRAME), (1, 1, FRAME - 100)]),
    ids=["in mono", "with a rest", "whole frames", "less than a frame"],
)
def test_ratios_are_those_of_museval(sources: int, channels: int, samples: int, museval: ModuleType) -> None:
    references, estimates = pair(sources, samples, channels)
    if samples > 2 * FRAME:
        estimates[0, FRAME : 2 * FRAME] = 0  # a frame that counts for no source
    assert_as_museval(museval, references, estimates)


@pytest.mark.parametrize("sources", one_in(2, [1, 2]))
def test_mono_in_two_channels_is_measured_alike_and_by_no_slower_way(
    sources: int, museval: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal channels leave the filters undetermined. Least squares by singular values cost more than museval."""
    monkeypatch.setattr("scipy.linalg.lstsq", lambda *_: pytest.fail("the slow way"))
    references, estimates = (np.repeat(each, 2, axis=2) for each in pair(sources, 2 * FRAME, 1))
    estimates[..., 1] += 0.01 * np.random.default_rng(0).standard_normal(estimates.shape[:2])
    assert_as_museval(museval, references, estimates)


def assert_as_museval(
    museval: ModuleType, references: NDArray[np.float64], estimates: NDArray[np.float64]
) -> None:
    found = medians(in_blocks(references), in_blocks(estimates), FRAME, RATIOS)
    theirs = museval.bss_eval(
        references,
        estimates,
        window=FRAME,
        hop=FRAME,
        compute_permutation=False,
        framewise_filters=False,
        bsseval_sources_version=False,
    )
    for ratio, values in zip(RATIOS, theirs, strict=False):
        if ratio == "sir" and len(references) == 1:  # infinite: there is nothing to interfere
            assert found[ratio] == [None]
            continue
        np.testing.assert_allclose(
            np.array(found[ratio], float), np.nanmedian(values, axis=1), atol=1e-6, rtol=0
        )


def test_ratios_do_not_depend_on_how_signals_come_in_blocks() -> None:
    references, estimates = pair(2, 2 * FRAME, 1)
    one, other = (
        medians(in_blocks(references, size), in_blocks(estimates, size), FRAME, ["sdr", "sir"])
        for size in (2 * FRAME, 777)
    )
    for ratio in ("sdr", "sir"):
        assert one[ratio] == pytest.approx(other[ratio], abs=1e-9)


@pytest.mark.thorough
def test_a_source_that_is_silent_to_museval_is_left_out() -> None:
    """Also one whose channels cancel, which museval refuses."""
    references, estimates = pair(3, 2 * FRAME, 2)
    references[1] = references[1, :, :1] * [1, -1]
    found = medians(in_blocks(references), in_blocks(estimates), FRAME, RATIOS)
    without = medians(in_blocks(references[[0, 2]]), in_blocks(estimates[[0, 2]]), FRAME, RATIOS)
    for ratio in RATIOS:
        assert found[ratio] == [without[ratio][0], None, without[ratio][1]]


def test_no_frame_counts_if_sources_are_never_heard_together() -> None:
    references, estimates = pair(2, 2 * FRAME, 1)
    references[0, :FRAME] = 0
    references[1, FRAME:] = 0
    assert medians(in_blocks(references), in_blocks(estimates), FRAME, ["sdr"]) == {"sdr": [None, None]}


@pytest.mark.slow
def test_equal_and_filtered_signals_have_finite_ratios() -> None:
    """Two equal channels leave the filters undetermined, but not what they make."""
    references, _ = pair(2, 2 * FRAME, 1)
    references = np.repeat(references, 2, axis=2)
    found = medians(in_blocks(references), in_blocks(references), FRAME, RATIOS)
    assert found["sdr"] == pytest.approx([319.1, 319.1], abs=0.1)
    for ratio in RATIOS:
        for value in found[ratio]:
            assert value is not None
            assert value > 60
