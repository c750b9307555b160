"""SCNet (Tong et al., arXiv 2401.13276): it compresses the spectrum's bands, the high ones more than the low ones,
runs LSTMs over the bins and over the frames of what is left, and expands it again.

Inside the network, tensors are grids: (batch, bins, frames, channels), contiguous. Convolutions see them as images
with their channels last, LSTMs and linear layers take them as they are, and so nothing is reordered between layers.
Names and shapes of the parameters are those of the published files.

In lower precision (autocast), what costs most has it: the dual-path layers and the 3×3 convolutions. The bands' own
layers stay in float32, as the sums do: they take a tenth of the time, and their rounding would be most of the error.

Grids are most of a chunk's memory. So encoders, decoders and what is between them take theirs away from a list of
one, `given`, since an argument lives until the call returns; encoders put what decoders take besides on `skips`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from my_submission.models.recurrent import plus_layer
from my_submission.models.scnet.layout import STEREO_PARTS, Bands, ScNetLayout
from my_submission.models.waveforms import in_float32

MASK_CHANNELS = 64
BLOCK = 16
"""In bfloat16, oneDNN's LSTMs cut their sequences into equal blocks: a prime number of them takes four times as long
as the next multiple of this."""
SEQUENCES_AT_A_TIME, SEQUENCES_AT_A_TIME_LOWER = 24, 48
"""Of an LSTM on the CPU, in float32 and in lower precision (a multiple of BLOCK)."""
QUIETEST = 1e-5
"""A mixture whose deviation is smaller than this is not normalised to 1, but by this."""


@dataclass(frozen=True)
class Skip:
    """What a decoder takes besides, and the bins that the grid had before it was encoded."""

    bins: int
    grid: Tensor


class ScNet(nn.Module):
    """Mixtures (batch, 2, samples) -> estimates (batch, sources, 2, samples) float32. More than n_fft/2 samples."""

    def __init__(self, layout: ScNetLayout, sources: int) -> None:
        super().__init__()
        self.layout = layout
        self.sources = sources
        outputs = sources * STEREO_PARTS
        sizes = list(pairwise(layout.dims))
        self.encoder = nn.ModuleList(Encoder(before, after, layout) for before, after in sizes)
        self.separation_net = SeparationNet(layout.dims[-1], layout.num_dplayer, layout.expand)
        self.decoder = nn.ModuleList(
            Decoder(before, after, layout.bands)
            for after, before in reversed([(outputs, layout.dims[1]), *sizes[1:]])
        )
        if layout.masked:
            self.pos_embed_f = nn.Parameter(torch.empty(1, STEREO_PARTS, layout.n_fft // 2 + 1, 1))
            nn.init.trunc_normal_(self.pos_embed_f, std=0.02)
            self.mask_layer = nn.Sequential(
                nn.Conv2d(outputs, MASK_CHANNELS, 3, padding=1),
                nn.GELU(),
                nn.Conv2d(MASK_CHANNELS, outputs, 1),
                nn.Tanh(),
            )

    def forward(self, mixtures: Tensor, kept: Sequence[int] | None = None) -> Tensor:
        """kept: the sources to give, in this order; by default all."""
        samples = mixtures.shape[-1]
        mean, deviation = self._level(mixtures)
        with in_float32(mixtures):
            spectrum = self._transform((mixtures.float() - mean) / deviation)
        grid = torch.view_as_real(spectrum).permute(0, 2, 3, 1, 4).flatten(-2)
        if self.layout.masked:
            grid = grid + as_grid(self.pos_embed_f)
        grid = self._processed(grid)
        with in_float32(grid):
            parts = torch.unflatten(grid.float(), -1, (self.sources, 2, 2)).permute(0, 3, 4, 1, 2, 5)
            estimates = torch.view_as_complex((parts if kept is None else parts[:, list(kept)]).contiguous())
            if self.layout.masked:
                estimates = estimates * spectrum[:, None]
            return self._inverse(estimates)[..., :samples] * deviation[:, None] + mean[:, None]

    def _level(self, mixtures: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the mixtures' mono sum, (batch, 1, 1) each; 0 and 1 if they are not normalised."""
        mono = mixtures.float().mean(dim=1, keepdim=True)
        mean, deviation = mono.mean(dim=-1, keepdim=True), mono.std(dim=-1, correction=0, keepdim=True)
        if self.layout.normalise:
            return mean, deviation.clamp_min(QUIETEST)
        return torch.zeros_like(mean), torch.ones_like(mean)

    def _processed(self, grid: Tensor) -> Tensor:
        """A grid with 4 channels -> one with 4 for each source."""
        given, skips = [grid], list[Skip]()
        for part in (*self.encoder, self.separation_net, *self.decoder):
            given.append(part(given, skips))
        grid = given.pop()
        if not self.layout.masked:
            return grid
        with in_float32(grid):  # or the mixture would be multiplied by 8 bits
            return as_grid(self.mask_layer(as_image(grid.float())))

    def _transform(self, mixtures: Tensor) -> Tensor:
        """(batch, 2, samples) -> (batch, 2, bins, frames) complex; zeros at the end make an even number of frames."""
        hop = self.layout.hop
        hops = mixtures.shape[-1] // hop + 1
        padded = F.pad(mixtures, (0, (hops + 1 - hops % 2) * hop - mixtures.shape[-1]))
        spectrum = torch.stft(
            padded.flatten(0, 1),
            self.layout.n_fft,
            hop,
            window=self._window(mixtures),
            normalized=True,
            return_complex=True,
        )
        return torch.unflatten(spectrum, 0, mixtures.shape[:2])

    def _inverse(self, spectrum: Tensor) -> Tensor:
        """(batch, sources, 2, bins, frames) complex -> (batch, sources, 2, samples)."""
        signals = torch.istft(
            spectrum.flatten(0, 2),
            self.layout.n_fft,
            self.layout.hop,
            window=self._window(spectrum),
            normalized=True,
        )
        return torch.unflatten(signals, 0, spectrum.shape[:3])

    def _window(self, like: Tensor) -> Tensor:
        """As trained: without masks, there is none."""
        window = torch.hann_window if self.layout.masked else torch.ones
        return window(self.layout.n_fft, device=like.device)


