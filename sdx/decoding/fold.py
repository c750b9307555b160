"""Any number of channels folded down to two, by their places (ITU-R BS.775)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_HALF = float(np.sqrt(0.5))
_GUESSED = {
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
"""What a file of so many channels without places holds, as a rule; others are taken for left and right in turns."""


def fold_matrix(places: Sequence[str], channels: int) -> npt.NDArray[np.float32]:
    """(channels, 2) weights of a file's channels.

    places: ffmpeg's names (FL, FR, FC, LFE, BL, …), or empty if they are not known.
    Front left and right count in full, what is between or behind them 3 dB less, and the channel of low effects is
    left out, as the recommendation has it.
    """
    places = places or _GUESSED.get(channels, ())
    if not places:
        places = tuple(f"{'F' if pair == 0 else 'B'}{side}" for pair in range(channels) for side in "LR")[
            :channels
        ]
        if channels % 2:
            places = (*places[:-1], "FC")
    return np.array([_weights(place) for place in places], np.float32)


def _weights(place: str) -> tuple[float, float]:
    if place in ("FL", "DL"):
        return 1.0, 0.0
    if place in ("FR", "DR"):
        return 0.0, 1.0
    if place.startswith("LFE"):
        return 0.0, 0.0
    if place == "BC":
        return 0.5, 0.5
    left, right = "L" in place, "R" in place
    return (_HALF, 0.0) if left and not right else (0.0, _HALF) if right and not left else (_HALF, _HALF)
