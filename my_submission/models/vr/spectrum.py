"""A mixture as the stacked bins of several bands, and back.

Source: `spec_utils.py` of Ultimate Vocal Remover, as python-audio-separator 0.47.1 has it.
"""

from typing import Literal

import torch
from torch import Tensor

from my_submission.models.vr.bands import MIXES, Band, Layout
from my_submission.models.vr.resampling import resampled


class Spectrum:
    """The front and the back end of a network."""

    def __init__(self, layout: Layout, version: Literal["5", "5.1"]) -> None:
        self.layout = layout.of(version)
        self._input_gains = layout.input_gains(version)

    def forward(self, mixture: Tensor) -> Tensor:
        """(2, samples) float32 -> (2, bins + 1, frames) complex64; frames reach to the mixture's end or beyond."""
        hop = self.layout.hop
        samples = max(hop, -(-mixture.shape[-1] // hop) * hop)
        wave = torch.nn.functional.pad(mixture, (0, samples - mixture.shape[-1]))
        rows = wave.new_zeros(2, self.layout.bins + 1, samples // hop + 1, dtype=torch.complex64)
        bands = self.layout.bands
        end = sum(band.height for band in bands)
        above = bands[-1]
        for band in reversed(bands):
            wave = resampled(wave, above.rate, band.rate, band.resampler)
            rows[:, end - band.height : end] = _stft(band, wave)[:, slice(*band.bins)]
            end -= band.height
            above = band
        return rows * self._input_gains.to(rows.device)[:, None]

    def inverse(self, rows: Tensor) -> Tensor:
        """(2, bins + 1, frames) complex64 -> (2, hop · (frames − 1)) float32.

        Ultimate Vocal Remover resamples with sinc_fastest here, except on an Apple processor.
        """
        wave, rate, start = None, 0, 0
        for band in self.layout.bands:
            spectrum = rows.new_zeros(2, band.n_fft // 2 + 1, rows.shape[-1])
            spectrum[:, slice(*band.bins)] = rows[:, start : start + band.height]
            spectrum *= band.gains().to(rows.device)[:, None]
            own = _istft(band, spectrum)
            wave = own if wave is None else resampled(wave, rate, band.rate, "sinc_fastest") + own
            rate, start = band.rate, start + band.height
        assert wave is not None
        return wave


def _stft(band: Band, wave: Tensor) -> Tensor:
    """(2, samples) of left and right -> (2, n_fft/2 + 1, frames) of the band's channels."""
    window = torch.hann_window(band.n_fft, device=wave.device)
    mixed = MIXES[band.channels].to(wave) @ wave
    return torch.stft(
        mixed, band.n_fft, band.hop, window=window, center=True, pad_mode="constant", return_complex=True
    )


def _istft(band: Band, spectrum: Tensor) -> Tensor:
    """(2, n_fft/2 + 1, frames) of the band's channels -> (2, samples) of left and right."""
    window = torch.hann_window(band.n_fft, device=spectrum.device)
    mixed = torch.istft(spectrum, band.n_fft, band.hop, window=window, center=True)
    back: Tensor = torch.linalg.inv(MIXES[band.channels]).to(mixed)
    return back @ mixed
