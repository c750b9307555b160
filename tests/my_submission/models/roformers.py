"""Small RoFormers: rows, random weights, and how near two estimates are."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from my_submission.registry import find_architecture
from my_submission.schema import validate
from my_submission.weights import Checkpoint, load_manifest
from tests.lower_precision import agreement
from tests.reference_networks import Reference, reference
from tests.small_networks import BS_ROFORMER, MEL_BAND_ROFORMER

ROWS = {
    name: row for name, row in load_manifest().checkpoints.items() if row.architecture.endswith("_roformer")
}
BOTH = {"bs_roformer": BS_ROFORMER, "mel_band_roformer": MEL_BAND_ROFORMER}
CHUNK = BS_ROFORMER["chunk_samples"]


def row(architecture: str, sources: int = 1, **changes: Any) -> Checkpoint:
    """A manifest row of a small network."""
    document = {key: value for key, value in {**BOTH[architecture], **changes}.items() if value is not None}
    parameters = validate(find_architecture(architecture).parameters, document, "", ValueError)
    names = tuple(f"source{place}" for place in range(sources))
    return replace(ROWS["polarformer"], architecture=architecture, parameters=parameters, sources=names)


def saved(checkpoint: Checkpoint, folder: Path) -> tuple[Reference, Path]:
    """A reference network with random weights, and its file."""
    theirs = reference(checkpoint)
    torch.save(theirs.module.state_dict(), folder / "x.ckpt")
    return theirs, folder / "x.ckpt"


def noise(samples: int, batch: int = 1, level: float = 0.1) -> Tensor:
    return level * torch.randn(batch, 2, samples, generator=torch.Generator().manual_seed(samples))


def assert_near(expected: Tensor, found: Tensor, least_db: float = 120) -> None:
    assert found.shape == expected.shape
    assert agreement(expected, found) > least_db
