"""Recurrent layers over many sequences at once."""

from collections.abc import Callable

import torch
from torch import Tensor


def plus_layer(
    totals: Tensor, sequences: Tensor, layer: Callable[[Tensor], Tensor], at_a_time: int
) -> Tensor:
    """Totals + layer(sequences), all of them (steps, sequences, width).

    On the CPU a layer gets so many sequences at a time, since its gates would otherwise exist for all of them: most
    of a chunk's memory. Where no gradient is wanted, the sum is in the memory of the totals.
    """
    count = at_a_time if sequences.device.type == "cpu" else sequences.shape[1]
    processed = map(layer, torch.split(sequences, count, dim=1))
    if torch.is_grad_enabled():
        return totals + torch.cat(list(processed), dim=1)
    for some, more in zip(torch.split(totals, count, dim=1), processed, strict=True):
        some += more
    return totals
