"""A multichannel Wiener filter of estimates: no file, no training, any sources.

The magnitudes of the estimates say how loud each source is, and expectation-maximisation how it lies between the
channels; the filter then divides the mixture among them, phases included.

Source: `wiener` and `expectation_maximization` of the package `openunmix` 1.3.0, without its residual, in independent
blocks of 300 frames as its `Separator` has them; after Nugraha, Liutkus, Vincent: Multichannel audio source
separation with deep neural networks (IEEE/ACM TASLP 24.9, 2016).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from my_submission.registry import Architecture, register
from my_submission.schema import Record, expecting
from my_submission.signal.chunking import Geometry
from my_submission.weights import Checkpoint

N_FFT, HOP, CHANNELS = 4096, 1024, 2
BLOCK_FRAMES = 300
CHUNK_BLOCKS = 2
"""How many blocks a chunk has; one more is read at each side, for the windows that reach into the chunk."""
EPSILON, LARGEST_MAGNITUDE = 1e-10, 10.0
MOST_ITERATIONS = 16


class WienerParameters(Record):
    """iterations: of expectation-maximisation. softmask: begin with shares of the mixture, and not with the
    estimates' magnitudes and the mixture's phase."""

    iterations: Annotated[
        int, Field(ge=0, le=MOST_ITERATIONS), expecting(f"a whole number from 0 to {MOST_ITERATIONS}")
    ] = 1
    softmask: bool = False


def wiener(magnitudes: Tensor, mixture: Tensor, iterations: int, softmask: bool) -> Tensor:
    """Spectrograms of the sources in one block.

    magnitudes: (sources, channels, bins, frames). mixture: (channels, bins, frames) complex.
    Returns (sources, channels, bins, frames) complex.
    """
    if softmask:
        made = mixture * (magnitudes / (EPSILON + magnitudes.sum(dim=0)))
    else:
        loudness = mixture.abs()
        silent = loudness == 0  # where the phase counts as zero
        made = magnitudes * torch.where(silent, 1.0, mixture / loudness.masked_fill(silent, 1.0))
    if iterations == 0:
        return made
    scale = (mixture.abs().max() / LARGEST_MAGNITUDE).clamp(min=1.0)
    mixture, made = mixture / scale, made / scale
    for _ in range(iterations):
        made = _filtered(made, mixture)
    return made * scale


def _filtered(made: Tensor, mixture: Tensor) -> Tensor:
    """One iteration: v_j R_j (√ε I + Σ v R)⁻¹ x, with powers v and covariances R of the present estimates."""
    powers = made.abs().square().mean(dim=1)  # (sources, bins, frames)
    covariances = torch.einsum("scbt,sdbt->sbcd", made, made.conj())
    covariances = covariances / (EPSILON + powers.sum(dim=-1))[..., None, None]
    total = torch.einsum("sbt,sbcd->cdbt", powers.to(made.dtype), covariances)
    (a, b), (c, d) = total.unbind()
    a, d = a + EPSILON**0.5, d + EPSILON**0.5
    left, right = mixture
    inverted = torch.stack([d * left - b * right, a * right - c * left]) / (a * d - b * c)
    return powers[:, None] * torch.einsum("sbcd,dbt->scbt", covariances, inverted)


class WienerModel:
    """The filter as the kit calls it. Blocks lie on the track's own grid where chunks do not overlap."""

    def __init__(self, sources: tuple[str, ...], parameters: WienerParameters, device: torch.device) -> None:
        self.sources = sources
        block = BLOCK_FRAMES * HOP
        self.geometry = Geometry(
            CHUNK_BLOCKS * block,
            margin_samples=block,
            margins_inside=True,
            short_chunk="as_is",
            least_samples=N_FFT // 2 + 1,  # which its transform mirrors
            signals=1 + len(sources),
        )
        self.bytes_per_sample = 250 * (1 + len(sources))
        self._parameters = parameters
        self._device = device

    def __call__(self, chunks: Tensor) -> Tensor:
        """(batch, 2 · (1 + sources), samples) float32 -> (batch, sources, 2, samples) float32 on the device."""
        with torch.inference_mode():
            return torch.stack([self._filtered(chunk) for chunk in chunks.to(self._device)])

    def _filtered(self, chunk: Tensor) -> Tensor:
        window = torch.hann_window(N_FFT, device=self._device)
        spectra = torch.stft(chunk, N_FFT, HOP, window=window, center=True, return_complex=True)
        spectra = spectra.reshape(-1, CHANNELS, *spectra.shape[1:])  # (signals, channels, bins, frames)
        iterations, softmask = self._parameters.iterations, self._parameters.softmask
        blocks = [
            wiener(block[1:].abs(), block[0], iterations, softmask)
            for block in torch.split(spectra, BLOCK_FRAMES, dim=-1)
        ]
        made = torch.cat(blocks, dim=-1).flatten(0, 1)
        waves = torch.istft(made, N_FFT, HOP, window=window, center=True, length=chunk.shape[-1])
        return waves.reshape(-1, CHANNELS, chunk.shape[-1])


def load(
    checkpoint: Checkpoint,
    path: Path,
    device: torch.device,
    dtype: torch.dtype,
    needed: Collection[str] | None = None,
) -> WienerModel:
    """Make the filter (`registry.Loader`). path, dtype, needed: have no effect; all sources share the mixture."""
    assert isinstance(checkpoint.parameters, WienerParameters)
    return WienerModel(checkpoint.sources, checkpoint.parameters, device)


register(Architecture("wiener", (), load, WienerParameters, refines=True, lower_precision=False))
