"""The networks: one file an architecture, each a checkpoint's way to a callable on chunks."""

from typing import Protocol

from torch import Tensor

from my_submission.signal.chunking import Geometry


class ChunkModel(Protocol):
    """A network as the rest sees it.

    geometry: which chunks it takes, of which rate and how many channels.
    bytes_per_sample: the memory that computing a stereo chunk takes for each of the samples that are read, weights
        apart; rather too high than too low.
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
    """What computing one full chunk takes, weights apart."""
    return model.bytes_per_sample * model.geometry.read_samples
