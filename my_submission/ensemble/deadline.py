"""A time limit as a policy of the engine: predicts what a track takes, and leaves out what does not fit.

What is left out, and in which order, the preset says (`economies`). The policy wants the whole track as one block:
steps are finished one after the other, and in a step what the cheapest plan needs comes first, so that there is
something to leave out for as long as possible.
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
"""Seconds a second of audio, and seconds a track, kept for reading the mixture and writing the stems."""
USUAL_SECONDS = 240.0
"""A song's length, for which the prediction is logged."""
MARGIN = 0.1
"""What is predicted is taken to last so much longer."""
RECENT_CHUNKS = 4
"""The pace now is that of the last chunks."""
PACE_DECAY = 0.8
"""A slower machine counts at once, a quicker one only bit by bit: silence is quick, too."""


def check_limit_factor(factor: float | None) -> None:
    """ValueError unless it is None or a number of seconds per second of audio."""
    if factor is not None and not (math.isfinite(factor) and factor > 0):
        raise ValueError(f"time_limit_factor: expected seconds above 0 a second of audio, found {factor}")


def read_limit_factor(setting: float | str) -> float | None:
    """A time limit as it stands in a configuration: seconds per second of audio, or empty for none."""
    if setting == "":
        return None
    try:
        return float(setting)
    except ValueError:
        raise ValueError(
            f"TIME_LIMIT_FACTOR: expected seconds per second of audio, for example 1.57, or nothing for no limit, "
            f"found {setting!r}"
        ) from None


class Deadline:
    """A time limit for the tracks of a preset, one after the other.

    costs: of the models on this machine. limit_factor: seconds that a second of audio may take, reading and writing
        files included. clock: in seconds; `costs` were measured by it.
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
        self._say_prediction()

    @property
    def economies(self) -> list[str]:
        """What the last track was separated without, in words."""
        return self._track.economies if self._track else []

    def begin(self, samples: int, spent_seconds: float = 0.0) -> "DeadlinePolicy":
        """The policy for the next track, of `samples` at the models' rate; its time runs from now on.

        spent_seconds: how long the track has been under way.
        If even the cheapest version takes longer than the limit, that is run, and logged.
        """
        pace = 1.0
        if self._track is not None:
            last = self._track.watch
            pace = max(last.overall_pace, PACE_DECAY * last.earlier_pace)
        watch = Watch(self._clock, self.available_seconds(samples) - spent_seconds, pace)
        self._track = DeadlinePolicy(self._versions, self._seed, self._costs, samples, watch)
        return self._track

    def predicted_seconds(self, level: int, samples: int) -> float:
        """What a track of `samples` at the models' rate takes after the first `level` economies (−1: all)."""
        version = self._versions[level]
        return sum(
            self._costs.seconds(step_passes(step, version, self._seed), samples) for step in version.steps
        )

    def available_seconds(self, samples: int) -> float:
        """The limit for a track of `samples`, less what its files take."""
        return (self.limit_factor - FILES_FACTOR) * samples / MODEL_SAMPLE_RATE - FILES_SECONDS

    def _say_prediction(self) -> None:
        """Log what a song of usual length takes, and warn where even the cheapest version is too slow."""
        samples = round(USUAL_SECONDS * MODEL_SAMPLE_RATE)
        full, cheapest = (self.predicted_seconds(level, samples) / USUAL_SECONDS for level in (0, -1))
        log.info("predicted: %.2f s per second of audio, %.2f with all economies", full, cheapest)
        if cheapest * (1 + MARGIN) > self.limit_factor - FILES_FACTOR:
            log.warning(
                "preset %s: even with all economies a second of audio is predicted to take %.2f s, and the limit is "
                "%.2f: tracks will be late; choose a smaller preset or a faster machine",
                *(self._versions[0].name, cheapest, self.limit_factor),
            )


