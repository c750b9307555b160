"""Samples that an output format cannot hold: an error, or what the user chose instead."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from my_submission.files.errors import WouldClip
from my_submission.signal.arrays import SpooledSignal
from my_submission.signal.audio import Stems

Clipping = Literal["error", "clip", "scale"]
"""error: stop; clip: cut at ±1; scale: one gain for all stems of the file, so that the highest peak is 1."""

_READ_SAMPLES = 2**20


def check_clipping(value: str) -> None:
    """ValueError for anything but a `Clipping`."""
    if value not in get_args(Clipping):
        raise ValueError(f"clipping: expected one of {', '.join(get_args(Clipping))}, found {value!r}")


@dataclass
class Levels:
    """What was done to a recording's levels: the gain on all stems, and how many samples of each stem were
    clipped."""

    gain: float = 1.0
    clipped: Counter[str] = field(default_factory=Counter)


def limited(
    blocks: Iterable[Stems], clipping: Clipping, sample_rate: int, folder: Path, levels: Levels
) -> Iterator[Stems]:
    """The blocks, brought within ±1; `levels` afterwards says what was done.

    folder: where "scale" keeps the recording, all of which it has to see first.
    Raises WouldClip at the first sample beyond ±1 if clipping is "error".
    """
    if clipping == "error":
        yield from _checked(blocks, sample_rate)
    elif clipping == "clip":
        for block in blocks:
            levels.clipped.update({stem: int((signal.abs() > 1).sum()) for stem, signal in block.items()})
            yield {stem: signal.clamp(-1, 1) for stem, signal in block.items()}
    else:
        yield from _scaled(blocks, folder, levels)


def _checked(blocks: Iterable[Stems], sample_rate: int) -> Iterator[Stems]:
    start = 0
    for block in blocks:
        for stem, signal in block.items():
            beyond = (signal.abs() > 1).any(dim=0)
            if beyond.any():
                seconds = (start + int(beyond.int().argmax())) / sample_rate
                raise WouldClip(
                    f"{stem} goes beyond full scale, first at {seconds:.2f} s, to a peak of {signal.abs().max():.3f} "
                    f"so far; choose clipping 'clip' (--clip: cut it), 'scale' (--scale: one gain for all stems), or "
                    f"wav with 32f bits, which holds the exact estimate"
                )
        yield block
        start += next(iter(block.values())).shape[-1]


def _scaled(blocks: Iterable[Stems], folder: Path, levels: Levels) -> Iterator[Stems]:
    spools: dict[str, SpooledSignal] = {}
    try:
        peak = 0.0
        for block in blocks:
            for stem, signal in block.items():
                if stem not in spools:
                    spools[stem] = SpooledSignal(signal.shape[0], folder)
                spools[stem].append(signal)
                peak = max(peak, float(signal.abs().max()))
        levels.gain = 1.0 if peak <= 1 else 1 / peak
        samples = max((spool.samples for spool in spools.values()), default=0)
        for start in range(0, samples, _READ_SAMPLES):
            length = min(_READ_SAMPLES, samples - start)
            # The product is rounded, so the peak itself may come out a hair above 1.
            yield {
                stem: (spool.read(start, length) * levels.gain).clamp(-1, 1) for stem, spool in spools.items()
            }
    finally:
        for spool in spools.values():
            spool.__exit__(None, None, None)
