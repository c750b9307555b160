"""What each member of a step estimates, one at a time, for those who study an ensemble rather than run it.

`ensemble.Ensemble` streams all steps at once and keeps no estimate whole. Here every step is finished before the next
one begins and each pass over a signal is whole, so that a caller may keep it, and share it between ensembles: `run`
gives the sources of one pass over one signal, be it computed (`compute_pass`) or read from where it was kept.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from my_submission.ensemble.passes import Pass, finish_step, input_factors, step_passes, used_sources
from my_submission.ensemble.preset import MIXTURE, STEP_INPUT, Preset, Step
from my_submission.models import ChunkModel
from my_submission.runtime.inference import estimate_track
from my_submission.runtime.schedule import SEQUENTIAL, Schedule
from my_submission.signal.audio import MODEL_SAMPLE_RATE, Stems
from my_submission.signal.augment import loudness_gain
from my_submission.signal.chunking import reader

ESTIMATES_VERSION = 5
"""Raise it with every change of chunking, augmentation, models or inference that changes what a pass gives."""

RunPass = Callable[[Pass, Tensor], Mapping[str, Tensor]]
"""One pass over a (channels, samples) signal -> at least the sources that it uses, each of that shape."""


def compute_pass(
    one: Pass, model: ChunkModel, signal: Tensor, schedule: Schedule = SEQUENTIAL
) -> Iterator[tuple[int, Mapping[str, Tensor]]]:
    """Run a model over a whole signal: `(start, {source: (channels, length)})` of the used sources, left to right."""
    places = {source: model.sources.index(source) for source in used_sources(one)}
    for start, piece in estimate_track(
        model, reader(signal), signal.shape[-1], one.augmentation, one.overlap, schedule,
        segment_samples=one.segment_samples,
    ):  # fmt: skip
        yield start, {source: piece[place] for source, place in places.items()}


def run_step(step: Step, preset: Preset, signal: Tensor, seed: int, run: RunPass) -> Stems:
    """All that a step makes of its (channels, samples) input."""
    gain = 1.0
    if step.loudness_lufs is not None:
        gain = loudness_gain(signal, MODEL_SAMPLE_RATE, step.loudness_lufs)
    sums = {stem: torch.zeros_like(signal) for stem in step.stems}
    for one in step_passes(step, preset, seed, gain):
        sources = run(one, signal)
        for stem, factors in one.factors.items():
            for source, factor in factors.items():
                sums[stem].add_(sources[source], alpha=factor)
    return finish_step(step, sums, signal)


def separate(preset: Preset, mixture: Tensor, seed: int, run: RunPass) -> Stems:
    """The stems that a preset makes of a (channels, samples) mixture, as `Ensemble.separate` gives them."""
    signals = {MIXTURE: mixture}
    for step in preset.steps:
        signals |= run_step(step, preset, signals[step.input], seed, run)
    return {stem: signals[stem] for stem in preset.instruments}


def step_input(preset: Preset, name: str, mixture: Tensor, seed: int, run: RunPass) -> tuple[Step, Tensor]:
    """The step of this name and the signal that it is given, for which the steps before it are run."""
    signals = {MIXTURE: mixture}
    for step in preset.steps:
        if step.name == name:
            return step, signals[step.input]
        signals |= run_step(step, preset, signals[step.input], seed, run)
    raise ValueError(
        f"preset {preset.name}: no step {name!r}; it has {', '.join(step.name for step in preset.steps)}"
    )


def member_estimates(
    step: Step, preset: Preset, signal: Tensor, seed: int, run: RunPass
) -> Iterator[tuple[int, Stems]]:
    """(place of the member in the step, its own estimate of each of its stems), for every member.

    What is read as `input - …` is that, augmentations are averaged and a bag is one member. A step's means are these
    estimates weighted by its weights, so `finish_step` of their means is what the step makes.
    """
    for place in range(len(step.members)):
        yield place, run_step(_only_member(step, place), preset, signal, seed, run)


def blend_of(step: Step) -> dict[str, dict[str, float]]:
    """How all that a step makes follows from its stems' weighted means and its input.

    {made signal: {stem or "input": coefficient}}, found by putting unit vectors through `finish_step`.
    """
    names = (*step.stems, STEP_INPUT)
    units = torch.eye(len(names), dtype=torch.float64)
    signal = units[-1]
    factors = input_factors(step)
    sums = {stem: units[i] - factors[stem] * signal for i, stem in enumerate(step.stems)}
    return {
        made: dict(zip(names, vector.tolist(), strict=True))
        for made, vector in finish_step(step, sums, signal).items()
    }


def _only_member(step: Step, place: int) -> Step:
    """A step that makes one member's own estimates.

    The other members stay in their places without weights, and so nothing of them is run but all random delays are
    the same.
    """
    member = step.members[place]
    members = tuple(
        other if i == place else replace(other, weights={}) for i, other in enumerate(step.members)
    )
    stems = tuple(stem for stem in step.stems if stem in member.weights)
    return replace(step, stems=stems, members=members, residual_shares={}, residual=None)
