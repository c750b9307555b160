"""What a preset runs, before any audio is touched: a step is a sum of units, a unit a few passes, a pass one
model."""

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from my_submission.ensemble.preset import (
    STEP_INPUT,
    Member,
    Preset,
    Step,
    estimates_for,
    needed_experts,
)
from my_submission.signal.audio import MODEL_SAMPLE_RATE
from my_submission.signal.augment import Augmentation, Normalise, draw_delays

MAX_DELAY_SAMPLES = MODEL_SAMPLE_RATE // 2
"""The shift trick's delays are at most half a second."""


@dataclass(frozen=True)
class Pass:
    """One checkpoint over one signal under one augmentation, and what that adds to each stem.

    overlap, segment_samples: as `chunking.plan_chunks` takes them. beside: the earlier steps' signals that it takes
        after the step's input. normalise: as its member says; the level itself is not known yet.
    factors: stem -> {source: factor}: the member's weight, the bag's share, the sum's sign and the mean over the
        augmentations, in one number. A step's sums are divided by the masses of the units that ran only at the
        finish, so that units may be left out.
    """

    checkpoint: str
    augmentation: Augmentation
    overlap: float
    factors: Mapping[str, Mapping[str, float]]
    segment_samples: int | None = None
    beside: tuple[str, ...] = ()
    normalise: Normalise | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources of its checkpoint that are used."""
        return tuple(dict.fromkeys(source for factors in self.factors.values() for source in factors))


@dataclass(frozen=True)
class Unit:
    """What a step runs or leaves out as a whole: a member under one augmentation, or those of its bag's experts that
    together make a stem.

    key: the same for the same unit in a cheaper version of the step.
    masses: stem -> its weight in the step's mean. own_input: stem -> that weight times the sign of `input` in the
        member's sum for the stem.
    """

    key: tuple[int, int, bool, frozenset[str]]
    name: str
    passes: tuple[Pass, ...]
    masses: Mapping[str, float]
    own_input: Mapping[str, float]


def step_units(step: Step, preset: Preset, seed: int) -> list[Unit]:
    """What a step of a preset runs, in order.

    seed: for the random delays. They depend only on it, the step's name, the model and the polarity (for the authors,
        x and −x are two calls, each with its own delays). So a track's estimates do not depend on what was separated
        before, or on which other members the step has.
    """
    runs_of: Counter[str] = Counter()
    units: list[Unit] = []
    for place, member in enumerate(step.members):
        draw = f"{step.name}/{runs_of[member.model]}"
        runs_of[member.model] += 1
        experts = needed_experts(member, preset.manifest)
        for gain in member.polarity.gains:
            delays = {name: _delays(f"{draw}/{name}", member.shifts, gain, seed) for name, _ in experts}
            for repeat in range(max(1, member.shifts)):
                passes = [
                    Pass(
                        name,
                        Augmentation(gain, delays[name][repeat]),
                        member.overlap,
                        source_factors(member, shares),
                        member.segment_samples,
                        estimates_for(member, preset.manifest.checkpoints[name]),
                        member.normalise,
                    )
                    for name, shares in experts
                ]
                units += [_unit(member, (place, repeat, gain < 0), group) for group in _sharing_stems(passes)]
    return units


def step_passes(step: Step, preset: Preset, seed: int) -> list[Pass]:
    """The passes of all units of a step."""
    return [one for unit in step_units(step, preset, seed) for one in unit.passes]


def needed_sources(preset: Preset) -> dict[str, set[str]]:
    """checkpoint name -> its sources that the preset uses."""
    needed: dict[str, set[str]] = {}
    for step in preset.steps:
        for one in step_passes(step, preset, seed=0):
            needed.setdefault(one.checkpoint, set()).update(one.sources)
    return needed


def source_factors(member: Member, shares: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """stem -> {source: factor}, by which an expert's estimates under one augmentation enter a step's weighted sums.

    shares: the expert's share of each source in its bag.
    """
    return {
        stem: {
            source: mass * sign * shares[source]
            for source, sign in member.sources[stem].items()
            if source in shares
        }
        for stem, mass in _masses(member).items()
        if any(source in shares for source in member.sources[stem])
    }


def _masses(member: Member) -> dict[str, float]:
    """stem -> each augmentation's part of a member's weight."""
    augmentations = max(1, member.shifts) * len(member.polarity.gains)
    return {stem: weight / augmentations for stem, weight in member.weights.items()}


def _delays(draw: str, shifts: int, gain: float, seed: int) -> tuple[int, ...]:
    stream = zlib.crc32(f"{draw}{'/inverted' if gain < 0 else ''}".encode())
    return draw_delays(shifts, MAX_DELAY_SAMPLES, np.random.default_rng([seed, stream]))


def _sharing_stems(passes: Iterable[Pass]) -> list[list[Pass]]:
    """Groups of passes such that no stem is made by two groups."""
    groups: list[list[Pass]] = []
    for one in passes:
        sharing = [group for group in groups if any(one.factors.keys() & other.factors for other in group)]
        groups = [group for group in groups if group not in sharing]
        groups.append([*(other for group in sharing for other in group), one])
    return groups


def _unit(member: Member, place: tuple[int, int, bool], passes: list[Pass]) -> Unit:
    stems = {stem for one in passes for stem in one.factors}
    masses = {stem: mass for stem, mass in _masses(member).items() if stem in stems}
    own_input = {stem: mass * member.sources[stem].get(STEP_INPUT, 0) for stem, mass in masses.items()}
    name = f"{member.model}, inverted" if place[2] else member.model
    return Unit((*place, frozenset(stems)), name, tuple(passes), masses, own_input)
