"""HTDemucs and HDemucs checkpoints as callables on chunks."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from demucs.htdemucs import HTDemucs
from torch import Tensor

from my_submission.audio import MODEL_SAMPLE_RATE
from my_submission.chunking import Geometry
from my_submission.weights import WeightsError, load_torch


class DemucsModel:
    """A Demucs network of either family in evaluation mode on one device.

    sources: in the network's own order, in the challenge's terms.
    geometry: the training segment; an HTDemucs that was trained with `use_train_segment` takes nothing else, so
        short chunks are read with what surrounds them, any other network runs at a chunk's own length.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        sources: tuple[str, ...],
        segment_seconds: Fraction | float,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.sources = sources
        fixed = isinstance(network, HTDemucs) and network.use_train_segment
        self.geometry = Geometry(
            chunk_samples=int(MODEL_SAMPLE_RATE * segment_seconds),
            short_chunk="centre" if fixed else "as_is",
        )
        self._network = network.to(device).eval()
        self._device = device
        self._dtype = dtype

    def __call__(self, chunks: Tensor) -> Tensor:
        """(batch, channels, samples) float32 -> (batch, sources, channels, samples) float32 on the device.

        In lower precision the network's layers run in it; its STFT, normalisation statistics and inverse STFT
        stay in float32 (autocast leaves them there).
        """
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32),
        ):
            estimates: Tensor = self._network(chunks.to(self._device))
        return estimates.float()


def load(
    path: Path,
    sources: tuple[str, ...],
    parameters: Mapping[str, Any],
    device: torch.device,
    dtype: torch.dtype,
) -> DemucsModel:
    """Open a `.th` or `.safetensors` checkpoint.

    parameters: `segment_seconds` where it is not the one stored in the checkpoint (hdemucs_mmi).
    Raises WeightsError where the file does not hold a 44.1 kHz stereo network.
    """
    network = load_torch(path)
    found = (network.samplerate, network.audio_channels)
    if found != (MODEL_SAMPLE_RATE, 2):
        raise WeightsError(
            f"{path}: expected a network for {MODEL_SAMPLE_RATE} Hz stereo, found {found[0]} Hz, {found[1]} channels"
        )
    return DemucsModel(network, sources, parameters.get("segment_seconds", network.segment), device, dtype)
