"""A part of a recording instead of all of it: from a time on, so many seconds, or the loudest stretch."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from my_submission.files.bars import duration_text
from my_submission.files.decode import AudioInfo, decode
from my_submission.files.errors import UnreadableAudio

_MOST_SECONDS = 10_000_000.0  # 115 days: more than there are, and few enough to be counted in samples
_STEP_SECONDS = 0.1  # the loudest stretch begins at one of these


@dataclass(frozen=True)
class Excerpt:
    """Which part; checked on construction (ValueError).

    start: where it begins, in seconds. seconds: how long it is, at most; None: to the end.
    loudest: the stretch of that length with the most energy, wherever it is.
    """

    start: float = 0.0
    seconds: float | None = None
    loudest: bool = False

    def __post_init__(self) -> None:
        most = f"up to {_MOST_SECONDS:.0f} s"
        if not 0 <= self.start <= _MOST_SECONDS:
            raise ValueError(f"start: expected 0 s or more, {most}, found {self.start:g}")
        if self.seconds is not None and not 0 < self.seconds <= _MOST_SECONDS:
            raise ValueError(f"duration: expected more than 0 s, {most}, found {self.seconds:g}")
        if self.loudest and (self.start or self.seconds is None):
            raise ValueError("preview: expected its length, and no start: the loudest stretch is where it is")

    @property
    def is_all(self) -> bool:
        """Whether it is the whole recording."""
        return not self.start and self.seconds is None

    @property
    def name(self) -> str:
        """What files of it are called beside those of the whole; "" for all of it."""
        if self.is_all:
            return ""
        if self.loudest:
            return f"loudest {_time_name(self.seconds or 0)}"
        if self.seconds is None:
            return f"from {_time_name(self.start)}"
        return f"{_time_name(self.start)} to {_time_name(self.start + self.seconds)}"

    def as_settings(self) -> dict[str, Any]:
        """What determines its samples, for the journal; nothing for all of it."""
        return {} if self.is_all else {"excerpt": [self.start, self.seconds, self.loudest]}

    def about_seconds(self, whole: float | None) -> float | None:
        """How long it is of a recording that is `whole` seconds long, or whose length is not known."""
        if whole is None:
            return self.seconds
        left = max(0.0, whole - self.start)
        return left if self.seconds is None else min(left, self.seconds)

    def samples(self, info: AudioInfo) -> tuple[int, int | None]:
        """The first sample, and how many, None for all that follow. For the loudest stretch all of it is decoded.

        Raises UnreadableAudio if it cannot be decoded.
        """
        rate = info.sample_rate
        count = None if self.seconds is None else max(1, round(self.seconds * rate))
        if self.loudest and count is not None:
            return loudest_stretch(decode(info), count, max(1, round(_STEP_SECONDS * rate))), count
        return round(self.start * rate), count

    def beyond_end(self, info: AudioInfo) -> UnreadableAudio:
        """What to say of a recording that ends before it begins."""
        length = "" if info.seconds is None else f" (it is {duration_text(info.seconds)} long)"
        return UnreadableAudio(
            f"{info.sound.path}: it ends before {_clock(self.start)}, where the excerpt would start{length}; choose "
            f"an earlier --start"
        )


ALL = Excerpt()


def loudest_stretch(blocks: Iterable[Tensor], samples: int, step: int) -> int:
    """Where the stretch of `samples` with the most energy begins, in steps of `step`; the first of equal ones.

    blocks: (channels, samples) float32. Energy is the sum of squares over all channels, taken in steps.
    """
    energies: list[float] = []
    whole_samples = 0
    rest = torch.zeros(0, dtype=torch.float64)
    for block in blocks:
        whole_samples += block.shape[-1]
        squares = torch.cat([rest, block.double().square().sum(dim=0)])
        whole = len(squares) // step * step
        energies += squares[:whole].reshape(-1, step).sum(dim=1).tolist()
        rest = squares[whole:]
    energies.append(float(rest.sum()))
    steps = -(-samples // step)
    total = torch.tensor([0.0, *energies], dtype=torch.float64).cumsum(0)
    if len(energies) <= steps:
        return 0
    loudest = int((total[steps:] - total[:-steps]).argmax()) * step
    return max(0, min(loudest, whole_samples - samples))  # the last step may be short


def _clock(seconds: float) -> str:
    return duration_text(seconds) if seconds == round(seconds) else f"{seconds:g} s"


def _time_name(seconds: float) -> str:
    """`1h02m03s`, `4m05s`, `30s`, `1.5s`: without the colons that some file systems do not allow."""
    whole, fraction = divmod(seconds, 1)
    hours, minutes = divmod(int(whole) // 60, 60)
    text = f"{whole % 60 + fraction:06.3f}".rstrip("0").removesuffix(".")
    if hours:
        return f"{hours}h{minutes:02}m{text.ljust(2, '0')}s"
    return f"{minutes}m{text.ljust(2, '0')}s" if minutes else f"{whole % 60 + fraction:g}s"
