"""A time limit as a policy of the engine: it predicts how long a track takes, and leaves out what does not fit.

The preset says what to leave out, and in which order (`economies`). The policy needs the whole track as one block.
Steps are finished one after the other, and each step first runs what its cheapest version needs: so there is
something left to leave out for as long as possible.
"""

import functools
import logging
import math
import time
from collections import deque
from collections.abc import Sequence

from my_submission.ensemble.costs import Clock, Costs
from my_submission.ensemble.plan import Pass, Unit, step_passes, step_units
from my_submission.ensemble.preset import Preset
from my_submission.signal.audio import MODEL_SAMPLE_RATE

log = logging.getLogger(__name__)

FILES_FACTOR, FILES_SECONDS = 0.015, 0.2
"""Seconds per second of audio, and seconds per track, kept for reading the mixture and writing the stems."""
USUAL_SECONDS = 240.0
"""The length of a song for which the prediction is logged."""
MARGIN = 0.1
"""Predictions are raised by this share: costs are measured on a few chunks, and a late track has no score."""
RECENT_CHUNKS = 4
"""The present pace is that of this many chunks: one alone may just have been unlucky."""
PACE_DECAY = 0.8
"""A slower machine counts at once, a faster one only little by little: a track of silence is fast, too."""


def check_limit_factor(factor: float | None) -> None:
    """ValueError unless it is None or a number of seconds per second of audio."""
    if factor is not None and not (math.isfinite(factor) and factor > 0):
        raise ValueError(
            f"time_limit_factor: expected a number above 0, in seconds per second of audio, found {factor}"
        )


def read_limit_factor(setting: float | str) -> float | None:
    """A time limit as a configuration has it: seconds per second of audio, or empty for none."""
    if setting == "":
        return None
    try:
        return float(setting)
    except ValueError:
        raise ValueError(
            f"TIME_LIMIT_FACTOR: expected seconds per second of audio, such as 1.57, or an empty text for no limit, "
            f"found {setting!r}"
        ) from None


class Deadline:
    """A time limit for the tracks of a preset, one after the other.

    costs: of the models on this machine. limit_factor: seconds allowed per second of audio, reading and writing files
        included. clock: in seconds; the one that `costs` were measured by.
    """

    def __init__(
        self, preset: Preset, seed: int, costs: Costs, limit_factor: float, clock: Clock = time.monotonic
    ) -> None:
        check_limit_factor(limit_factor)
        self.limit_factor = limit_factor
        self._costs = costs
        self._clock = clock
        self._seed = seed
        self._versions = [preset.economised(count) for count in range(len(preset.economies) + 1)]
        self._track: DeadlinePolicy | None = None
        self.forecast, is_late = self._forecast()
        log.log(logging.WARNING if is_late else logging.INFO, "%s", self.forecast)

    @property
    def economies(self) -> list[str]:
        """What was left out of the last track, in words."""
        return self._track.economies if self._track else []

    def begin(self, samples: int, spent_seconds: float = 0.0) -> "DeadlinePolicy":
        """The policy for the next track, of `samples` at the models' rate; its time starts now.

        spent_seconds: how long the track has been under way already.
        If even the cheapest version is predicted to miss the limit, it is run all the same, and that is logged.
        """
        pace = 1.0  # as measured
        if self._track is not None:
            # A machine that was slow a moment ago is likely to be slow now; yet one slow track must not make all
            # later ones poorer, so what was known before it fades.
            last = self._track.watch
            pace = max(last.overall_pace, PACE_DECAY * last.earlier_pace)
        watch = Watch(self._clock, self.available_seconds(samples) - spent_seconds, pace)
        self._track = DeadlinePolicy(self._versions, self._seed, self._costs, samples, watch)
        return self._track

    def predicted_seconds(self, level: int, samples: int) -> float:
        """Seconds for a track of `samples` at the models' rate with the first `level` economies (−1: all)."""
        version = self._versions[level]
        return sum(
            self._costs.seconds(step_passes(step, version, self._seed), samples) for step in version.steps
        )

    def available_seconds(self, samples: int) -> float:
        """The limit for a track of `samples`, minus the time for its files."""
        return (self.limit_factor - FILES_FACTOR) * samples / MODEL_SAMPLE_RATE - FILES_SECONDS

    def _forecast(self) -> tuple[str, bool]:
        """What is expected of a song of usual length, in words, and whether even the cheapest version is too slow."""
        samples = round(USUAL_SECONDS * MODEL_SAMPLE_RATE)
        allowed, most = self.limit_factor * USUAL_SECONDS, len(self._versions) - 1
        seconds = [self.predicted_seconds(level, samples) for level in range(most + 1)]
        level = next(
            (
                level
                for level in range(most + 1)
                if seconds[level] * (1 + MARGIN) <= self.available_seconds(samples)
            ),
            None,
        )
        sentences = [
            f"Preset {self._versions[0].name}, a song of {USUAL_SECONDS / 60:.0f} minutes: {allowed:.0f} s are "
            "allowed.",
            _forecast_sentence("nothing left out", seconds[0]),
        ]
        if level != 0 and most:
            count = most if level is None else level
            sentences.append(_forecast_sentence(_economies_words(count, most), seconds[count]))
        if level is None:
            sentences.append(
                "That is too long: tracks will be late. Choose a smaller preset or a faster machine."
            )
        else:
            sentences.append(f"So tracks are expected to be in time{' that way' if level else ''}.")
        return " ".join(sentences), level is None


