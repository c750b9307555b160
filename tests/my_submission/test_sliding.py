"""A sliding signal reads like the whole one, and refuses what it does not hold."""

import pytest
import torch

from my_submission.sliding import SlidingSignal


def test_pieces_add_up_and_read_like_the_track() -> None:
    signal = SlidingSignal(1, 6)
    signal.add(0, torch.ones(1, 4))
    signal.add(2, torch.ones(1, 4), factor=2.0)
    assert signal.read(-1, 8).tolist() == [[0, 1, 1, 3, 3, 2, 2, 0]]
    assert signal.take(3).tolist() == [[1, 1, 3]]
    assert (signal.start, signal.end) == (3, 6)
    assert signal.read(4, 4).tolist() == [[2, 2, 0, 0]]


def test_what_is_not_held_is_an_error() -> None:
    signal = SlidingSignal(1, 10)
    signal.add(0, torch.ones(1, 5))
    signal.forget(2)
    for start, length in [(1, 2), (4, 2), (0, 10)]:
        with pytest.raises(IndexError, match="2 to 5 are held"):
            signal.read(start, length)
    with pytest.raises(IndexError, match="before 2 are forgotten"):
        signal.add(1, torch.ones(1, 1))
    assert signal.read(-5, 5).tolist() == [[0] * 5]