class Watch:
    """The time that is left, and the pace: seconds that pass for each that was predicted.

    pace: as it was before this track.
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
        """What has passed since the last `note` was no chunk."""
        self._last = self._clock()

    def note(self, predicted_seconds: float) -> None:
        """Work that was predicted to take so long has just been done."""
        now = self._clock()
        self._recent.append((predicted_seconds, now - self._last))
        self.predicted += predicted_seconds
        self._passed += now - self._last
        self._last = now

    @property
    def overall_pace(self) -> float:
        """That of the whole track so far."""
        return self._passed / self.predicted if self.predicted else self.earlier_pace

    @property
    def pace(self) -> float:
        """The slowest of what is known: lately, over the track, and as it was before."""
        predicted = sum(one for one, _ in self._recent)
        lately = sum(passed for _, passed in self._recent) / predicted if predicted else 0.0
        return max(lately, self.overall_pace, self.earlier_pace)


class DeadlinePolicy:
    """One track under way, an `engine.Policy`.

    versions: the preset after none of its economies, the first, the first two, … economies: what was left out, in
        words.
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
        self._level = 0  # how many economies are taken
        self._late = False
        self._step = 0
        self._begun: set[object] = set()  # keys of the step's units
        self._under_way: Unit | None = None
        self._units = functools.cache(self._find_units)  # asked for all levels and steps before every unit
        # Of the unit under way: where its end is on the watch's scale of predicted seconds, what the cheapest
        # version needs after it, and the end of the whole track on that scale.
        self._end = self._after = self._total = 0.0

    def next(self, step: int) -> Unit | None:
        """What to run next after taking the economies that are needed; first what the cheapest version needs."""
        if step != self._step:
            self._step, self._begun = step, set()
        self._economise()
        lasting = {
            unit.key: level for level in range(self._cheapest + 1) for unit in self._units(level, step)
        }
        units = [unit for unit in self._units(self._level, step) if unit.key not in self._begun]
        unit = max(units, key=lambda unit: lasting[unit.key], default=None)
        if unit is not None:
            self._begin(unit, may_stop=lasting[unit.key] < self._cheapest)
        return unit

    def stop(self) -> bool:
        """Whether what could be left out does not fit any more."""
        rest = self._end - self.watch.predicted + self._after
        if self._under_way is None or self._with_margin(rest) <= self.watch.left():
            return False
        name = self._versions[0].steps[self._step].name
        self.economies.append(f"{name}: {self._under_way.name} stopped on the way")
        log.warning("time is short, so %s", self.economies[-1])
        return True

    def note(self, one: Pass, chunks: int) -> tuple[float, float]:
        """Compare what chunks were predicted to take with what has passed; (predicted seconds done, and in all)."""
        self.watch.note(chunks * self._costs.share_of_chunk(one, self._samples))
        return self.watch.predicted, self._total

    @property
    def _cheapest(self) -> int:
        return len(self._versions) - 1

    def _begin(self, unit: Unit, may_stop: bool) -> None:
        self._begun.add(unit.key)
        self._under_way = unit if may_stop else None
        self._end = self.watch.predicted + self._costs.seconds(unit.passes, self._samples)
        self._after = self._predicted(self._cheapest)
        self._total = self._end + self._predicted(self._level)
        self.watch.restart()

    def _economise(self) -> None:
        """Take economies until what is left fits. One that would save nothing any more is passed over."""
        taken = []
        left = self._predicted(self._level)
        while left and self._with_margin(left) > self.watch.left():
            if self._level == self._cheapest:
                self._say_late()
                break
            self._level += 1
            before, left = left, self._predicted(self._level)
            if left < before:
                taken.append(str(self._versions[0].economies[self._level - 1]))
        if taken:
            self.economies += taken
            log.warning("time is short, so from here on %s", "; ".join(taken))

    def _say_late(self) -> None:
        if not self._late:
            log.warning("time is short, and the preset has no further economies: the limit may be missed")
        self._late = True

    def _find_units(self, level: int, step: int) -> list[Unit]:
        version = self._versions[level]
        return step_units(version.steps[step], version, self._seed)

    def _predicted(self, level: int) -> float:
        """Seconds that a version needs from here on, as they were measured."""
        units = [unit for unit in self._units(level, self._step) if unit.key not in self._begun]
        for later in range(self._step + 1, len(self._versions[level].steps)):
            units += self._units(level, later)
        return sum(self._costs.seconds(unit.passes, self._samples) for unit in units)

    def _with_margin(self, seconds: float) -> float:
        """What was measured, at the present pace."""
        return seconds * self.watch.pace * (1 + MARGIN)
