"""Separates within a time limit: foretells what a track takes, leaves out what does not fit, and watches the clock.

What is left out, and in which order, the preset says (`economies`). Unlike `ensemble.Ensemble` this holds a track's
signals whole: steps are finished one after the other, and in a step what the cheapest plan needs comes first, so that
there is something to leave out for as long as possible.
"""

import functools
import logging
import math
import time
from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor

from my_submission.ensemble.costs import Clock, Costs
from my_submission.ensemble.engine import Progress
from my_submission.ensemble.passes import Pass, complete_step, step_passes
from my_submission.ensemble.preset import MIXTURE, Preset
from my_submission.ensemble.units import Unit, step_units
from my_submission.runtime.inference import ModelPool, estimate_track
from my_submission.signal.audio import MODEL_SAMPLE_RATE, Stems
from my_submission.signal.augment import loudness_gain
from my_submission.signal.chunking import reader

log = logging.getLogger(__name__)

FILES_FACTOR, FILES_SECONDS = 0.015, 0.2
"""Seconds a second of audio, and seconds a track, kept for reading the mixture and writing the stems."""
USUAL_SECONDS = 240.0
"""A song's length, for which the plan is logged."""
MARGIN = 0.1
"""What is foretold is taken to last so much longer."""
RECENT_CHUNKS = 4
"""The pace now is that of the last chunks."""


def check_limit_factor(factor: float | None) -> None:
    """ValueError unless it is None or a number of seconds a second of audio."""
    if factor is not None and not (math.isfinite(factor) and factor > 0):
        raise ValueError(f"time_limit_factor: expected seconds above 0 a second of audio, found {factor}")


def read_limit_factor(setting: float | str) -> float | None:
    """A time limit as it stands in a configuration: seconds a second of audio, or empty for none."""
    if setting == "":
        return None
    try:
        return float(setting)
    except ValueError:
        raise ValueError(
            f"TIME_LIMIT_FACTOR: expected seconds a second of audio, for example 1.57, or nothing for no limit, "
            f"found {setting!r}"
        ) from None


class TimedEnsemble:
    """A preset with its models loaded, kept to a time limit.

    costs: of the models on this machine. limit_factor: seconds that a second of audio may take, reading and writing
        files included. clock: in seconds; `costs` were measured by it.
    economies: what the last track was separated without.
    """

    def __init__(
        self,
        preset: Preset,
        models: ModelPool,
        seed: int,
        costs: Costs,
        limit_factor: float,
        clock: Clock = time.monotonic,
    ) -> None:
        check_limit_factor(limit_factor)
        self.limit_factor = limit_factor
        self.economies: list[str] = []
        self.costs = costs
        self.clock = clock
        self.seed = seed
        self.models = models
        self.plans = [preset.economised(count) for count in range(len(preset.economies) + 1)]
        self._pace = 1.0
        self._say_plan()

    def _say_plan(self) -> None:
        """Log what is foretold for a song of usual length, and warn where even the cheapest plan is too slow."""
        samples = round(USUAL_SECONDS * MODEL_SAMPLE_RATE)
        full, cheapest = (self.foretold_seconds(level, samples) / USUAL_SECONDS for level in (0, -1))
        log.info("foretold: %.2f s a second of audio, %.2f with all economies", full, cheapest)
        if cheapest * (1 + MARGIN) > self.limit_factor - FILES_FACTOR:
            log.warning(
                "preset %s: even with all economies a second of audio is foretold to take %.2f s, and %.2f may pass: "
                "tracks will be late; choose a smaller preset or a faster machine",
                *(self.plans[0].name, cheapest, self.limit_factor),
            )

    def foretold_seconds(self, level: int, samples: int) -> float:
        """What a track of `samples` at the models' rate takes after the first `level` economies (−1: all)."""
        plan = self.plans[level]
        return sum(self.costs.seconds(step_passes(step, plan, self.seed), samples) for step in plan.steps)

    def available_seconds(self, samples: int) -> float:
        """The limit for a track of `samples`, less what its files take."""
        return (self.limit_factor - FILES_FACTOR) * samples / MODEL_SAMPLE_RATE - FILES_SECONDS

    def separate(
        self, mixture: Tensor, progress: Progress | None = None, spent_seconds: float = 0.0
    ) -> Stems:
        """(channels, samples) float32 at the models' rate -> the track's stems, each of that shape.

        spent_seconds: how long the track has been under way.
        If even the cheapest plan takes longer than may pass, that is run, and logged.
        """
        samples = mixture.shape[-1]
        available = self.available_seconds(samples) - spent_seconds
        track = _TimedTrack(self, samples, available, self._pace, progress)
        signals = {MIXTURE: mixture}
        for index, step in enumerate(self.plans[0].steps):
            signals |= track.run_step(index, signals[step.input])
        self.economies = track.economies
        # A slower machine counts at once, a quicker one only bit by bit: silence is quick, too.
        self._pace = max(track.watch.overall_pace, 0.8 * self._pace)
        return {stem: signals[stem] for stem in self.plans[0].instruments}


