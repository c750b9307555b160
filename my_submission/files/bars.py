"""What a user sees of a run: one bar for all of it, one for each recording under way, and the time left."""

import sys
import time
from collections import deque
from types import TracebackType
from typing import NoReturn

from tqdm import tqdm

from my_submission.files.inputs import Recording
from sdx.terminal import one_line

_FORMAT = "{desc:24.24} {percentage:3.0f}%|{bar}| {unit}{postfix}"  # the unit is the time left


class Pace:
    """The speed of work, judged by the later half of what is done: a slow start is soon forgotten.

    began: when the work began, in seconds on the clock of `seconds_left`.
    """

    def __init__(self, began: float = 0.0) -> None:
        self._noted = deque([(0.0, began)])

    def seconds_left(self, fraction: float, now: float) -> float | None:
        """Note what fraction is done now; the time left at this speed, or None if nothing is done yet."""
        while len(self._noted) > 1 and self._noted[1][0] <= fraction / 2:
            self._noted.popleft()
        self._noted.append((fraction, now))
        fraction_then, then = self._noted[0]
        done = fraction - fraction_then
        return (now - then) * (1 - fraction) / done if done > 0 else None


def duration_text(seconds: float) -> str:
    """Seconds as 1:02:03, 4:05 or 0:06."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


class Bars:
    """Progress bars on stderr if it is a terminal; otherwise nothing.

    seconds: the lengths of the recordings to separate, which give each its share of the work.
    """

    def __init__(self, seconds: dict[Recording, float]) -> None:
        self._seconds = dict(seconds)
        self._fractions: dict[Recording, float] = {}
        self._paces: dict[Recording, Pace] = {}
        self._pace_of_all: Pace | None = None
        self._bars: dict[Recording, tqdm[NoReturn]] = {}
        self._all = self._bar("all", 0) if len(seconds) > 1 else None

    def __enter__(self) -> "Bars":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for bar in [*self._bars.values(), *([self._all] if self._all is not None else [])]:
            bar.close()

    def start(self, recording: Recording) -> None:
        now = time.monotonic()
        self._paces[recording] = Pace(now)
        self._pace_of_all = self._pace_of_all or Pace(now)
        taken = {bar.pos for bar in self._bars.values()}
        place = next(place for place in range(1, len(taken) + 2) if -place not in taken)
        self._bars[recording] = self._bar(
            one_line(recording.source.name), place if self._all is not None else 0
        )

    def advance(self, recording: Recording, fraction: float) -> None:
        self._fractions[recording] = fraction
        left = self._paces[recording].seconds_left(fraction, time.monotonic())
        _show(self._bars[recording], fraction, left)
        self._show_all()

    def finish(self, recording: Recording, *, counts: bool) -> None:
        """End a recording's bar. counts: its work was done, not skipped or given up."""
        self._bars.pop(recording).close()
        if counts:
            self._fractions[recording] = 1.0
        else:
            self._seconds.pop(recording, None)
            self._fractions.pop(recording, None)
        self._show_all()

    def note(self, words: str) -> None:
        """Say beside the bar of all who is at work, where that is an engine."""
        if self._all is not None:
            self._all.set_postfix_str(words)

    def _show_all(self) -> None:
        total = sum(self._seconds.values())
        if self._all is None or self._pace_of_all is None or not total:
            return
        done = sum(self._seconds[recording] * fraction for recording, fraction in self._fractions.items())
        _show(self._all, done / total, self._pace_of_all.seconds_left(done / total, time.monotonic()))

    @staticmethod
    def _bar(name: str, place: int) -> "tqdm[NoReturn]":
        return tqdm(
            total=1.0,
            desc=name,
            position=place,
            bar_format=_FORMAT,
            file=sys.stderr,
            leave=False,
            disable=None,
        )


def _show(bar: "tqdm[NoReturn]", fraction: float, left: float | None) -> None:
    bar.n = fraction
    bar.unit = "" if left is None else f"{duration_text(left)} left"
    bar.refresh()
