"""How passes add up to what a step makes: the only add, and the only finish."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from my_submission.ensemble.plan import Pass, Unit
from my_submission.ensemble.preset import Step
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
    return share_residual(step, means, signal)


def share_residual(step: Step, means: Stems, signal: Tensor) -> Stems:
    """Everything a step makes from its stems' weighted means: each takes its share of the residual."""
    residual = signal - sum(means.values())
    shares = step.residual_shares
    made = {stem: mean + shares[stem] * residual if stem in shares else mean for stem, mean in means.items()}
    if step.residual is not None:
        made[step.residual] = (1 - sum(shares.values())) * residual if shares else residual
    return made
