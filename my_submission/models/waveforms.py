"""Networks that take waveforms and give waveforms, as the kit calls them."""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from my_submission.models import chunk_bytes
from my_submission.models.heap import near_need
from my_submission.models.precision import computing
from my_submission.schema import Fft, Record, Whole, expecting, problem
from my_submission.signal.chunking import Geometry

LARGE_CHUNK_BYTES = 512 << 20
"""With less there is little to spare, and chunks end before it is learnt what they need: the demo's SCNet took a
third more time, and no less memory."""


class Chunks(Record):
    """What a manifest row says of a network's chunks, in samples at its own rate; see `Geometry` for `fade_samples`.

    To come before the class that says the rest of the network, so that its keys come last.
    """

    n_fft: Fft
    chunk_samples: Whole
    fade_samples: Annotated[int, Field(ge=0), expecting("a whole number")]

    @model_validator(mode="after")
    def _check_chunk(self) -> Self:
        if self.chunk_samples <= self.n_fft // 2:
            raise problem(f"expected more than n_fft/2, found {self.chunk_samples}", "chunk_samples")
        if 2 * self.fade_samples > self.chunk_samples:
            half = self.chunk_samples // 2
            raise problem(
                f"expected at most half of chunk_samples, {half}, found {self.fade_samples}", "fade_samples"
            )
        return self


class WaveformModel:
    """A network on a device. It is called with mixtures (batch, channels, samples) and the places of the sources to
    give, and gives (batch, sources, channels, samples). In lower precision it runs under autocast, and says itself
    what stays in float32.
    """

    def __init__(
        self,
        network: nn.Module,
        sources: tuple[str, ...],
        geometry: Geometry,
        bytes_per_sample: int,
        device: torch.device,
        dtype: torch.dtype,
        needed: Collection[str] | None = None,
        to_the_bit: bool = False,
        sparing: bool = False,
    ) -> None:
        """sources: all that the network has. needed: those to give, by default all. to_the_bit: see `computing`.

        sparing: whether its tensors are of so many sizes that on the CPU it comes to hold twice the memory that it
        uses, unless `near_need` keeps it from that; where chunks are large enough for that to matter.
        """
        self._kept = [place for place, source in enumerate(sources) if needed is None or source in needed]
        self.sources = tuple(sources[place] for place in self._kept)
        self.geometry = geometry
        self.bytes_per_sample = bytes_per_sample
        self.network = network.to(device).eval()
        self._device, self._dtype = device, dtype
        self._to_the_bit = to_the_bit
        self._sparing = sparing and device.type == "cpu" and chunk_bytes(self) >= LARGE_CHUNK_BYTES

    def __call__(self, chunks: Tensor) -> Tensor:
        """(batch, channels, samples) float32 -> (batch, sources, channels, samples) float32 on the device."""
        lower = self._dtype != torch.float32
        with (
            near_need() if self._sparing else nullcontext(),
            torch.inference_mode(),
            computing(self._device, self._dtype, self._to_the_bit),
            torch.autocast(self._device.type, self._dtype, enabled=lower),
        ):
            estimates: Tensor = self.network(chunks.to(self._device), self._kept)
        return estimates.float()


def noise_work(model: WaveformModel, least_samples: int) -> Callable[[float], Tensor]:
    """A call that runs a model on noise, over a share of its chunk (`registry.PieceOfWork`).

    least_samples: the fewest that the network takes.
    """

    def run(share: float) -> Tensor:
        samples = max(least_samples, int(share * model.geometry.read_samples))
        random = torch.Generator().manual_seed(0)
        return model(0.1 * torch.randn(1, model.geometry.channels, samples, generator=random))

    return run


def in_float32(tensor: Tensor) -> AbstractContextManager[None]:
    """Inside this context autocast does not act on the tensor's device."""
    return torch.autocast(tensor.device.type, enabled=False)
