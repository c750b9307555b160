"""What both kinds of BSRNN have in common: the transform, and recurrent layers over frames and over bands.

Features are (frames, bands, rows, width): a row is what is separated by itself, a mixture or one channel of it.
"""

import torch
from torch import Tensor, nn


def forward_transform(mixtures: Tensor, n_fft: int, hop: int) -> Tensor:
    """(batch, channels, samples) float32 -> (batch, channels, bins, frames) complex. More than n_fft/2 samples."""
    window = torch.hann_window(n_fft, device=mixtures.device)
    spectra = torch.stft(mixtures.flatten(0, 1), n_fft, hop, window=window, center=True, return_complex=True)
    return torch.unflatten(spectra, 0, mixtures.shape[:2])


def inverse_transform(spectra: Tensor, n_fft: int, hop: int, samples: int) -> Tensor:
    """(batch, sources, channels, bins, frames) complex -> (batch, sources, channels, samples)."""
    window = torch.hann_window(n_fft, device=spectra.device)
    waves = torch.istft(spectra.flatten(0, 2), n_fft, hop, window=window, center=True, length=samples)
    return torch.unflatten(waves, 0, spectra.shape[:3])


def with_rnn(features: Tensor, norm: nn.GroupNorm, rnn: nn.LSTM, linear: nn.Linear) -> Tensor:
    """Features (steps, …, …, width) and what recurrent layers in both directions make of their steps; the same shape.

    norm: of one sequence at a time, over its steps.
    """
    sequences = features.flatten(1, 2)
    normed = norm(sequences.permute(1, 2, 0)).permute(2, 0, 1)
    hidden, _ = rnn(normed)
    projected: Tensor = linear(hidden)
    return features + torch.unflatten(projected, 1, features.shape[1:3])