def _economies_words(count: int, most: int) -> str:
    """The first `count` of `most` economies, as taken."""
    if most == 1:
        return "its one economy taken"
    which = "all" if count == most else "the first" if count == 1 else f"the first {count}"
    return f"{which} of its {most} economies taken"


def _forecast_sentence(how: str, seconds: float) -> str:
    return (
        f"With {how}, {seconds:.0f} s are forecast, and {seconds * (1 + MARGIN):.0f} s with the margin of "
        f"{MARGIN:.0%} that is kept."
    )


class Watch:
    """The time that is left, and the pace: seconds that pass for each second predicted.

    pace: what it was before this track.
    """

    def __init__(self, clock: Clock, available_seconds: float, pace: float) -> None:
        self.earlier_pace = pace
        self.predicted = 0.0
        self._clock = clock
        self._last = clock()
        self._deadline = self._last + available_seconds
        self._recent: deque[tuple[float, float]] = deque(maxlen=RECENT_CHUNKS)
        self._passed = 0.0

    def left(self) -> float:
        """Seconds until the track must be done."""
        return self._deadline - self._clock()

    def restart(self) -> None:
        """Do not count the time since the last `note` towards any chunk."""
        self._last = self._clock()

    def note(self, predicted_seconds: float) -> None:
        """Work that was predicted to take this long has just been done."""
        now = self._clock()
        self._recent.append((predicted_seconds, now - self._last))
        self.predicted += predicted_seconds
        self._passed += now - self._last
        self._last = now

    @property
    def overall_pace(self) -> float:
        """The pace over the whole track so far."""
        return self._passed / self.predicted if self.predicted else self.earlier_pace

    @property
    def pace(self) -> float:
        """The slowest of three: lately, over the track, and before it. A mistake this way costs a little quality; the
        other way, the track."""
        predicted = sum(one for one, _ in self._recent)
        lately = sum(passed for _, passed in self._recent) / predicted if predicted else 0.0
        return max(lately, self.overall_pace, self.earlier_pace)


