"""The measures of MVSep's quality checker, of one stem, in one reading of its reference and its estimate."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from evaluator.measures.frames import TooShortError
from evaluator.measures.log_wmse import LogWmse
from evaluator.measures.spectral import AuraMrstft, AuraStft, Bleed, L1Freq, Meter, Pairs

METERS: Mapping[str, Callable[[], Meter]] = {
    "l1_freq": L1Freq,
    "aura_stft": AuraStft,
    "aura_mrstft": AuraMrstft,
}
BLEED = ("bleedless", "fullness")
LOG_WMSE = "log_wmse"
NAMES = (*METERS, *BLEED, LOG_WMSE)


def scores(
    names: Sequence[str], pairs: Pairs, mixture_rms: Callable[[], NDArray[np.float64]]
) -> dict[str, float | None]:
    """The measures `names`, of NAMES; None where one is not defined for so few samples.

    mixture_rms: gives `log_wmse.weighted_rms` of the mixture; asked for if that is measured.
    """
    meters: list[Meter] = [METERS[name]() for name in names if name in METERS]
    if LOG_WMSE in names:
        meters.append(LogWmse(mixture_rms()))
    if set(names) & set(BLEED):
        meters.append(Bleed(pairs))
    if not meters:
        return {}
    for pair in pairs():
        for meter in meters:
            meter.add(pair)
    found: dict[str, float] = {}
    for meter in meters:
        try:
            meter.end()
        except TooShortError:
            continue
        found |= meter.values()
    return {name: found.get(name) for name in names if name in NAMES}
