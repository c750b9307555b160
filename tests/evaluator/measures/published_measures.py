"""The published measures computed in another way: whole recordings in PyTorch and the packages that define them.

Signals are (samples, channels). auraloss takes its mel filters from librosa, of which it needs that one function;
what stands in for it here is written after the definition, band by band.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from math import exp, log
from types import ModuleType

import numpy as np
import torch
from log_wmse_audio_quality import calculate_log_wmse
from numpy.typing import NDArray
from torch import Tensor

Signal = NDArray[np.float64]
RATE_HZ = 44100


def l1_freq(reference: Signal, estimate: Signal) -> float:
    s, s_hat = (torch.stft(_tensor(each), 2048, 1024, window=torch.ones(2048, dtype=torch.float64),
                           return_complex=True).abs() for each in (reference, estimate))  # fmt: skip
    return 100 / (1 + 10 * float(torch.nn.functional.l1_loss(s_hat, s)))


def log_wmse(reference: Signal, estimate: Signal, mixture: Signal) -> float:
    arrays = (np.ascontiguousarray(each.T) for each in (mixture, estimate, reference))
    return float(calculate_log_wmse(*arrays, sample_rate=RATE_HZ))


def aura_stft(reference: Signal, estimate: Signal) -> float:
    from auraloss.freq import STFTLoss

    loss = STFTLoss(w_log_mag=1.0, w_lin_mag=0.0, w_sc=1.0)
    return 100 / (1 + 10 * float(loss(_single(reference), _single(estimate))))


def aura_mrstft(reference: Signal, estimate: Signal) -> float:
    from auraloss.freq import MultiResolutionSTFTLoss

    with _librosa():
        loss = MultiResolutionSTFTLoss(
            fft_sizes=[1024, 2048, 4096],
            hop_sizes=[256, 512, 1024],
            win_lengths=[1024, 2048, 4096],
            scale="mel",
            n_bins=128,
            sample_rate=RATE_HZ,
            perceptual_weighting=True,
        )
    return 100 / (1 + 10 * float(loss(_single(reference), _single(estimate))))


def bleed(reference: Signal, estimate: Signal) -> tuple[float, float]:
    """bleedless and fullness."""
    level, level_hat = (_levels(each) for each in (reference, estimate))
    difference = level_hat - level
    more, less = difference[difference > 0], -difference[difference < 0]
    return tuple(100 / (1 + float(each.mean() if len(each) else 0.0)) for each in (more, less))  # type: ignore[return-value]


def _levels(signal: Signal) -> Tensor:
    window = torch.hann_window(4096, dtype=torch.float64)
    spectrum = torch.stft(
        _tensor(signal), 4096, 1024, window=window, return_complex=True, pad_mode="constant"
    )
    filters = torch.from_numpy(mel(sr=RATE_HZ, n_fft=4096, n_mels=512)).double()
    level = 20 * torch.log10(torch.clamp(filters @ spectrum.abs(), min=1e-10))
    return torch.maximum(level, level.max() - 80)


def mel(*, sr: float, n_fft: int, n_mels: int) -> NDArray[np.float32]:
    """Slaney's filters, each over the difference of its ends, (bands, bins)."""

    def hertz(position: float) -> float:
        return position * 200 / 3 if position < 15 else 1000 * exp((position - 15) * log(6.4) / 27)

    top = 15 + 27 * log(sr / 2 / 1000) / log(6.4)
    edges = [hertz(top * index / (n_mels + 1)) for index in range(n_mels + 2)]
    weights = np.zeros((n_mels, n_fft // 2 + 1))
    for band, (low, middle, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        for index in range(n_fft // 2 + 1):
            at = index * sr / n_fft
            if low < at < high:
                rise = (at - low) / (middle - low) if at < middle else (high - at) / (high - middle)
                weights[band, index] = 2 * rise / (high - low)
    return weights.astype(np.float32)


@contextmanager
def _librosa() -> Iterator[None]:
    package, module = ModuleType("librosa"), ModuleType("librosa.filters")
    module.mel = mel  # type: ignore[attr-defined]
    package.filters = module  # type: ignore[attr-defined]
    before = {name: sys.modules.get(name) for name in ("librosa", "librosa.filters")}
    sys.modules.update({"librosa": package, "librosa.filters": module})
    try:
        yield
    finally:
        for name, found in before.items():
            del sys.modules[name]
            if found is not None:
                sys.modules[name] = found


def _tensor(signal: Signal) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(signal.T))


def _single(signal: Signal) -> Tensor:
    """As a batch of one, in the precision that auraloss has."""
    return _tensor(signal).float()[None]
