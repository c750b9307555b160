"""Estimates on disk and references -> scores of a track.

Files are read in blocks side by side, so memory does not grow with length; BSS Eval alone holds the whole track.
"""

import importlib.util
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from math import isfinite
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import soundfile
from numpy.typing import NDArray

from evaluator.measures.catalogue import MEASURES
from evaluator.measures.means import Scores
from evaluator.measures.sdr import SILENCE, Energies, energies, sdr_from, si_sdr_from
from evaluator.running.dataset import Track
from evaluator.running.estimates import InvalidOutputError

if TYPE_CHECKING:
    from evaluator.measures.frames import Block
    from evaluator.measures.spectral import Signal

BLOCK_FRAMES = 1 << 15

ENERGY_METRICS: Mapping[str, Callable[[Energies], float]] = {
    "sdr": sdr_from,
    "si_sdr": si_sdr_from,
}
BLEED = ("bleedless", "fullness")


def score_track(track: Track, estimates: Path, names: Sequence[str]) -> dict[str, Scores]:
    """Measures `names` (of ENERGY_METRICS) of the files `estimates`/{stem}.wav, as {name: {stem: dB}}.

    Raises InvalidOutputError for samples that are NaN or infinite and for files that end early.
    """
    sums = {
        stem: _energies(reference, estimates / f"{stem}.wav", track, stem, wide="si_sdr" in names)
        for stem, reference in track.references.items()
    }
    return {name: {stem: ENERGY_METRICS[name](total) for stem, total in sums.items()} for name in names}


def _energies(reference: Path, estimate: Path, track: Track, stem: str, wide: bool) -> Energies:
    total = SILENCE
    frames = 0
    for s, s_hat in zip(blocks(reference), blocks(estimate), strict=False):
        if len(s) != len(s_hat):
            break
        total += energies(_as_channels(s, s_hat.shape[1]), s_hat, wide)
        frames += len(s)
    if frames != track.frames:
        raise InvalidOutputError(f"{stem}: unreadable after sample {frames} of {track.frames}")
    if not isfinite(total.error):
        raise InvalidOutputError(f"{stem}: NaN or infinite samples")
    return total


def blocks(path: Path) -> Iterator[NDArray[np.float32]]:
    """Yield (samples, channels) float32 blocks of a file; the buffer is used again for the next block."""
    with soundfile.SoundFile(path) as file:
        buffer = np.empty((BLOCK_FRAMES, file.channels), np.float32)
        while len(block := file.read(out=buffer)):
            yield block


def _as_channels(reference: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    """A mono reference stands for the same signal in every channel, as the mixture was given to the model."""
    if reference.shape[1] == channels:
        return reference
    return np.broadcast_to(reference, (len(reference), channels))


def costly(names: Sequence[str]) -> list[str]:
    """Those of the measures `names` that take too long to be computed beside a submission."""
    return [name for name in names if name not in ENERGY_METRICS]


def costly_scores(track: Track, estimates: Path, names: Sequence[str]) -> dict[str, Scores]:
    """The costly measures `names` of the files `estimates`/{stem}.wav, as {name: {stem: value}}.

    The value is None where a measure is not defined, or beyond what signals can have.
    """
    found: dict[str, dict[str, float | None]] = {name: {} for name in names}
    for stem in track.references:
        for name, value in _spectral(track, estimates, stem, names).items():
            found[name][stem] = value
    if "bss_eval_sdr" in names:
        found["bss_eval_sdr"] = dict(bss_eval_track(track, estimates))
    return {
        name: {stem: value if MEASURES[name].can_be(value) else None for stem, value in scores.items()}
        for name, scores in found.items()
    }


def _spectral(track: Track, estimates: Path, stem: str, names: Sequence[str]) -> dict[str, float | None]:
    """Those measures of one stem that need spectra or filters."""
    from evaluator.measures import log_wmse, spectral  # scipy.signal takes a second to import

    file = estimates / f"{stem}.wav"
    channels = max(soundfile.info(path).channels for path in (file, *track.mixtures))
    channels = max(channels, len(track.mixtures))
    reference, estimate = (_signal([path], channels) for path in (track.references[stem], file))
    found = {
        name: spectral.DISTANCES[name](reference, estimate) for name in names if name in spectral.DISTANCES
    }
    if "log_wmse" in names:
        found["log_wmse"] = log_wmse.log_wmse(reference, estimate, _signal(track.mixtures, channels))
    if set(names) & set(BLEED):
        both = asdict(spectral.bleed(reference, estimate))
        found |= {name: both[name] for name in BLEED if name in names}
    return found


def _signal(paths: Sequence[Path], channels: int) -> "Signal":
    """The samples of a file, or of one file for each channel; one channel stands for the same signal in all."""

    def read() -> "Iterator[Block]":
        for parts in zip(*map(blocks, paths), strict=True):
            block = np.concatenate(parts, axis=1, dtype=np.float64)
            yield np.repeat(block, channels, axis=1) if block.shape[1] < channels else block

    return read


def bss_eval_track(track: Track, estimates: Path) -> Scores:
    """BSS Eval v4 SDR: median over 1 s frames, with the package museval; None if it is not defined.

    A stem whose reference or estimate is silent throughout has no such number; the others are evaluated
    without it. Frames in which any of them is silent do not count, as museval has it.
    """
    signals: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    for stem, path in track.references.items():
        estimate, _ = soundfile.read(estimates / f"{stem}.wav", always_2d=True)
        reference, _ = soundfile.read(path, always_2d=True)
        reference = np.broadcast_to(reference, estimate.shape)
        if reference.any() and estimate.any():
            signals[stem] = (reference, estimate)
    scores: dict[str, float | None] = dict.fromkeys(track.references)
    if not signals:
        return scores
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # frames without any signal give NaN with a warning
        framewise = _museval_metrics().bss_eval(
            np.stack([reference for reference, _ in signals.values()]),
            np.stack([estimate for _, estimate in signals.values()]),
            window=track.rate_hz,
            hop=track.rate_hz,
            compute_permutation=False,
            framewise_filters=False,
            bsseval_sources_version=False,
        )[0]
        medians = np.nanmedian(framewise, axis=1)
    for stem, value in zip(signals, medians, strict=True):
        scores[stem] = float(value) if isfinite(value) else None
    return scores


@lru_cache(maxsize=1)
def _museval_metrics() -> ModuleType:
    """The module museval/metrics.py alone: importing the package needs ffmpeg, for which we have no use."""
    package = importlib.util.find_spec("museval")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("museval is not installed; pip install -r requirements.txt")
    path = Path(package.origin).with_name("metrics.py")
    spec = importlib.util.spec_from_file_location("museval_metrics", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
