"""What lower precision is held to: never a number of its own, which depends on how a processor rounds, but what plain
autocast makes of the reference network on the same machine.

    assert agreement(expected, ours) > agreement(expected, autocast(reference, batch)) - MARGIN_DB
"""

from typing import Any

import torch
from torch import Tensor

from my_submission.models.precision import computing

CPU = torch.device("cpu")

MARGIN_DB = 1.5
"""How much nearer autocast may be: both round as often, but not in the same places. Seen: 0.8 at most."""


def agreement(expected: Tensor, found: Tensor) -> float:
    """Energy of the expected over that of the difference, in dB."""
    difference = (expected.double() - found.double()).square().sum().clamp_min(1e-30)
    return float(10 * torch.log10(expected.double().square().sum() / difference))


def autocast(network: Any, *inputs: Tensor) -> Tensor:
    """The output of a network under torch.autocast to bfloat16, also where the processor has none; float32."""
    with torch.inference_mode(), computing(CPU, torch.bfloat16), torch.autocast("cpu", torch.bfloat16):
        output: Tensor = network(*inputs)
    return output.float()
