"""A step's passes by what can be run or left out as a whole."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from my_submission.ensemble.passes import Pass, step_passes, total_weight
from my_submission.ensemble.preset import STEP_INPUT, Preset, Step


@dataclass(frozen=True)
class Unit:
    """What a step runs or leaves out as a whole: a member under one augmentation, or those of its bag's experts that
    together make a stem.

    key: the same for the same unit in a cheaper version of the step.
    masses: stem -> weight with which it counts in the step's mean. own_input: stem -> the same times the sign of the
        step's own input in how the member is read.
    """

    key: tuple[int, int, bool, frozenset[str]]
    name: str
    passes: tuple[Pass, ...]
    masses: Mapping[str, float]
    own_input: Mapping[str, float]


def step_units(step: Step, preset: Preset, seed: int, gain: float = 1.0) -> list[Unit]:
    """A step's passes by what can be left out; the parameters are those of `step_passes`."""
    together: dict[tuple[int, int, bool], list[Pass]] = {}
    for one in step_passes(step, preset, seed, gain):
        together.setdefault((one.member, one.repeat, one.augmentation.gain < 0), []).append(one)
    return [
        _unit(step, place, passes) for place, group in together.items() for passes in _sharing_stems(group)
    ]


def _sharing_stems(passes: Iterable[Pass]) -> list[list[Pass]]:
    """Groups of passes such that no stem is made by two groups."""
    groups: list[list[Pass]] = []
    for one in passes:
        sharing = [group for group in groups if any(one.factors.keys() & other.factors for other in group)]
        groups = [group for group in groups if group not in sharing]
        groups.append([*(other for group in sharing for other in group), one])
    return groups


def _unit(step: Step, place: tuple[int, int, bool], passes: list[Pass]) -> Unit:
    """A unit's passes have factors that add up to its masses: other units may yet be left out of the mean."""
    member = step.members[place[0]]
    augmentations = max(1, member.shifts) * len(member.polarity.gains)
    stems = sorted({stem for one in passes for stem in one.factors})
    masses = {stem: member.weights[stem] / augmentations for stem in stems}
    own_input = {stem: mass * member.sources[stem].get(STEP_INPUT, 0) for stem, mass in masses.items()}
    name = f"{member.model}, inverted" if place[2] else member.model
    return Unit(
        (*place, frozenset(stems)), name, tuple(_by_weight(one, step) for one in passes), masses, own_input
    )


def _by_weight(one: Pass, step: Step) -> Pass:
    """A pass whose factors are not yet divided by the sum of the members' weights."""
    factors = {
        stem: {source: factor * total_weight(step, stem) for source, factor in of_stem.items()}
        for stem, of_stem in one.factors.items()
    }
    return replace(one, factors=factors)
