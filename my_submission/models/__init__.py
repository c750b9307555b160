"""The networks: one file an architecture, each a checkpoint's way to a callable on chunks."""

from typing import Protocol

from torch import Tensor

from my_submission.chunking import Geometry


class ChunkModel(Protocol):
    """A network as the rest sees it; `geometry` says which chunks it takes."""

    @property
    def sources(self) -> tuple[str, ...]: ...

    @property
    def geometry(self) -> Geometry: ...

    def __call__(self, chunks: Tensor) -> Tensor:
        """(batch, channels, samples) float32 -> (batch, sources, channels, samples) float32, on its device."""