def as_image(grid: Tensor) -> Tensor:
    """A view of a grid, (batch, channels, bins, frames), as convolutions and norms take it."""
    return grid.permute(0, 3, 1, 2)


def as_grid(image: Tensor) -> Tensor:
    """The inverse of `as_image`."""
    return image.permute(0, 2, 3, 1)


def to_frequency(grid: Tensor) -> Tensor:
    """The Fourier transform of a grid's frames, an even number: half of it + 1 frequencies, whose real and imaginary
    parts are channels."""
    with in_float32(grid):
        spectrum = torch.fft.rfft(grid.float(), dim=2, norm="ortho")
    return torch.cat([spectrum.real, spectrum.imag], dim=-1)


def from_frequency(grid: Tensor) -> Tensor:
    """The inverse of `to_frequency`."""
    with in_float32(grid):
        real, imaginary = grid.float().chunk(2, dim=-1)
        frames: Tensor = torch.fft.irfft(torch.complex(real, imaginary), dim=2, norm="ortho")
    return frames.contiguous()


class SeparationNet(nn.Module):
    """Dual-path layers, every second one in the frequency domain of the frames."""

    def __init__(self, channels: int, layers: int, expand: int) -> None:
        """layers: an even number."""
        super().__init__()
        self.dp_modules = nn.ModuleList(
            DualPath(channels * (2 if layer % 2 else 1), expand) for layer in range(layers)
        )

    def forward(self, given: list[Tensor], skips: list[Skip]) -> Tensor:
        grid = given.pop()
        for layer, dual_path in enumerate(self.dp_modules):
            processed: Tensor = dual_path(grid)
            grid = from_frequency(processed) if layer % 2 else to_frequency(processed)
            del processed  # or the next layer's would be one more
        return grid


