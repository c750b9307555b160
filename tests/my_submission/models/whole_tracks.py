"""A whole track through one model, and what it must be equal to."""

import torch
from torch import Tensor

from my_submission.models import ChunkModel
from my_submission.runtime.inference import estimate_track
from my_submission.runtime.schedule import SEQUENTIAL, Schedule
from my_submission.signal.augment import Augmentation
from my_submission.signal.chunking import reader
from my_submission.weights import load_manifest

PLAIN = (Augmentation(),)
MANIFEST = load_manifest()


def estimates(
    model: ChunkModel,
    signal: Tensor,
    augmentations: tuple[Augmentation, ...],
    overlap: float,
    schedule: Schedule = SEQUENTIAL,
) -> Tensor:
    """The mean over augmentations of a whole track's estimates, (sources, channels, samples)."""
    total = torch.zeros(len(model.sources), *signal.shape)
    for augmentation in augmentations:
        pieces = estimate_track(model, reader(signal), signal.shape[-1], augmentation, overlap, schedule)
        for start, piece in pieces:
            total[..., start : start + piece.shape[-1]] += piece / len(augmentations)
    return total


def assert_equal_to(estimate: Tensor, expected: Tensor) -> None:
    """Within 1e-5 of the largest sample."""
    assert estimate.shape == expected.shape
    assert (estimate - expected).abs().max() <= 1e-5 * expected.abs().max()


def assert_no_schedule_changes_anything(model: ChunkModel, samples: int) -> None:
    """Neither the size of batches nor the number of workers."""
    signal = 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(5))
    one = estimates(model, signal, PLAIN, 0.5)
    for schedule in (Schedule(batch_size=2), Schedule(batch_size=64), Schedule(workers=3), Schedule(2, 2)):
        assert_equal_to(estimates(model, signal, PLAIN, 0.5, schedule), one)
