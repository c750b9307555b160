"""What training minimises."""

import torch
from torch import Tensor

from training.config import SPECTRAL_WINDOWS

QUIETEST_SQUARE = 1e-12  # keeps the gradient of rmse from being infinite where the error is 0
QUIETEST_MEAN = 1e-3  # mean absolute sample below which relative_l1 stops amplifying an example
SPECTRAL_HOP = 147  # 300 frames a second at 44.1 kHz


def waveform_loss(
    kind: str, mixtures: Tensor, references: Tensor, estimates: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Mean over examples and sources of an error of the waveforms, (batch, sources, channels, samples) each.

    kind: "l1" and "mse", the mean absolute and squared error; "rmse", the root of the latter for each source of an
        example; "relative_l1", each example's absolute error over its mixture's level, so that quiet scenes count as
        much as loud songs; "spectral_l1", the absolute error plus those of complex spectrograms (`spectral_error`).
    weights: (sources,) how much each source's error counts; by default all equally.
    """
    difference = estimates - references
    squared = kind in ("mse", "rmse")
    error = (difference.square() if squared else difference.abs()).mean(dim=(2, 3))  # (batch, sources)
    if kind == "rmse":
        error = (error + QUIETEST_SQUARE).sqrt()
    if kind == "spectral_l1":
        error = error + spectral_error(difference)
    if weights is not None:
        error = error * (weights / weights.mean())
    if kind != "relative_l1":
        return error.mean()
    level = mixtures.abs().mean(dim=(1, 2)) + QUIETEST_MEAN
    return (error.mean(dim=1) / level).mean()


def spectral_error(difference: Tensor) -> Tensor:
    """Sum over five resolutions of the mean modulus of a difference's complex STFT (Lu et al., arXiv 2309.02612,
    section 3.3): (batch, sources, channels, samples) -> (batch, sources).

    The STFT is linear, so the error of spectrograms is the spectrogram of the error. The paper leaves the window's
    shape and the transform's size open; assumed: Hann, and 2,048 for shorter windows, as in lucidrains' code.
    """
    signals = difference.flatten(0, 2)
    error = signals.new_zeros(len(signals))
    for window in SPECTRAL_WINDOWS:
        spectrum = torch.stft(
            signals,
            max(window, 2048),
            SPECTRAL_HOP,
            window,
            torch.hann_window(window, device=signals.device),
            return_complex=True,
        )
        error = error + spectrum.abs().mean(dim=(1, 2))
    return error.view(difference.shape[:3]).mean(dim=2)
