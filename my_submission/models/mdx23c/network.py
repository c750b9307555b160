"""MDX23C, a TFC-TDF U-Net of the third generation (KUIELab's in the challenge of 2023, arXiv 2306.09382; trained by
ZFTurbo).

Names and shapes of the parameters are those of the published files.

With untrained weights, rounding grows by 40 dB and more on its way through all the norms. So in float32 the network
computes what the published code does, in the same order, to the bit (the largest images in strips, whose last bits
may differ). In lower precision (autocast), where that is out of reach, its images have their channels last, as a
processor's units for it want them.

An image of the first level takes 128 MiB in a chunk of the published size, so none lives longer than it is needed:
each part takes its input from a list of one, `given`, since an argument lives until the call returns.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from my_submission.models.mdx23c.layers import AlongBins, Convolution, Gelu, activated, plus, times
from my_submission.models.mdx23c.layout import SCALE, STEREO_PARTS, Mdx23cParameters
from my_submission.models.waveforms import in_float32


class Mdx23c(nn.Module):
    """Mixtures (batch, 2, samples) -> estimates (batch, sources, 2, samples) float32. More than n_fft/2 samples."""

    def __init__(self, layout: Mdx23cParameters, sources: int) -> None:
        super().__init__()
        self.layout = layout
        self.sources = sources
        channels, bins = layout.channels, layout.bins
        depth, factor = layout.num_blocks_per_scale, layout.bottleneck_factor
        parts = STEREO_PARTS * layout.num_subbands
        levels = range(layout.num_scales)
        self.first_conv = nn.Conv2d(parts, channels[0], 1, bias=False)
        self.encoder_blocks = nn.ModuleList(
            Down(
                TfcTdf(channels[level], channels[level], bins[level], factor, depth),
                Scale(nn.Conv2d, channels[level], channels[level + 1]),
            )
            for level in levels
        )
        self.bottleneck_block = TfcTdf(channels[-1], channels[-1], bins[-1], factor, depth)
        self.decoder_blocks = nn.ModuleList(
            Up(
                Scale(nn.ConvTranspose2d, channels[level + 1], channels[level]),
                TfcTdf(2 * channels[level], channels[level], bins[level], factor, depth),
            )
            for level in reversed(levels)
        )
        self.final_conv = nn.Sequential(
            nn.Conv2d(channels[0] + parts, channels[0], 1, bias=False),
            Gelu(),
            nn.Conv2d(channels[0], sources * parts, 1, bias=False),
        )

    def forward(self, mixtures: Tensor, kept: Sequence[int] | None = None) -> Tensor:
        """kept: the sources to give, in this order; by default all."""
        with in_float32(mixtures):
            mixture = self._transform(mixtures.float())
        features = self._processed([self.first_conv(mixture).transpose(-1, -2)]).transpose(-1, -2)
        # To convolve again is cheaper than to hold the result through all levels.
        features = times(features, self.first_conv(mixture))
        estimates = self.final_conv(torch.cat([mixture, features], dim=1))
        with in_float32(mixtures):
            apart = torch.unflatten(estimates.float(), 1, (self.sources, -1))
            signals = self._inverse(apart if kept is None else apart[:, list(kept)])
        return signals[..., : mixtures.shape[-1]]

    def _processed(self, given: list[Tensor]) -> Tensor:
        """(batch, channels, frames, bins) -> the same, through the levels of the U-Net."""
        lower = torch.is_autocast_enabled(given[0].device.type)
        order = torch.channels_last if lower else torch.contiguous_format
        given.append(given.pop().contiguous(memory_format=order))
        skips: list[Tensor] = []
        for down in self.encoder_blocks:
            given.append(down(given, skips))
        given.append(self.bottleneck_block(given))
        for up in self.decoder_blocks:
            given.append(up(given, skips))
        return given.pop()

    def _transform(self, mixtures: Tensor) -> Tensor:
        """(batch, 2, samples) -> (batch, channels, bins, frames): the channels are left and right, real and imaginary
        part, sub-band. Zeros at the end make as many frames as the levels need."""
        layout, (batch, _, samples) = self.layout, mixtures.shape
        frames = -(-samples // layout.hop) + 1
        frames += -frames % layout.frames_multiple
        padded = F.pad(mixtures, (0, layout.hop * (frames - 1) - samples))
        spectrum = torch.stft(
            padded.flatten(0, 1),
            layout.n_fft,
            layout.hop,
            window=torch.hann_window(layout.n_fft, device=mixtures.device),
            return_complex=True,
        )
        parts = torch.view_as_real(spectrum[:, : layout.dim_f]).permute(0, 3, 1, 2)
        return parts.reshape(batch, STEREO_PARTS * layout.num_subbands, -1, frames)

    def _inverse(self, images: Tensor) -> Tensor:
        """(batch, sources, channels, bins, frames) -> (batch, sources, 2, samples); higher bins are zero."""
        layout, (batch, sources, _, _, frames) = self.layout, images.shape
        parts = images.reshape(batch * sources * 2, 2, layout.dim_f, frames)
        parts = F.pad(parts, (0, 0, 0, layout.n_fft // 2 + 1 - layout.dim_f)).permute(0, 2, 3, 1)
        signals = torch.istft(
            torch.view_as_complex(parts.contiguous()),
            layout.n_fft,
            layout.hop,
            window=torch.hann_window(layout.n_fft, device=images.device),
        )
        return signals.reshape(batch, sources, 2, -1)


class Down(nn.Module):
    """A level on the way down."""

    def __init__(self, tfc_tdf: "TfcTdf", downscale: "Scale") -> None:
        super().__init__()
        self.tfc_tdf, self.downscale = tfc_tdf, downscale

    def forward(self, given: list[Tensor], skips: list[Tensor]) -> Tensor:
        """The next level's input; what the way up takes of this one is added to `skips`."""
        skips.append(self.tfc_tdf(given))
        lower: Tensor = self.downscale(skips[-1])
        return lower


