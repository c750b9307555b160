"""GRUs in both directions."""

import torch
from torch import Tensor, nn

from my_submission.models import fused
from my_submission.models.waveforms import in_float32


class BidirectionalGru(nn.GRU):
    """(steps, sequences, width) -> (steps, sequences, 2 · hidden width): forwards, then backwards.

    On the CPU, torch's own loop keeps each gate of each step, and in lower precision it casts and reorders weights at
    each step. So where no gradient is wanted, there is one of our own.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(width, hidden, bidirectional=True)

    def forward(self, sequences: Tensor) -> Tensor:  # type: ignore[override]
        if sequences.device.type != "cpu" or torch.is_grad_enabled():
            hidden: Tensor = super().forward(sequences)[0]
            return hidden
        lower = torch.is_autocast_enabled("cpu")
        with in_float32(sequences):  # or autocast would cast what is cast already
            rounded = sequences.to(torch.get_autocast_dtype("cpu") if lower else torch.float32)
            states = rounded.new_empty(*sequences.shape[:2], 2 * self.hidden_size)
            forwards, backwards = states.chunk(2, dim=-1)
            forwards.copy_(self._run(rounded, "l0"))
            backwards.copy_(self._run(rounded, "l0_reverse", backwards=True))
            return states

    def _run(self, sequences: Tensor, direction: str, backwards: bool = False) -> Tensor:
        """One direction's states, (steps, sequences, hidden width). Equations and order of gates: torch.nn.GRU's."""
        (steps, count, width), dtype = sequences.shape, sequences.dtype
        of_input, of_state, input_bias, state_bias = (
            torch.split(getattr(self, f"{kind}_{direction}"), [2 * self.hidden_size, self.hidden_size])
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        gates = fused.Linear(
            torch.cat([of_input[0], of_state[0]], dim=1), input_bias[0] + state_bias[0], dtype, "sigmoid"
        )
        from_input = fused.Linear(of_input[1], input_bias[1], dtype)
        from_state = fused.Linear(of_state[1], state_bias[1], dtype)
        # A step's input, and beside it the state before that step: so both gates are one product.
        both = sequences.new_zeros(steps + 1, count, width + self.hidden_size)
        inputs, states = both[..., :width], both[..., width:]
        before, after = (1, 0) if backwards else (0, 1)
        inputs[before : steps + before] = sequences
        for step in reversed(range(steps)) if backwards else range(steps):
            reset, keep = gates(both[step + before]).chunk(2, dim=-1)
            state = states[step + before]
            new = torch.addcmul(from_input(sequences[step]), reset, from_state(state)).tanh_()
            torch.lerp(new, state, keep, out=states[step + after])
        return states[after : steps + after]
