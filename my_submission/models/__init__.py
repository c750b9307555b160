"""The networks: one file or folder per architecture, which makes a callable on chunks from a checkpoint."""

from typing import Protocol

from torch import Tensor

from my_submission.signal.chunking import Geometry


class ChunkModel(Protocol):
    """A network as the rest of the kit sees it.

    geometry: which chunks it takes, at which rate and with how many channels.
    bytes_per_sample: memory for computing a stereo chunk, per sample read, without the weights; rather too high than
        too low.
    """

    @property
    def sources(self) -> tuple[str, ...]: ...

    @property
    def geometry(self) -> Geometry: ...

    @property
    def bytes_per_sample(self) -> int: ...

    def __call__(self, chunks: Tensor) -> Tensor:
        """(batch, channels, samples) float32 -> (batch, sources, channels, samples) float32, on its device."""


def chunk_bytes(model: ChunkModel) -> int:
    """Memory for computing one full chunk, without the weights."""
    return model.bytes_per_sample * model.geometry.read_samples