class _Watch:
    """The time that is left, and the pace: seconds that pass for each that was foretold."""

    def __init__(self, clock: Clock, available_seconds: float, pace: float) -> None:
        self._clock = clock
        self._last = clock()
        self._deadline = self._last + available_seconds
        self._pace = pace
        self._recent: deque[tuple[float, float]] = deque(maxlen=RECENT_CHUNKS)
        self.foretold = 0.0
        self._passed = 0.0

    def left(self) -> float:
        return self._deadline - self._clock()

    def restart(self) -> None:
        """What has passed since the last `note` was no chunk."""
        self._last = self._clock()

    def note(self, foretold_seconds: float) -> None:
        """Work that was to take so long has just been done."""
        now = self._clock()
        self._recent.append((foretold_seconds, now - self._last))
        self.foretold += foretold_seconds
        self._passed += now - self._last
        self._last = now

    @property
    def overall_pace(self) -> float:
        """That of the whole track so far."""
        return self._passed / self.foretold if self.foretold else self._pace

    @property
    def pace(self) -> float:
        """The slowest of what is known: lately, over the track, and as it was before."""
        foretold = sum(one for one, _ in self._recent)
        lately = sum(passed for _, passed in self._recent) / foretold if foretold else 0.0
        return max(lately, self.overall_pace, self._pace)


