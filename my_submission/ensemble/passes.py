"""What a step of a preset runs, and how that adds up: pure functions from a preset to passes and back to stems."""

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from my_submission.ensemble.preset import STEP_INPUT, Member, Preset, Step, needed_experts
from my_submission.signal.audio import MODEL_SAMPLE_RATE, Stems
from my_submission.signal.augment import Augmentation, draw_delays

MAX_DELAY_SAMPLES = MODEL_SAMPLE_RATE // 2
"""The shift trick's delays go up to half a second."""


@dataclass(frozen=True)
class Pass:
    """One checkpoint over one signal under one augmentation, and what that contributes to which stem.

    factors: stem -> {source: factor}: the member's weight, the bag's share, the sum's sign and the mean over the
        augmentations in one number.
    member, repeat: the place of its member in the step, and which of that member's delays it is.
    """

    checkpoint: str
    augmentation: Augmentation
    overlap: float
    factors: Mapping[str, Mapping[str, float]]
    member: int
    repeat: int
    segment_samples: int | None = None


def step_passes(step: Step, preset: Preset, seed: int, gain: float = 1.0) -> Iterator[Pass]:
    """What a step of a preset runs, in order.

    seed: of the random delays, which depend on it, the step's name, the model and the polarity alone (x and −x are
        two calls to the authors, each with delays of its own): a track's estimates depend neither on what was
        separated before nor on which other members the step has.
    gain: of the step's input, undone on the estimates.
    """
    runs_of: Counter[str] = Counter()
    for place, member in enumerate(step.members):
        repetition = runs_of[member.model]
        runs_of[member.model] += 1
        for checkpoint, shares in needed_experts(member, preset.manifest):
            gains = member.polarity.gains
            factors = source_factors(step, member, shares, 1 / (max(1, member.shifts) * len(gains)))
            for polarity in gains:
                name = f"{step.name}/{repetition}/{checkpoint}{'/inverted' if polarity < 0 else ''}"
                rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
                for repeat, delay in enumerate(draw_delays(member.shifts, MAX_DELAY_SAMPLES, rng)):
                    yield Pass(
                        checkpoint, Augmentation(gain * polarity, delay), member.overlap, factors, place,
                        repeat, member.segment_samples,
                    )  # fmt: skip


def used_sources(one: Pass) -> tuple[str, ...]:
    """The sources of its checkpoint that a pass contributes to anything."""
    return tuple(dict.fromkeys(source for factors in one.factors.values() for source in factors))


def needed_sources(preset: Preset) -> dict[str, set[str]]:
    """checkpoint name -> the sources that it contributes to anything in the preset."""
    needed: dict[str, set[str]] = {}
    for step in preset.steps:
        for one in step_passes(step, preset, seed=0):
            needed.setdefault(one.checkpoint, set()).update(used_sources(one))
    return needed


def source_factors(
    step: Step, member: Member, shares: Mapping[str, float], scale: float
) -> dict[str, dict[str, float]]:
    """stem -> {source: factor} by which an expert's estimates, times `scale`, enter the step's weighted means.

    shares: the expert's share of each source in its bag.
    """
    return {
        stem: {
            source: scale * sign * shares[source] * weight / total_weight(step, stem)
            for source, sign in member.sources[stem].items()
            if source in shares
        }
        for stem, weight in member.weights.items()
        if any(source in shares for source in member.sources[stem])
    }


def input_factors(step: Step) -> dict[str, float]:
    """stem -> factor by which the step's own input enters it, from members read as `input - …`."""
    return {
        stem: sum(
            member.weights.get(stem, 0.0) * member.sources.get(stem, {}).get(STEP_INPUT, 0)
            for member in step.members
        )
        / total_weight(step, stem)
        for stem in step.stems
    }


def finish_step(step: Step, sums: Stems, signal: Tensor) -> Stems:
    """What a step makes of its input and its passes' weighted sums, all (…, samples): the last, linear part of it."""
    return complete_step(
        step, {stem: sums[stem] + factor * signal for stem, factor in input_factors(step).items()}, signal
    )


def complete_step(step: Step, stems: Stems, signal: Tensor) -> Stems:
    """What a step makes of its input and of its members' weighted means."""
    residual = signal - sum(stems.values())
    shares = step.residual_shares
    stems = {stem: one + shares[stem] * residual if stem in shares else one for stem, one in stems.items()}
    if step.residual is None:
        return stems
    return {**stems, step.residual: (1 - sum(shares.values())) * residual if shares else residual}


def total_weight(step: Step, stem: str) -> float:
    """The sum of the weights that the step's members have for a stem."""
    return sum(member.weights.get(stem, 0.0) for member in step.members)