class Up(nn.Module):
    """A level on the way up."""

    def __init__(self, upscale: "Scale", tfc_tdf: "TfcTdf") -> None:
        super().__init__()
        self.upscale, self.tfc_tdf = upscale, tfc_tdf

    def forward(self, given: list[Tensor], skips: list[Tensor]) -> Tensor:
        """skips: of all levels that are still to come; the last one is taken away."""
        given.append(torch.cat([self.upscale(given.pop()), skips.pop()], dim=1))
        processed: Tensor = self.tfc_tdf(given)
        return processed


class Scale(nn.Module):
    """Half or twice the frames and bins."""

    def __init__(self, kind: type[nn.Conv2d] | type[nn.ConvTranspose2d], before: int, after: int) -> None:
        super().__init__()
        # On the way down, the image is also what the way up takes.
        last_use = kind is nn.ConvTranspose2d
        self.conv = nn.Sequential(*activated(before, last_use), kind(before, after, SCALE, SCALE, bias=False))

    def forward(self, image: Tensor) -> Tensor:
        scaled: Tensor = self.conv(image)
        return scaled


class TfcTdf(nn.Module):
    """Blocks of 3×3 convolutions, with linear layers along the bins between them. It takes away what it is given."""

    def __init__(self, before: int, channels: int, bins: int, factor: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(channels if block else before, channels, bins, factor) for block in range(blocks)
        )

    def forward(self, given: list[Tensor]) -> Tensor:
        for block in self.blocks:
            given.append(block(given))
        return given.pop()


class Block(nn.Module):
    """TFC-TDF: convolutions, layers along the bins between them, and a shortcut. It takes away what it is given.

    (batch, before, frames, bins) -> (batch, channels, frames, bins).
    """

    def __init__(self, before: int, channels: int, bins: int, factor: int) -> None:
        super().__init__()
        hidden = bins // factor
        self.tfc1 = nn.Sequential(*activated(before, last_use=True), Convolution(before, channels))
        self.tdf = nn.Sequential(
            *activated(channels),
            AlongBins(bins, hidden),
            *activated(channels, last_use=True),
            AlongBins(hidden, bins),
        )
        self.tfc2 = nn.Sequential(*activated(channels, last_use=True), Convolution(channels, channels))
        self.shortcut = nn.Conv2d(before, channels, 1, bias=False)

    def forward(self, given: list[Tensor]) -> Tensor:
        image = given.pop()
        shortcut = self.shortcut(image)
        convolved = self.tfc1(image)
        del image
        convolved = plus(convolved, self.tdf(convolved))
        return plus(self.tfc2(convolved), shortcut)
