"""Stereo audio as flat spectra, which bands are slices of, and back."""

from dataclasses import dataclass

import torch
from torch import Tensor

VALUES_PER_BIN = 4
"""Left real, left imaginary, right real, right imaginary: a flat spectrum has these bin by bin."""


@dataclass(frozen=True)
class Spectrum:
    """A centred STFT with a periodic Hann window, always in float32.

    zero_dc: bin 0 of what becomes audio again is zero.
    """

    n_fft: int
    hop: int
    zero_dc: bool

    @property
    def width(self) -> int:
        """Values of a flat spectrum."""
        return (self.n_fft // 2 + 1) * VALUES_PER_BIN

    def forward(self, chunks: Tensor) -> Tensor:
        """(batch, 2, samples), more than n_fft / 2 of them -> (batch, frames, width) float32."""
        with torch.autocast(chunks.device.type, enabled=False):
            spectra = torch.stft(
                chunks.float().flatten(0, 1),
                self.n_fft,
                self.hop,
                window=torch.hann_window(self.n_fft, device=chunks.device),
                return_complex=True,
            )
            parts = torch.view_as_real(spectra)  # (batch · channels, bins, frames, 2)
            return parts.view(-1, 2, *parts.shape[1:]).permute(0, 3, 2, 1, 4).flatten(2)

    def masked(self, mixture: Tensor, mask: Tensor, samples: int) -> Tensor:
        """Audio (batch, 2, samples) of a mixture's flat spectra times a complex mask of the same shape, float32."""
        with torch.autocast(mixture.device.type, enabled=False):
            product = _complex(mixture) * _complex(mask)  # (batch, frames, bins, channels)
            product = product.permute(0, 3, 2, 1)
            if self.zero_dc:
                product[:, :, 0] = 0
            audio = torch.istft(
                product.flatten(0, 1),
                self.n_fft,
                self.hop,
                window=torch.hann_window(self.n_fft, device=mixture.device),
                length=samples,
            )
            return audio.view(-1, 2, samples)


def _complex(flat: Tensor) -> Tensor:
    """(batch, frames, width) -> (batch, frames, bins, channels) complex64."""
    return torch.view_as_complex(flat.float().view(*flat.shape[:2], -1, 2, 2))
