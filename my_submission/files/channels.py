"""Recordings with more than two channels: which of them are separated together."""

import functools
from collections.abc import Sequence
from typing import Literal, get_args

from my_submission.ensemble.engine import Progress
from my_submission.signal.audio import Stems

ManyChannels = Literal["error", "pairs", "downmix"]
"""error: stop; pairs: separate left and right in pairs, and channels without a partner as mono; downmix: fold all
channels down to two."""

Groups = tuple[tuple[int, ...], ...]
"""Which channels are separated together: one or two numbers (from 0) per group."""


def check_many_channels(value: str) -> None:
    """ValueError for anything but a `ManyChannels`."""
    if value not in get_args(ManyChannels):
        raise ValueError(
            f"many_channels: expected one of {', '.join(get_args(ManyChannels))}, found {value!r}"
        )


def groups_in_order(channels: int) -> Groups:
    """Neighbours in pairs; an odd last channel is alone."""
    return tuple(tuple(range(first, min(first + 2, channels))) for first in range(0, channels, 2))


def groups_by_place(places: Sequence[str]) -> Groups:
    """Left and right of the same place in pairs; channels without a partner, such as centre and LFE, alone.

    places: the place of each channel by ffmpeg's names: FL, FR, FC, LFE, BL, BR, …
    """
    partners = {
        channel: places.index(right)
        for channel, place in enumerate(places)
        if (right := place.replace("L", "R")) != place and right in places
    }
    return tuple(
        (channel, partners[channel]) if channel in partners else (channel,)
        for channel in range(len(places))
        if channel not in partners.values()
    )


def groups_text(groups: Groups) -> str:
    """`1+2, 3, 4, 5+6`: channels as people count them."""
    return ", ".join("+".join(str(channel + 1) for channel in group) for group in groups)


def side_by_side(parts: Sequence[Stems], groups: Sequence[Sequence[int]], channels: int) -> Stems:
    """Blocks of groups, each (its channels, samples), joined into all channels; channels of no group are silent."""
    stems: Stems = {}
    for stem, first in parts[0].items():
        stems[stem] = first.new_zeros(channels, first.shape[-1])
        for part, group in zip(parts, groups, strict=True):
            stems[stem][list(group)] = part[stem]
    return stems


def share_progress(progress: Progress | None, parts: int) -> list[Progress | None]:
    """A callback for each of several equal parts of a job, so that `progress` is told about the whole."""
    if progress is None or parts == 1:
        return [progress] * parts
    fractions = [0.0] * parts

    def tell(part: int, done: float, total: float) -> None:
        fractions[part] = done / total
        progress(sum(fractions), parts)

    return [functools.partial(tell, part) for part in range(parts)]
