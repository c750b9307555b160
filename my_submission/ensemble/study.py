"""What each member of a step estimates, one at a time, for studying an ensemble rather than running it.

This is the engine with the whole track as one block. The caller computes the passes (`engine.compute_pass`), or reads
them from a cache, and so shares them between ensembles.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from my_submission.ensemble.combine import blend_means
from my_submission.ensemble.engine import Everything, RunPass, run_blocks
from my_submission.ensemble.preset import MIXTURE, STEP_INPUT, Preset, Step
from my_submission.signal.audio import Stems
from my_submission.signal.chunking import Reader, reader

ESTIMATES_VERSION = 5
"""Raise this with every change to chunking, augmentation, models or inference that changes a pass's output."""


def separate(preset: Preset, mixture: Tensor, seed: int, run: RunPass) -> Stems:
    """The stems that a preset makes from a (channels, samples) mixture, as `Ensemble.separate` gives them."""
    return _whole(preset, {MIXTURE: reader(mixture)}, mixture.shape, seed, run)


def run_step(step: Step, preset: Preset, signals: Stems, seed: int, run: RunPass) -> Stems:
    """Everything a step makes from the (channels, samples) signals that it reads."""
    return _whole(_preset_of(step, preset), _readers(signals), signals[step.input].shape, seed, run)


def step_signals(preset: Preset, name: str, mixture: Tensor, seed: int, run: RunPass) -> tuple[Step, Stems]:
    """The step of this name and the signals that it reads, for which the steps before it are run."""
    for index, step in enumerate(preset.steps):
        if step.name == name:
            before = replace(preset, steps=preset.steps[:index], instruments=step.reads)
            return step, separate(before, mixture, seed, run)
    raise ValueError(
        f"preset {preset.name}: no step {name!r}; it has {', '.join(step.name for step in preset.steps)}"
    )


def member_estimates(
    step: Step, preset: Preset, signals: Stems, seed: int, run: RunPass
) -> Iterator[tuple[int, Stems]]:
    """(index of the member in the step, its own estimate of each of its stems), for every member.

    signals: those that the step reads. Sums such as `input - …` are done, augmentations are averaged, and a bag is
    one member. The step's means are these estimates weighted by its weights, so `blend_means` of those means is
    what the step makes.
    """
    reads = _readers(signals)  # one for all, so that `run` can recognise the signal
    shape = signals[step.input].shape
    for place in range(len(step.members)):
        yield place, _whole(_preset_of(_only_member(step, place), preset), reads, shape, seed, run)


def blend_of(step: Step) -> dict[str, dict[str, float]]:
    """How everything a step makes follows from its stems' weighted means and its input.

    {signal made: {stem or "input": coefficient}}, found by putting unit vectors through `blend_means`.
    """
    names = (*step.stems, STEP_INPUT)
    *units, signal = torch.eye(len(names), dtype=torch.float64)
    means = dict(zip(step.stems, units, strict=True))
    return {
        made: dict(zip(names, vector.tolist(), strict=True))
        for made, vector in blend_means(step, means, signal).items()
    }


def _whole(
    preset: Preset, reads: Mapping[str, Reader], shape: Sequence[int], seed: int, run: RunPass
) -> Stems:
    """shape: (channels, samples) of each of the signals that `reads` reads."""
    channels, samples = shape
    ((_, stems),) = run_blocks(preset, Everything(preset, seed), run, reads, channels, samples)
    return stems


def _readers(signals: Stems) -> dict[str, Reader]:
    return {name: reader(signal) for name, signal in signals.items()}


def _preset_of(step: Step, preset: Preset) -> Preset:
    """A preset of one step, whose output is everything the step makes."""
    return replace(preset, steps=(step,), instruments=step.makes)


def _only_member(step: Step, place: int) -> Step:
    """A step that makes one member's own estimates.

    The other members stay in their places without weights: they are not run, but all random delays stay the same.
    """
    member = step.members[place]
    members = tuple(
        other if i == place else replace(other, weights={}) for i, other in enumerate(step.members)
    )
    stems = tuple(stem for stem in step.stems if stem in member.weights)
    return replace(step, stems=stems, members=members, residual_shares={}, residual=None, mix={})