class Encoder(nn.Module):
    """Compresses the bands, processes each by itself, and then all of them together."""

    def __init__(self, before: int, after: int, layout: ScNetLayout) -> None:
        super().__init__()
        self.SDlayer = BandCompression(before, after, layout.bands)
        self.conv_modules = nn.ModuleList(
            ConvolutionModule(after, after // layout.compress, layout.conv_kernel, depth)
            for depth in layout.conv_depths
        )
        self.globalconv = nn.Conv2d(after, after, 3, padding=1)

    def forward(self, given: list[Tensor], skips: list[Skip]) -> Tensor:
        """The next grid. What the decoder takes besides are all bands before the last layer."""
        grid = given.pop()
        with in_float32(grid):
            bands = zip(self.conv_modules, self.SDlayer(grid.float()), strict=True)
            skip = torch.cat([F.gelu(module(band)) for module, band in bands], dim=1)
        skips.append(Skip(grid.shape[1], skip))
        del grid
        return as_grid(self.globalconv(as_image(skip))).contiguous()


class BandCompression(nn.Module):
    """A convolution with strides along the bins of each band."""

    def __init__(self, before: int, after: int, bands: Bands) -> None:
        super().__init__()
        self.bands = bands
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, (kernel, 1), (stride, 1))
            for kernel, stride in zip(bands.kernels, bands.strides, strict=True)
        )

    def forward(self, grid: Tensor) -> Iterator[Tensor]:
        """A grid -> that of each band."""
        sizes, padding = self.bands.sizes(grid.shape[1]), self.bands.padding(grid.shape[1])
        for band, zeros, convolution in zip(
            torch.split(grid, sizes, dim=1), padding, self.convs, strict=True
        ):
            padded = F.pad(band, (0, 0, 0, 0, zeros // 2, zeros - zeros // 2))
            yield as_grid(convolution(as_image(padded)))


class ConvolutionModule(nn.Module):
    """Gated and depthwise convolutions along the frames of each bin."""

    def __init__(self, channels: int, hidden: int, kernel: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(1, channels),
                nn.Conv1d(channels, 2 * hidden, kernel, padding=kernel // 2),
                nn.GLU(dim=1),
                nn.Conv1d(hidden, hidden, kernel, padding=kernel // 2, groups=hidden),
                nn.GroupNorm(1, hidden),
                nn.SiLU(),
                nn.Conv1d(hidden, channels, 1),
            )
            for _ in range(depth)
        )

    def forward(self, grid: Tensor) -> Tensor:
        rows = as_image(grid.flatten(0, 1)[:, None])  # (batch · bins, channels, 1, frames)
        for layer in self.layers:
            hidden = rows
            for part in layer.children():
                hidden = along_rows(part, hidden) if isinstance(part, nn.Conv1d) else part(hidden)
            rows = rows + hidden
        return torch.unflatten(as_grid(rows)[:, 0], 0, grid.shape[:2])


def along_rows(convolution: nn.Conv1d, rows: Tensor) -> Tensor:
    """A convolution along the last axis of (rows, channels, 1, frames). As images, rows may have channels last."""
    padding = (0, convolution.kernel_size[0] // 2)
    weight = convolution.weight[:, :, None]
    return F.conv2d(rows, weight, convolution.bias, padding=padding, groups=convolution.groups)


class DualPath(nn.Module):
    """LSTMs in both directions: one over the bins of each frame, then one over the frames of each bin."""

    def __init__(self, channels: int, expand: int) -> None:
        super().__init__()
        width = channels * expand
        self.lstm_layers = nn.ModuleList(nn.LSTM(channels, width, bidirectional=True) for _ in range(2))
        self.linear_layers = nn.ModuleList(nn.Linear(2 * width, channels) for _ in range(2))
        self.norm_layers = nn.ModuleList(nn.GroupNorm(1, channels) for _ in range(2))

    def forward(self, grid: Tensor) -> Tensor:
        """A grid -> one of the same shape, which may take its memory where no gradient is wanted."""
        normed = as_grid(self.norm_layers[0](as_image(grid)))
        grid = self._added(0, grid.transpose(0, 1), normed.transpose(0, 1)).transpose(0, 1).contiguous()
        del normed
        normed = as_grid(self.norm_layers[1](as_image(grid)))
        steps = self._added(1, grid.permute(2, 0, 1, 3), normed.permute(2, 0, 1, 3))
        return steps.permute(1, 2, 0, 3)

    def _added(self, path: int, steps: Tensor, normed: Tensor) -> Tensor:
        """(steps, …, …, channels) of a grid, and what an LSTM over the steps makes of its norm, together."""
        layer = partial(self._of_sequences, path)
        lower = torch.is_autocast_enabled(steps.device.type)
        at_a_time = SEQUENCES_AT_A_TIME_LOWER if lower else SEQUENCES_AT_A_TIME
        totals = plus_layer(steps.flatten(1, 2), normed.flatten(1, 2), layer, at_a_time)
        return torch.unflatten(totals, 1, steps.shape[1:3])

    def _of_sequences(self, path: int, sequences: Tensor) -> Tensor:
        """(steps, sequences, channels) -> the same."""
        count = sequences.shape[1]
        if count % BLOCK and torch.is_autocast_enabled(sequences.device.type):
            sequences = F.pad(sequences, (0, 0, 0, -count % BLOCK))
        hidden, _ = self.lstm_layers[path](sequences)
        projected: Tensor = self.linear_layers[path](hidden)[:, :count]
        return projected


class Decoder(nn.ModuleList):
    """The inverse of `Encoder` in shape."""

    def __init__(self, before: int, after: int, bands: Bands) -> None:
        super().__init__([Fusion(before), BandExpansion(before, after, bands)])

    def forward(self, given: list[Tensor], skips: list[Skip]) -> Tensor:
        fusion, expansion = self
        skip = skips.pop()
        bins, total = skip.bins, given.pop() + skip.grid
        del skip
        fused = fusion(total)
        del total
        expanded: Tensor = expansion(fused, bins)
        return expanded


class Fusion(nn.Module):
    """A convolution with a GLU after it.

    Published networks give it two copies of its input side by side. To convolve one copy with the sum of both halves
    of the weights is the same, at half the cost.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1)

    def forward(self, grid: Tensor) -> Tensor:
        first, second = self.conv.weight.chunk(2, dim=1)
        image = F.conv2d(as_image(grid), first + second, self.conv.bias, padding=1)
        return F.glu(as_grid(image), dim=-1)


class BandExpansion(nn.Module):
    """The inverse of `BandCompression` in shape."""

    def __init__(self, before: int, after: int, bands: Bands) -> None:
        super().__init__()
        self.bands = bands
        self.convtrs = nn.ModuleList(
            nn.ConvTranspose2d(before, after, (kernel, 1), (stride, 1))
            for kernel, stride in zip(bands.kernels, bands.strides, strict=True)
        )

    def forward(self, grid: Tensor, bins: int) -> Tensor:
        """A grid -> one of so many bins; what the transposed convolutions make too many is cut off at both ends."""
        compressed, sizes = self.bands.compressed(bins), self.bands.sizes(bins)
        expanded = []
        with in_float32(grid):
            for band, size, convolution in zip(
                torch.split(grid.float(), compressed, dim=1), sizes, self.convtrs, strict=True
            ):
                wide = as_grid(convolution(as_image(band)))
                start = (wide.shape[1] - size) // 2
                expanded.append(wide[:, start : start + size])
            return torch.cat(expanded, dim=1)
