"""What both RoFormers have in common as architectures: the parameters of a row, loading, and a trial's work."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Tensor

from my_submission.models.precision import computing
from my_submission.models.roformer.bands import Bands
from my_submission.models.roformer.checkpoint import read_network
from my_submission.models.roformer.network import Roformer, RoformerConfig
from my_submission.models.roformer.quick import QuickRoformer
from my_submission.models.roformer.spectrum import Spectrum
from my_submission.schema import LARGEST_FFT, Record, Whole, at_most, expecting, problem
from my_submission.signal.chunking import Geometry
from my_submission.weights import Checkpoint
from my_submission.weights.load import PICKLES

SUFFIXES = (*PICKLES, ".safetensors")

Even = Annotated[int, Field(gt=0, multiple_of=2), expecting("an even number above 0")]

_WORKSPACE_BYTES = 64 << 20
"""For a chunk besides what grows with it: one piece of sequences or of mask heads under way (PLACES_AT_A_TIME)."""


class RoformerParameters(Record):
    """What a manifest row says of a network and of its chunks; nothing has a default, since published configurations
    and the programs that read them differ in all of it. Names are those of the published configurations as far as
    these have one; n_fft is `stft_n_fft` and hop `stft_hop_length` there.

    zero_dc: whether bin 0 of the estimates is zero. fade_samples: see `Geometry`.
    """

    dim: Whole
    depth: Whole
    time_transformer_depth: Whole
    freq_transformer_depth: Whole
    heads: Whole
    dim_head: Even
    mask_estimator_depth: Whole
    mlp_expansion_factor: Whole
    skip_connection: bool
    n_fft: Annotated[Even, at_most(LARGEST_FFT)]
    hop: Whole
    zero_dc: bool
    chunk_samples: Whole
    fade_samples: Whole

    @model_validator(mode="after")
    def _check_sizes(self) -> "RoformerParameters":
        if self.chunk_samples < self.n_fft:
            raise problem(
                f"expected at least n_fft, {self.n_fft}, found {self.chunk_samples}", "chunk_samples"
            )
        if self.hop > self.n_fft // 2:
            raise problem(f"expected at most half of n_fft, {self.n_fft // 2}, found {self.hop}", "hop")
        if 2 * self.fade_samples > self.chunk_samples:
            raise problem(
                f"expected at most half of chunk_samples, {self.chunk_samples // 2}, found {self.fade_samples}",
                "fade_samples",
            )
        return self

    def config(self, stems: int) -> RoformerConfig:
        """The network of a row with that many sources."""
        return RoformerConfig(
            spectrum=Spectrum(self.n_fft, self.hop, self.zero_dc),
            bands=self.layout(),
            stems=stems,
            dim=self.dim,
            depth=self.depth,
            time_depth=self.time_transformer_depth,
            freq_depth=self.freq_transformer_depth,
            heads=self.heads,
            dim_head=self.dim_head,
            mask_hidden=(self.dim * self.mlp_expansion_factor,) * self.hidden_layers(),
            final_norm=self.final_norm(),
            pope=self.polar(),
            skip_connection=self.skip_connection,
        )

    def layout(self) -> Bands:
        raise NotImplementedError

    def hidden_layers(self) -> int:
        """Of the mask heads."""
        raise NotImplementedError

    def final_norm(self) -> bool:
        """See `RoformerConfig`."""
        raise NotImplementedError

    def polar(self) -> bool:
        """Whether positions are polar."""
        return False


class RoformerModel:
    """A RoFormer as a callable on chunks.

    sources: those computed, in the network's order.
    geometry: the chunks of its row. A short one is read with its surroundings, as long as the network was trained on.
    """

    def __init__(
        self,
        network: Roformer,
        parameters: RoformerParameters,
        sources: tuple[str, ...],
        device: torch.device,
        dtype: torch.dtype,
        needed: Collection[str] | None = None,
    ) -> None:
        """Takes over the network. sources: all that it has. needed: those to compute, by default all."""
        kept = [place for place, source in enumerate(sources) if needed is None or source in needed]
        self.sources = tuple(sources[place] for place in kept)
        self.geometry = Geometry(parameters.chunk_samples, fade_samples=parameters.fade_samples)
        self.bytes_per_sample = _bytes_per_sample(network.config, len(kept), dtype)
        self.bytes_per_sample += _WORKSPACE_BYTES // parameters.chunk_samples
        self._device, self._dtype = device, dtype
        self._network = QuickRoformer(network, kept, device, dtype)

    def __call__(self, chunks: Tensor) -> Tensor:
        """(batch, 2, samples) float32 -> (batch, sources, 2, samples) float32 on the device."""
        with torch.inference_mode(), computing(self._device, self._dtype):
            return self._network(chunks.to(self._device))


def _bytes_per_sample(config: RoformerConfig, stems: int, dtype: torch.dtype) -> int:
    """The sums between layers, and what mask heads take of them; spectra and transforms; the sources' audio."""
    lower = 0 if dtype == torch.float32 else dtype.itemsize
    features = len(config.bands) * config.dim * (4 + 4 * config.skip_connection + lower)
    spectra = 4 * config.spectrum.width * 8
    return (features + spectra) // config.spectrum.hop + 8 * (stems + 2)


def load(
    checkpoint: Checkpoint,
    path: Path,
    device: torch.device,
    dtype: torch.dtype,
    needed: Collection[str] | None = None,
) -> RoformerModel:
    """Open a checkpoint of either architecture (`registry.Loader`). Raises as `read_network`."""
    parameters = checkpoint.parameters
    assert isinstance(parameters, RoformerParameters)
    network = read_network(path, parameters.config(len(checkpoint.sources)))
    return RoformerModel(network, parameters, checkpoint.sources, device, dtype, needed)


def piece_of_work(
    checkpoint: Checkpoint, path: Path, device: torch.device, dtype: torch.dtype
) -> Callable[[float], object]:
    """A call that runs a checkpoint's network on noise, over a share of its chunk, for its first source."""
    model = load(checkpoint, path, device, dtype, checkpoint.sources[:1])
    parameters = checkpoint.parameters
    assert isinstance(parameters, RoformerParameters)

    def run(share: float) -> Tensor:
        samples = max(parameters.n_fft, int(share * parameters.chunk_samples))
        return model(0.1 * torch.randn(1, 2, samples, generator=torch.Generator().manual_seed(0)))

    return run
