"""Estimates on disk and references -> scores of a track.

Files are read in blocks side by side, so memory does not grow with length.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evaluator.measures.catalogue import MEASURES
from evaluator.measures.means import Scores
from evaluator.measures.sdr import SILENCE, Energies, energies, sdr_from, si_sdr_from
from evaluator.running import parts
from evaluator.running.dataset import Track
from evaluator.running.estimates import InvalidOutputError
from evaluator.running.parts import Part, blocks

if TYPE_CHECKING:
    from evaluator.measures.bss_eval import Ratio
    from evaluator.measures.spectral import Pair

ENERGY_METRICS: Mapping[str, Callable[[Energies], float]] = {
    "sdr": sdr_from,
    "si_sdr": si_sdr_from,
}
BSS_EVAL: Mapping[str, "Ratio"] = {
    "bss_eval_sdr": "sdr",
    "bss_eval_isr": "isr",
    "bss_eval_sir": "sir",
    "bss_eval_sar": "sar",
}
"""Of the stems of a track together: a silent one silences the frame of all."""


def score_track(track: Track, estimates: Path, names: Sequence[str]) -> dict[str, Scores]:
    """Measures `names` (of ENERGY_METRICS) of the files `estimates`/{stem}.wav, as {name: {stem: dB}}.

    Raises InvalidOutputError for samples that are NaN or infinite and for files that end early.
    """
    sums = {
        stem: _energies(reference, estimates / f"{stem}.wav", track, stem, wide="si_sdr" in names)
        for stem, reference in track.references.items()
    }
    return {name: {stem: ENERGY_METRICS[name](total) for stem, total in sums.items()} for name in names}


def _energies(reference: Part, estimate: Path, track: Track, stem: str, wide: bool) -> Energies:
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
    mixture_rms = cache(partial(_weighted_rms, track))
    for stem in track.references:
        for name, value in _published(track, estimates, stem, names, mixture_rms).items():
            found[name][stem] = value
    if ratios := [name for name in names if name in BSS_EVAL]:
        found |= {name: dict(scores) for name, scores in bss_eval(track, estimates, ratios).items()}
    return {
        name: {stem: value if MEASURES[name].can_be(value) else None for stem, value in scores.items()}
        for name, scores in found.items()
    }


def _published(
    track: Track,
    estimates: Path,
    stem: str,
    names: Sequence[str],
    mixture_rms: Callable[[int], NDArray[np.float64]],
) -> dict[str, float | None]:
    """Those measures of one stem that need spectra or filters.

    mixture_rms: `log_wmse.weighted_rms` of the mixture in that many channels.
    """
    from evaluator.measures import published  # scipy.signal takes a second to import

    file = estimates / f"{stem}.wav"
    channels = max(parts.channels(part) for part in (file, *track.mixtures))
    channels = max(channels, len(track.mixtures))
    pairs = partial(_pairs, track.references[stem], file, channels)
    return published.scores(names, pairs, lambda: mixture_rms(channels))


def _pairs(reference: Part, estimate: Path, channels: int) -> "Iterator[Pair]":
    both = (_signal([part], channels)() for part in (reference, estimate))
    for s, s_hat in zip(*both, strict=True):
        pair = np.empty((2, channels, len(s)), np.float32)
        pair[0], pair[1] = s.T, s_hat.T
        yield pair


def _weighted_rms(track: Track, channels: int) -> NDArray[np.float64]:
    from evaluator.measures.log_wmse import weighted_rms  # see above

    return weighted_rms(block.T for block in _signal(track.mixtures, channels)())


def _signal(several: Sequence[Part], channels: int) -> Callable[[], Iterator[NDArray[np.float32]]]:
    """The samples of a part, or of one part for each channel; one channel stands for the same signal in all."""

    def read() -> Iterator[NDArray[np.float32]]:
        for found in zip(*map(blocks, several), strict=True):
            yield _as_channels(np.concatenate(found, axis=1), channels)

    return read


def bss_eval(track: Track, estimates: Path, names: Sequence[str]) -> dict[str, Scores]:
    """Measures `names` of BSS Eval v4, with frames of 1 s, as {name: {stem: median in dB, or None}}."""
    from evaluator.measures.bss_eval import medians

    files = [estimates / f"{stem}.wav" for stem in track.references]
    channels = max(parts.channels(part) for part in (*files, *track.references.values()))
    references, estimated = (
        [_signal([part], channels) for part in several] for several in (track.references.values(), files)
    )
    found = medians(references, estimated, track.rate_hz, [BSS_EVAL[name] for name in names])
    return {name: dict(zip(track.references, found[BSS_EVAL[name]], strict=True)) for name in names}
