"""An ensemble as data: frozen records, which `preset_reader` makes from a YAML file.

A preset is a list of steps. A step runs its members on one signal and makes the stems it names, each the weighted
mean of the members' estimates. Later steps may take what it makes, and its residual, as their input.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from my_submission.registry import find_architecture
from my_submission.schema import Record, brief, choice_text, expecting, validate
from my_submission.signal.augment import Normalise, Polarity
from my_submission.signal.rates import MODEL_SAMPLE_RATE, hop_samples
from my_submission.weights import Bag, Checkpoint, Manifest

MIXTURE = "mixture"
STEP_INPUT = "input"
"""In a member's `sources`, the signal that the step runs on."""

CHALLENGES = {
    "music": ("bass", "drums", "other", "vocals"),
    "cinematic": ("dialog", "effect", "music"),
}
"""The stems of each challenge, in the organisers' order."""

# What a preset may ask for. Each is far above what any published ensemble does; docs/presets.md lists them.
LARGEST_OVERLAP = 0.99
MOST_SHIFTS = 100
MOST_STEPS, MOST_MEMBERS, MOST_STEMS, MOST_ECONOMIES = 32, 64, 64, 100
LEAST_SEGMENT_SAMPLES, LARGEST_SEGMENT_SAMPLES = 1_000, 3600 * MODEL_SAMPLE_RATE
LEAST_HOP_SAMPLES = 441
"""Between the starts of two segments: 10 ms."""
LARGEST_FACTOR = 1_000
"""In a `mix`, of either sign."""
LEAST_WEIGHT, LARGEST_WEIGHT = 1e-6, 1_000_000
"""Of a member, unless it is 0. The products of weights stay finite, and above zero, in float32."""
MOST_PASSES = 10_000
"""Of all members over their signals, each shift and polarity counted."""

Overlap = Annotated[
    float, Field(ge=0, le=LARGEST_OVERLAP), expecting(f"a fraction from 0 to {LARGEST_OVERLAP}")
]
Shifts = Annotated[int, Field(ge=0, le=MOST_SHIFTS), expecting(f"a whole number from 0 to {MOST_SHIFTS}")]


class PresetError(ValueError):
    """A preset is wrong: the message names file, key, what was found and what is allowed."""


@dataclass(frozen=True)
class Member:
    """One model in a step.

    model: a checkpoint's or bag's name in the manifest.
    sources: stem -> how to get it from the model: {source or "input": +1 or −1}, summed.
    weights: stem -> weight above zero in the step's mean.
    segment_samples: cut the signal into segments of that many samples, which overlap instead of the chunks
        (`chunking.plan_chunks`); or None.
    estimates: source -> the earlier step's signal that the model refines; empty for a model that refines none.
    normalise: subtract the whole signal's mean and divide by its deviation, which is undone on every source; or None.
    """

    model: str
    sources: Mapping[str, Mapping[str, int]]
    weights: Mapping[str, float]
    polarity: Polarity
    overlap: float
    shifts: int
    segment_samples: int | None = None
    estimates: Mapping[str, str] = field(default_factory=dict)
    normalise: Normalise | None = None


@dataclass(frozen=True)
class Step:
    """One stage of a cascade.

    stems: the signals it makes, each the weighted mean of its members' estimates.
    mix: stem -> {stem or "input": factor}: what it is made of instead, a sum of these means and the input.
    residual_shares: stem -> its share of the residual, input − stems, which is added to it. If the shares add up to
        one, the stems add up to the input.
    residual: the name of the signal input − stems, or None.
    loudness_lufs: bring the input to this loudness for the models and undo the gain afterwards, or None.
    """

    name: str
    input: str
    stems: tuple[str, ...]
    members: tuple[Member, ...]
    residual_shares: Mapping[str, float]
    residual: str | None
    loudness_lufs: float | None
    mix: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def consistent(self) -> bool:
        """Whether the stems add up to the input."""
        return math.isclose(sum(self.residual_shares.values()), 1.0)

    @property
    def needs_whole_input(self) -> bool:
        """Whether its passes depend on the level of all of its input."""
        return self.loudness_lufs is not None or any(member.normalise for member in self.members)

    @property
    def makes(self) -> tuple[str, ...]:
        return self.stems if self.residual is None else (*self.stems, self.residual)

    @property
    def reads(self) -> tuple[str, ...]:
        """The signals that it takes: its input, and what members refine."""
        refined = (
            signal for member in self.members if member.weights for signal in member.estimates.values()
        )
        return tuple(dict.fromkeys((self.input, *refined)))


