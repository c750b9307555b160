"""VR networks of the package `pymss-core`, of any size and with random weights, and something for them to hear."""

import pytest
import torch
from torch import Tensor, nn

package = pytest.importorskip("pymss_core.modules.vocal_remover", reason="the package pymss-core is not here")

WINDOW, CONTEXT = 272, 128
"""Frames: a step of 16, the shortest that a network of version 5 takes."""


def theirs_of(kind: int, bins: int, width: int | None = None) -> nn.Module:
    """A network of version 5 by the package's key for its size; of the same shape with another width."""
    if width is None and kind != 129605:  # which its own function does not know
        published: nn.Module = package.determine_model_capacity(2 * bins, kind)
        return published
    c = width or 16
    capacity = [(2, c), (2, c), (c + 2, c // 2, 1, 1, 0), (c // 2, c), (2 * c + 2, c, 1, 1, 0), (c, 2 * c)]
    made: nn.Module = package.CascadedASPPNet(
        2 * bins, [*capacity, (2 * c, 2, 1), (c, 2, 1), (c, 2, 1)], kind
    )
    return made


def theirs_of_5_1(bins: int, width: int, recurrent: int) -> nn.Module:
    made: nn.Module = package.CascadedNet(2 * bins, nout=width, nout_lstm=recurrent)
    return made


def random(network: nn.Module, seed: int) -> nn.Module:
    """Statistics and offsets of its norms included, and masks from near zero to near one."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in [*network.named_parameters(), *network.named_buffers()]:
        if name.endswith("running_var"):
            value.data.uniform_(0.5, 1.5, generator=generator)
        elif value.is_floating_point() and value.dim() == 1:
            value.data.normal_(0.3, 0.3, generator=generator)
        elif value.dim() == 4:
            scale = 8.0 if name == "out.weight" else 1.4
            value.data.normal_(0, scale / value[0].numel() ** 0.5, generator=generator)
    return network.eval()


def music(samples: int, seed: int = 0) -> Tensor:
    """Noise that gets weaker towards high frequencies, as music does: (2, samples)."""
    noise = torch.randn(2, samples, generator=torch.Generator().manual_seed(seed))
    spectrum = torch.fft.rfft(noise)
    shaped = spectrum / (0.003 + torch.linspace(0, 1, spectrum.shape[-1])) ** 0.7
    wave = torch.fft.irfft(shaped, samples)
    loud: Tensor = 0.4 * wave / wave.abs().max()
    return loud