class DeadlinePolicy:
    """One track under way, an `engine.Policy`.

    versions: the preset with none of its economies, with the first, with the first two, …
    economies: what was left out, in words.
    """

    def __init__(
        self, versions: Sequence[Preset], seed: int, costs: Costs, samples: int, watch: Watch
    ) -> None:
        self.watch = watch
        self.economies: list[str] = []
        self._versions = versions
        self._seed = seed
        self._costs = costs
        self._samples = samples
        self._level = 0  # how many economies are taken; it only grows
        self._late = False
        self._step = 0
        self._begun: set[object] = set()  # keys of the step's units
        self._under_way: Unit | None = None
        self._units = functools.cache(self._find_units)  # asked for all levels and steps before every unit
        # For the unit under way, in predicted seconds as the watch counts them: where it ends, how much the cheapest
        # version needs after it, and where the whole track ends.
        self._end = self._after = self._total = 0.0

    def next(self, step: int) -> Unit | None:
        """What to run next, once the economies that are needed are taken; first what the cheapest version needs."""
        if step != self._step:
            self._step, self._begun = step, set()
        self._economise()
        lasting = {
            unit.key: level for level in range(self._cheapest + 1) for unit in self._units(level, step)
        }
        units = [unit for unit in self._units(self._level, step) if unit.key not in self._begun]
        # First the units that survive the most economies: whatever is left out later, they were not run in vain.
        unit = max(units, key=lambda unit: lasting[unit.key], default=None)
        if unit is not None:
            self._begin(unit, may_stop=lasting[unit.key] < self._cheapest)
        return unit

    def stop(self) -> bool:
        """Whether the unit under way can be left out and no longer fits. What it has done so far is lost."""
        rest = self._end - self.watch.predicted + self._after
        if self._under_way is None or self._with_margin(rest) <= self.watch.left():
            return False
        name = self._versions[0].steps[self._step].name
        self.economies.append(f"{name}: {self._under_way.name} stopped on the way")
        log.warning("time is short: %s", self.economies[-1])
        return True

    def note(self, one: Pass, chunks: int) -> tuple[float, float]:
        """Compare the time predicted for chunks with the time that passed; (predicted seconds done, and in all)."""
        self.watch.note(chunks * self._costs.share_of_chunk(one, self._samples))
        return self.watch.predicted, self._total

    @property
    def _cheapest(self) -> int:
        return len(self._versions) - 1

    def _begin(self, unit: Unit, may_stop: bool) -> None:
        self._begun.add(unit.key)
        self._under_way = unit if may_stop else None  # what the cheapest version needs is never stopped
        self._end = self.watch.predicted + self._costs.seconds(unit.passes, self._samples)
        self._after = self._predicted(self._cheapest)
        self._total = self._end + self._predicted(self._level)
        self.watch.restart()

    def _economise(self) -> None:
        """Take economies until the rest fits. One that can no longer save anything is taken without a word."""
        taken = []
        left = self._predicted(self._level)
        while left and self._with_margin(left) > self.watch.left() and self._level < self._cheapest:
            self._level += 1
            before, left = left, self._predicted(self._level)
            if left < before:
                taken.append(str(self._versions[0].economies[self._level - 1]))
        if taken:
            self.economies += taken
            log.warning("time is short; from here on: %s", "; ".join(taken))
        if left and self._with_margin(left) > self.watch.left() and not self._late:
            self._late = True
            log.warning("%s", self._said_late(self._with_margin(left)))

    def _said_late(self, needed: float) -> str:
        """The forecast of a track that cannot be saved: perhaps the last line of its log."""
        so_far = "; ".join(self.economies)
        done = (
            f"all economies are taken ({so_far})" if so_far else "the preset has no economies that would help"
        )
        return (
            f"this track is predicted to be late: it needs {needed:.1f} s more, the margin of {MARGIN:.0%} included, "
            f"and has {max(self.watch.left(), 0.0):.1f} s; {done}"
        )

    def _find_units(self, level: int, step: int) -> list[Unit]:
        version = self._versions[level]
        return step_units(version.steps[step], version, self._seed)

    def _predicted(self, level: int) -> float:
        """Seconds that a version needs from here on, by the measured costs."""
        units = [unit for unit in self._units(level, self._step) if unit.key not in self._begun]
        for later in range(self._step + 1, len(self._versions[level].steps)):
            units += self._units(level, later)
        return sum(self._costs.seconds(unit.passes, self._samples) for unit in units)

    def _with_margin(self, seconds: float) -> float:
        """Measured seconds at the present pace, and the margin."""
        return seconds * self.watch.pace * (1 + MARGIN)