@dataclass(frozen=True)
class Economy:
    """A way to make a step cheaper and slightly worse, chosen by the preset's author.

    model: whose members it changes; None: all. drop: leave them out. polarity: which of the two they keep.
    overlap, shifts: reduce them to at most this.
    """

    step: str
    model: str | None = None
    drop: bool = False
    polarity: Polarity | None = None
    overlap: float | None = None
    shifts: int | None = None

    def __str__(self) -> str:
        if self.drop:
            return f"{self.step}: without {self.model}"
        whose = f"{self.step}: {self.model or 'all members'} with"
        if self.polarity is not None:
            return f"{whose} one polarity ({self.polarity.value}) in place of both"
        if self.overlap is not None:
            return f"{whose} an overlap of at most {self.overlap:g}"
        return f"{whose} at most {self.shifts} shift{'' if self.shifts == 1 else 's'}"

    def applied_to(self, step: Step) -> Step:
        """The cheaper step, or an equal one if there is nothing to save.

        A member that is left out stays in its place without weights, so that the others keep their random delays.
        """
        if step.name != self.step:
            return step
        members = (
            self._cheaper(member) if self.model in (None, member.model) else member for member in step.members
        )
        return replace(step, members=tuple(members))

    def _cheaper(self, member: Member) -> Member:
        if self.drop:
            return replace(member, weights={})
        return replace(
            member,
            polarity=self.polarity if self.polarity and member.polarity is Polarity.BOTH else member.polarity,
            overlap=member.overlap if self.overlap is None else min(self.overlap, member.overlap),
            shifts=member.shifts if self.shifts is None else min(self.shifts, member.shifts),
        )


@dataclass(frozen=True)
class Preset:
    """A named ensemble.

    instruments: the stems it makes, in its own order or the organisers', or those chosen by `for_stems`.
    path: its file.
    economies: what to leave out when time is short, in this order, each on top of those before it.
    """

    name: str
    description: str
    steps: tuple[Step, ...]
    manifest: Manifest
    instruments: tuple[str, ...]
    path: Path
    economies: tuple[Economy, ...] = ()

    @property
    def challenge(self) -> str | None:
        """The challenge whose stems these are, and so which it can be submitted to; None for any other stems."""
        stems = set(self.instruments)
        return next((name for name, given in CHALLENGES.items() if set(given) == stems), None)

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """Names of the checkpoints whose output is used, in order of first use."""
        experts = (
            expert
            for step in self.steps
            for member in step.members
            for expert, _ in needed_experts(member, self.manifest)
        )
        return tuple(dict.fromkeys(experts))

    @property
    def mixture_consistent(self) -> bool:
        """Whether the stems add up to the mixture by construction."""
        parts = {MIXTURE}
        for step in self.steps:
            if step.input in parts and (step.consistent or step.residual):
                parts = parts - {step.input} | set(step.makes)
        return parts == set(self.instruments)

    @property
    def sharing_stems(self) -> int:
        """How many stems share what no model sees: all if they add up to the mixture, 0 if they do not."""
        return len(self.instruments) if self.mixture_consistent else 0

    def override(self, overlap: float | None, shifts: int | None) -> "Preset":
        """The preset with another overlap or number of shifts in every member; PresetError if that is too much."""
        given = validate(_Override, {"overlap": overlap, "shifts": shifts}, "", PresetError)
        changes = given.model_dump(exclude_none=True)
        steps = tuple(
            replace(step, members=tuple(replace(member, **changes) for member in step.members))
            for step in self.steps
        )
        return check_work(replace(self, steps=steps))

    def for_stems(self, stems: Collection[str]) -> "Preset":
        """The preset without the steps that these stems do not need; PresetError unless it makes all of them."""
        if isinstance(stems, str) or not stems:
            raise PresetError(f"stems: expected a list of names, found {brief(stems)}")
        for stem in stems:
            if stem not in self.instruments:
                raise PresetError(f"stems: {choice_text(stem, self.instruments)}")
        instruments = tuple(stem for stem in self.instruments if stem in stems)
        needed = set(instruments)
        steps: list[Step] = []
        for step in reversed(self.steps):
            if needed & set(step.makes):
                needed.update(step.reads)
                steps.insert(0, step)
        names = {step.name for step in steps}
        economies = tuple(economy for economy in self.economies if economy.step in names)
        return replace(self, steps=tuple(steps), instruments=instruments, economies=economies)

    def economised(self, count: int) -> "Preset":
        """The preset with the first `count` of its economies taken."""
        steps = self.steps
        for economy in self.economies[:count]:
            steps = tuple(economy.applied_to(step) for step in steps)
        return replace(self, steps=steps, economies=self.economies[count:])


