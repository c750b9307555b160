"""A layer over some sequences at a time gives what it gives for all of them."""

import pytest
import torch
from torch import Tensor, nn

from my_submission.models.recurrent import plus_layer

STEPS, SEQUENCES, WIDTH = 6, 11, 4


def some(seed: int) -> Tensor:
    """(steps, sequences, width), not contiguous."""
    values = torch.randn(SEQUENCES, STEPS, WIDTH, generator=torch.Generator().manual_seed(seed))
    return values.transpose(0, 1)


@pytest.mark.parametrize("at_a_time", [1, 5, SEQUENCES, 100])
@pytest.mark.parametrize("with_gradient", [False, True])
def test_groups_change_nothing(at_a_time: int, with_gradient: bool) -> None:
    recurrent = nn.LSTM(WIDTH, WIDTH)
    sizes = []

    def layer(sequences: Tensor) -> Tensor:
        sizes.append(sequences.shape[1])
        hidden: Tensor = recurrent(sequences)[0]
        return hidden

    totals, sequences = some(0), some(1)
    expected = (totals + recurrent(sequences)[0]).detach()
    with torch.set_grad_enabled(with_gradient):
        found = plus_layer(totals, sequences, layer, at_a_time)
    torch.testing.assert_close(found, expected)
    assert sum(sizes) == SEQUENCES
    assert max(sizes) == min(at_a_time, SEQUENCES)
    overwritten = found.data_ptr() == totals.data_ptr()
    assert overwritten != with_gradient
    torch.testing.assert_close(totals, expected if overwritten else some(0))
