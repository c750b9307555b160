"""A sliding signal reads like the whole one, and refuses what it does not hold."""

import pytest
import torch

from my_submission.signal import sliding
from my_submission.signal.sliding import SlidingSignal

pytestmark = pytest.mark.quick


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


@pytest.mark.parametrize("page_samples", [1, 3, 4, 64])
def test_pages_change_nothing(page_samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a whole tensor, under pieces that overlap, leave gaps and span several pages."""
    monkeypatch.setattr(sliding, "_PAGE_SAMPLES", page_samples)
    whole = torch.zeros(2, 40)
    signal = SlidingSignal(2, 40)
    for start, length, factor in [(0, 7, 1.0), (5, 9, -0.5), (16, 3, 2.0), (17, 23, 1.0)]:
        piece = torch.randn(2, length)
        signal.add(start, piece, factor)
        whole[:, start : start + length].add_(piece, alpha=factor)
        signal.forget(max(0, start - 2))
        assert torch.equal(
            signal.read(signal.start, signal.end - signal.start), whole[:, signal.start : signal.end]
        )


def test_what_is_forgotten_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sliding, "_PAGE_SAMPLES", 4)
    signal = SlidingSignal(1, 1000)
    for start in range(0, 1000, 10):
        signal.add(start, torch.ones(1, 10))
        signal.forget(start + 5)
        assert len(signal._pages) <= 4