class _TimedTrack:
    """One track under way.

    level: how many economies are taken. economies: what was left out, in words.
    """

    def __init__(
        self,
        ensemble: TimedEnsemble,
        samples: int,
        available_seconds: float,
        pace: float,
        progress: Progress | None,
    ) -> None:
        self.level = 0
        self.economies: list[str] = []
        self.watch = _Watch(ensemble.clock, available_seconds, pace)
        self._ensemble = ensemble
        self._samples = samples
        self._progress = progress
        self._late = False
        self._units = functools.cache(self._find_units)

    def run_step(self, index: int, signal: Tensor) -> Stems:
        """All that step number `index` makes of its (channels, samples) input."""
        step = self._ensemble.plans[0].steps[index]
        gain = 1.0
        if step.loudness_lufs is not None:
            gain = loudness_gain(signal, MODEL_SAMPLE_RATE, step.loudness_lufs)
        sums = {stem: torch.zeros_like(signal) for stem in step.stems}
        masses = dict.fromkeys(step.stems, 0.0)
        begun: set[object] = set()
        while unit := self._next_unit(index, gain, begun):
            begun.add(unit.key)
            estimates = self._run(unit, index, gain, begun, signal)
            if estimates is None:
                self.economies.append(f"{step.name}: {unit.name} stopped on the way")
                log.warning("time is short, so %s", self.economies[-1])
                continue
            for stem, mass in unit.masses.items():
                sums[stem].add_(estimates[stem]).add_(signal, alpha=unit.own_input[stem])
                masses[stem] += mass
        return complete_step(step, {stem: total / masses[stem] for stem, total in sums.items()}, signal)

    def _next_unit(self, index: int, gain: float, begun: set[object]) -> Unit | None:
        """What to run next after taking the economies that are needed; None when the step is done."""
        self._economise(index, gain, begun)
        units = [unit for unit in self._units(self.level, index, gain) if unit.key not in begun]
        lasting = {
            unit.key: level
            for level in range(len(self._ensemble.plans))
            for unit in self._units(level, index, gain)
        }
        return max(units, key=lambda unit: lasting[unit.key], default=None)

    def _economise(self, index: int, gain: float, begun: set[object]) -> None:
        """Take economies until what is left fits. One that would save nothing any more is passed over."""
        cheapest = len(self._ensemble.plans) - 1
        taken = []
        left = self._foretold(self.level, index, gain, begun)
        while left and self._with_margin(left) > self.watch.left():
            if self.level == cheapest:
                self._say_late()
                break
            self.level += 1
            before, left = left, self._foretold(self.level, index, gain, begun)
            if left < before:
                taken.append(str(self._ensemble.plans[0].economies[self.level - 1]))
        if taken:
            self.economies += taken
            log.warning("time is short, so from here on %s", "; ".join(taken))

    def _say_late(self) -> None:
        if not self._late:
            log.warning("time is short, and the preset has no further economies: the limit may be missed")
        self._late = True

    def _find_units(self, level: int, index: int, gain: float) -> list[Unit]:
        plan = self._ensemble.plans[level]
        return step_units(plan.steps[index], plan, self._ensemble.seed, gain)

    def _foretold(self, level: int, index: int, gain: float, begun: set[object]) -> float:
        """Seconds that a level's plan needs from here on, as they were measured."""
        passes = [
            one for unit in self._units(level, index, gain) if unit.key not in begun for one in unit.passes
        ]
        for later in range(index + 1, len(self._ensemble.plans[level].steps)):
            passes += [one for unit in self._units(level, later, 1.0) for one in unit.passes]
        return self._ensemble.costs.seconds(passes, self._samples)

    def _with_margin(self, seconds: float) -> float:
        """What was measured, at the present pace."""
        return seconds * self.watch.pace * (1 + MARGIN)

    def _run(self, unit: Unit, index: int, gain: float, begun: set[object], signal: Tensor) -> Stems | None:
        """A unit's estimates times its masses; None if it could be left out and time ran short on the way."""
        costs = self._ensemble.costs
        cheapest = len(self._ensemble.plans) - 1
        may_stop = unit.key not in {needed.key for needed in self._units(cheapest, index, gain)}
        end = self.watch.foretold + costs.seconds(unit.passes, self._samples)
        after = self._foretold(cheapest, index, gain, begun)
        total = end + self._foretold(self.level, index, gain, begun)
        estimates = {stem: torch.zeros_like(signal) for stem in unit.masses}
        self.watch.restart()
        for one in unit.passes:
            model = self._ensemble.models.get(one.checkpoint)
            for start, piece in self._pieces(one, signal):
                for stem, factors in one.factors.items():
                    for source, factor in factors.items():
                        place = model.sources.index(source)
                        estimates[stem][:, start : start + piece.shape[-1]].add_(piece[place], alpha=factor)
                if self._progress is not None:
                    self._progress(self.watch.foretold, total)
                if may_stop and self._with_margin(end - self.watch.foretold + after) > self.watch.left():
                    return None
        return estimates

    def _pieces(self, one: Pass, signal: Tensor) -> Iterator[tuple[int, Tensor]]:
        """A pass over the track; the watch is told of every chunk."""
        ensemble, samples = self._ensemble, self._samples
        model = ensemble.models.get(one.checkpoint)
        foretold = ensemble.costs.share_of_chunk(one, samples)
        return estimate_track(
            model, reader(signal), samples, one.augmentation, one.overlap, ensemble.costs.schedule,
            lambda computed: self.watch.note(computed * foretold), one.segment_samples,
        )  # fmt: skip
