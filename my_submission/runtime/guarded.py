"""Lower precision in which no overflow goes unnoticed."""

import logging
from collections.abc import Callable

from torch import Tensor

from my_submission.models import ChunkModel

log = logging.getLogger(__name__)


class Guarded:
    """A model in lower precision; a batch that overflows there is logged and computed again in float32."""

    def __init__(self, name: str, model: ChunkModel, load_float32: Callable[[], ChunkModel]) -> None:
        """load_float32 opens the same checkpoint in float32; it is called when first needed."""
        self.sources, self.geometry = model.sources, model.geometry
        self.bytes_per_sample = model.bytes_per_sample
        self._name, self._model, self._load_float32 = name, model, load_float32
        self._float32: ChunkModel | None = None

    def __call__(self, chunks: Tensor) -> Tensor:
        """(batch, channels, samples) float32 -> (batch, sources, channels, samples) float32.

        Raises FloatingPointError if float32 gives inf or nan, too, or the chunks hold them.
        """
        estimates = self._model(chunks)
        if estimates.isfinite().all():
            return estimates
        log.warning("%s: inf or nan in lower precision; these chunks are computed in float32", self._name)
        if self._float32 is None:
            self._float32 = self._load_float32()
        estimates = self._float32(chunks)
        if not estimates.isfinite().all():
            raise FloatingPointError(
                f"{self._name}: inf or nan in float32, too: the mixture or the weights hold them"
            )
        return estimates