class _Override(Record):
    overlap: Overlap | None
    shifts: Shifts | None


def check_work(preset: Preset) -> Preset:
    """The preset, if it asks for no more passes and segments than it may; else PresetError.

    Only the whole preset tells: what is allowed by itself may be too much together.
    """
    passes = 0
    for step in preset.steps:
        for member in step.members:
            check_hop(member, f"{preset.path}: step {step.name!r}, {member.model}")
            runs = max(1, member.shifts) * len(member.polarity.gains)
            passes += runs * len(needed_experts(member, preset.manifest))
    if passes > MOST_PASSES:
        raise PresetError(
            f"{preset.path}: runs models {passes:,} times over a track, expected at most {MOST_PASSES:,};"
            " give it fewer shifts, members or steps"
        )
    return preset


def check_hop(member: Member, where: str) -> None:
    """PresetError if a member's segments begin too close to each other. where: what to call the member."""
    if member.segment_samples is not None:
        hop = hop_samples(member.segment_samples, member.overlap)
        if hop < LEAST_HOP_SAMPLES:
            raise PresetError(
                f"{where}: an overlap of {member.overlap} leaves {hop} samples between segments of"
                f" {member.segment_samples:,}, expected {LEAST_HOP_SAMPLES} or more"
            )


def needed_experts(member: Member, manifest: Manifest) -> list[tuple[str, Mapping[str, float]]]:
    """(checkpoint name, {source: share}) of what a member runs, only for the sources that it uses.

    The shares of a source add up to one over a bag's experts; a single checkpoint has shares of one.
    """
    used = {source for stem in member.weights for source in member.sources[stem]} - {STEP_INPUT}
    bag = as_bag(member.model, manifest)
    totals = {source: sum(weights.get(source, 0.0) for _, weights in bag.members) for source in used}
    experts: list[tuple[str, Mapping[str, float]]] = []
    for name, weights in bag.members:
        shares = {source: weights[source] / totals[source] for source in used if weights.get(source)}
        if shares:
            experts.append((name, shares))
    return experts


def estimates_for(member: Member, checkpoint: Checkpoint) -> tuple[str, ...]:
    """The signals that a checkpoint of a member takes besides the step's input, in the order of its sources."""
    if not find_architecture(checkpoint.architecture).refines:
        return ()
    return tuple(member.estimates[source] for source in checkpoint.sources)


def as_bag(model: str, manifest: Manifest) -> Bag:
    """A bag by its name, or a checkpoint as a bag of one."""
    if model in manifest.bags:
        return manifest.bags[model]
    return Bag(model, ((model, dict.fromkeys(manifest.checkpoints[model].sources, 1.0)),))


def checkpoint_rows(preset: Preset) -> list[Checkpoint]:
    """The manifest rows of `preset.checkpoints`, each after those of its parts."""
    return preset.manifest.with_parts(preset.checkpoints)
