"""How passes add up to what a step makes: the only add, and the only finish."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from my_submission.ensemble.plan import Pass, Unit
from my_submission.ensemble.preset import STEP_INPUT, Step
from my_submission.signal.audio import Stems
from my_submission.signal.sliding import SlidingSignal


def add_piece(
    sums: Mapping[str, SlidingSignal], one: Pass, start: int, estimates: Mapping[str, Tensor]
) -> None:
    """Add a pass's estimates from sample `start` on, {source: (channels, length)}, to its stems' sums."""
    for stem, factors in one.factors.items():
        for source, factor in factors.items():
            sums[stem].add(start, estimates[source], factor)


def finish_step(step: Step, ran: Sequence[Unit], sums: Stems, signal: Tensor) -> Stems:
    """Everything a step makes from its input and its units' sums, all (…, samples): its last, linear part.

    ran: the units in the sums. Each stem's mean is over these, whatever was left out.
    """
    means = {}
    for stem in step.stems:
        mass = sum(unit.masses.get(stem, 0.0) for unit in ran)
        own_input = sum(unit.own_input.get(stem, 0.0) for unit in ran)
        means[stem] = (sums[stem] + own_input * signal) / mass
    return blend_means(step, means, signal)


def blend_means(step: Step, means: Stems, signal: Tensor) -> Stems:
    """Everything a step makes from its stems' weighted means: they are mixed, then each takes its share of the
    residual."""
    mixed = {stem: _mix(step.mix[stem], means, signal) if stem in step.mix else means[stem] for stem in means}
    residual = signal - sum(mixed.values())
    shares = step.residual_shares
    made = {stem: one + shares[stem] * residual if stem in shares else one for stem, one in mixed.items()}
    if step.residual is not None:
        made[step.residual] = (1 - sum(shares.values())) * residual if shares else residual
    return made


def _mix(factors: Mapping[str, float], means: Stems, signal: Tensor) -> Tensor:
    parts = (factor * (signal if name == STEP_INPUT else means[name]) for name, factor in factors.items())
    return sum(parts, torch.zeros_like(signal))
