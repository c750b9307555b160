"""How passes add up to what a step makes: the one add and the one finish."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from my_submission.ensemble.plan import Pass, Unit
from my_submission.ensemble.preset import Step
from my_submission.signal.audio import Stems
from my_submission.signal.sliding import SlidingSignal


def add_piece(
    sums: Mapping[str, SlidingSignal], one: Pass, start: int, estimates: Mapping[str, Tensor]
) -> None:
    """Add what a pass says of the samples from `start` on, {source: (channels, length)}, to its stems' sums."""
    for stem, factors in one.factors.items():
        for source, factor in factors.items():
            sums[stem].add(start, estimates[source], factor)


def finish_step(step: Step, ran: Sequence[Unit], sums: Stems, signal: Tensor) -> Stems:
    """All that a step makes of its input and its units' sums, all (…, samples): the last, linear part of it.

    ran: the units that the sums are of. Each stem's mean is over these, whatever was left out.
    """
    means = {}
    for stem in step.stems:
        mass = sum(unit.masses.get(stem, 0.0) for unit in ran)
        own_input = sum(unit.own_input.get(stem, 0.0) for unit in ran)
        means[stem] = (sums[stem] + own_input * signal) / mass
    return share_residual(step, means, signal)


def share_residual(step: Step, means: Stems, signal: Tensor) -> Stems:
    """What a step makes of its input and its stems' weighted means: each stem takes its share of what they leave."""
    residual = signal - sum(means.values())
    shares = step.residual_shares
    made = {stem: mean + shares[stem] * residual if stem in shares else mean for stem, mean in means.items()}
    if step.residual is not None:
        made[step.residual] = (1 - sum(shares.values())) * residual if shares else residual
    return made
