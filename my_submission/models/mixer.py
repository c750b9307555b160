"""Mixers: a matrix that makes better estimates of a mixture and of estimates of its sources, sample by sample.

Source: the Mixer of KUIELab's submission to the Music Demixing Challenge 2021 (kuielab/mdx-net-submission,
leaderboard_A), a linear layer without bias on the channels of all estimates and the mixture's.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor, nn

from my_submission.registry import Architecture, register
from my_submission.signal.chunking import Geometry
from my_submission.weights import Checkpoint
from my_submission.weights.load import PICKLES, WRAPPERS, build, open_tensors

CHANNELS = 2
CHUNK_SAMPLES = 1 << 16
"""Every sample is by itself, so this affects neither results nor, by much, speed."""


class Mixer(nn.Module):
    """The layer as its files have it: the mixture's channels come last."""

    def __init__(self, sources: int) -> None:
        super().__init__()
        self.linear = nn.Linear(CHANNELS * (sources + 1), CHANNELS * sources, bias=False)


class MixerModel:
    """A mixer as the kit calls it, which puts the mixture's channels first."""

    def __init__(self, mixer: Mixer, sources: tuple[str, ...], device: torch.device) -> None:
        self.sources = sources
        self.geometry = Geometry(CHUNK_SAMPLES, short_chunk="as_is", signals=len(sources) + 1)
        self.bytes_per_sample = 8 * CHANNELS * (2 * len(sources) + 1)
        self._matrix = mixer.linear.weight.roll(CHANNELS, dims=1).to(device)
        self._device = device

    def __call__(self, chunks: Tensor) -> Tensor:
        """(batch, 2 · (1 + sources), samples) float32 -> (batch, sources, 2, samples) float32 on the device."""
        with torch.inference_mode():
            mixed = self._matrix @ chunks.to(self._device)
            return mixed.reshape(len(chunks), len(self.sources), CHANNELS, -1)


def load(
    checkpoint: Checkpoint,
    path: Path,
    device: torch.device,
    dtype: torch.dtype,
    needed: Collection[str] | None = None,
) -> MixerModel:
    """Open a mixer's file (`registry.Loader`); WeightsError if its matrix is not for the row's sources.

    dtype, needed: have no effect, since it costs next to nothing.
    """
    network = build(path, lambda: Mixer(len(checkpoint.sources)), open_tensors(path, WRAPPERS))
    return MixerModel(network, checkpoint.sources, device)


register(Architecture("mixer", (*PICKLES, ".safetensors"), load, refines=True, lower_precision=False))
