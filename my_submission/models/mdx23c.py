"""MDX23C, a TFC-TDF U-Net of the third generation (KUIELab's in the challenge of 2023, arXiv 2306.09382; trained by
ZFTurbo), and its checkpoints as callables on chunks.

Names and shapes of the parameters are those of the published files.

With untrained weights, rounding grows by 40 dB and more on its way through all the norms. So in float32 the network
computes what the published code does, in the same order, to the bit (the largest images in strips, whose last bits
may differ). In lower precision (autocast), where that is out of reach, its images have their channels last, as a
processor's units for it want them.

An image of the first level takes 128 MiB in a chunk of the published size, so none lives longer than it is needed:
each part takes its input from a list of one, `given`, since an argument lives until the call returns.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor, nn

from my_submission.models.waveforms import Chunks, WaveformModel, in_float32
from my_submission.registry import Architecture, register
from my_submission.schema import Whole, at_most, problem
from my_submission.signal.chunking import Geometry
from my_submission.weights import Checkpoint
from my_submission.weights.load import PICKLES, build, open_network_state
from my_submission.weights.shapes import State, count, size, told

STEREO_PARTS = 4
"""Channels of a spectrogram: left real, left imaginary, right real, right imaginary."""
_BYTES_PER_VALUE, _BYTES_PER_VALUE_LOWER = 80, 45
"""Of memory while a chunk is computed, for each value of the first level's image; measured on the published size
before images were freed as early as now."""
_BYTES_PER_VALUE_IN_PLACE, _BYTES_PER_OUTPUT = 36, 14
"""In float32 on the CPU, for each such value and each of the final layer's outputs. Less was measured: 21 for each
value on the published size, 32 with two chunks at a time, and 27 on small ones, whose images are not convolved in
strips."""
SCALE = 2
"""By which a level of the U-Net has fewer frames and bins than the one before it."""
CHANNELS_AT_A_TIME = 16
"""That a norm holds twice; with fewer, more of the time goes into calls."""
LARGE, STRIP = 2**26, 2**23
"""Values of an image, and of a strip of it, see `Convolution`."""
MOST_SCALES = 16
"""More than any number of bins can be halved that an FFT of 65,536 has."""


class Mdx23cParameters(Chunks):
    """A network's size, under the names of published configurations (dim_f: the lowest bins that it sees), and the
    chunks that it is given.

    num_subbands: dim_f is cut into so many, which are channels. num_scales: levels of the U-Net besides its middle.
    num_channels: of the first level; growth: how many more each has. bottleneck_factor: of the bins, within a TDF.
    """

    hop: Whole
    dim_f: Whole
    num_subbands: Whole
    num_scales: Annotated[Whole, at_most(MOST_SCALES)]
    num_blocks_per_scale: Whole
    num_channels: Whole
    growth: Whole
    bottleneck_factor: Whole

    @model_validator(mode="after")
    def _check_size(self) -> "Mdx23cParameters":
        if self.hop > self.n_fft // 2:
            raise problem(f"expected at most n_fft/2, found {self.hop}", "hop")
        if self.dim_f > self.n_fft // 2 + 1:
            raise problem(f"expected at most n_fft/2 + 1, found {self.dim_f}", "dim_f")
        multiple = self.num_subbands * self.frames_multiple
        if self.dim_f % multiple or self.dim_f // multiple < self.bottleneck_factor:
            least = multiple * self.bottleneck_factor
            raise problem(f"expected a multiple of {multiple}, at least {least}, found {self.dim_f}", "dim_f")
        return self

    @property
    def frames_multiple(self) -> int:
        """What the number of frames is a multiple of."""
        return int(SCALE**self.num_scales)

    @property
    def channels(self) -> list[int]:
        """Of each level, the middle last."""
        return [self.num_channels + level * self.growth for level in range(self.num_scales + 1)]

    @property
    def bins(self) -> list[int]:
        """Of each level, the middle last."""
        return [self.dim_f // self.num_subbands // SCALE**level for level in range(self.num_scales + 1)]


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
        features = _times(features, self.first_conv(mixture))
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
        convolved = _plus(convolved, self.tdf(convolved))
        return _plus(self.tfc2(convolved), shortcut)


def activated(channels: int, last_use: bool = False) -> tuple[nn.Module, nn.Module]:
    """A norm, and what follows each of them. last_use: see `ChannelNorm`."""
    return ChannelNorm(channels, last_use), Gelu()


def _plus(image: Tensor, other: Tensor) -> Tensor:
    """Their sum; in place of the first, where nobody needs what it was for a gradient."""
    return image + other if torch.is_grad_enabled() else image.add_(other)


def _times(image: Tensor, other: Tensor) -> Tensor:
    """Likewise, their product."""
    return image * other if torch.is_grad_enabled() else image.mul_(other)


class Gelu(nn.Module):
    """In place, where nobody needs what it was for a gradient."""

    def forward(self, image: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return F.gelu(image)
        result: Tensor = torch.ops.aten.gelu_(image)
        return result


class ChannelNorm(nn.InstanceNorm2d):
    """Each channel by itself.

    last_use: whether nobody needs the image afterwards; then, on the CPU, the result takes its place, a few channels
    at a time.
    """

    def __init__(self, channels: int, last_use: bool = False) -> None:
        super().__init__(channels, affine=True)
        self.last_use = last_use

    def forward(self, image: Tensor) -> Tensor:
        if has_channels_last(image):  # which torch's own would reorder
            return F.group_norm(image, self.num_features, self.weight, self.bias, self.eps)
        if not self.last_use or image.device.type != "cpu" or torch.is_grad_enabled():
            return super().forward(image)
        for first in range(0, self.num_features, CHANNELS_AT_A_TIME):
            some = slice(first, first + CHANNELS_AT_A_TIME)
            image[:, some] = F.instance_norm(
                image[:, some], weight=self.weight[some], bias=self.bias[some], eps=self.eps
            )
        return image


class Convolution(nn.Conv2d):
    """3×3, without a bias. On the CPU, images of LARGE or more values each are convolved in strips of their frames:
    oneDNN copies its whole input into an order of its own, unless that has its channels last."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, 3, padding=1, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        batch, _, frames, bins = image.shape
        small = image.device.type != "cpu" or image[0].numel() < LARGE
        if small or has_channels_last(image) or torch.is_grad_enabled():
            return super().forward(image)
        at_a_time = max(1, frames * STRIP // image[0].numel())
        result = image.new_empty(batch, self.out_channels, frames, bins)
        for first in range(0, frames, at_a_time):
            end = min(first + at_a_time, frames)
            before, after = min(first, 1), min(frames - end, 1)  # frames that there are beside the strip
            strip = F.pad(image[:, :, first - before : end + after], (0, 0, 1 - before, 1 - after))
            result[:, :, first:end] = F.conv2d(strip, self.weight, padding=(0, 1))
        return result


class AlongBins(nn.Linear):
    """A linear layer along the bins of an image, without a bias."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        if has_channels_last(image):
            return (self.weight @ image.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return super().forward(image)


def has_channels_last(image: Tensor) -> bool:
    """Whether only so is it contiguous."""
    return not image.is_contiguous() and image.is_contiguous(memory_format=torch.channels_last)


def load(
    checkpoint: Checkpoint,
    path: Path,
    device: torch.device,
    dtype: torch.dtype,
    needed: Collection[str] | None = None,
) -> WaveformModel:
    """Open a checkpoint (`registry.Loader`)."""
    parameters, sources = checkpoint.parameters, len(checkpoint.sources)
    assert isinstance(parameters, Mdx23cParameters)
    said = {**parameters.model_dump(), "sources": sources}
    network = build(path, lambda: Mdx23c(parameters, sources), open_network_state(path), said, told_by)
    geometry = Geometry(parameters.chunk_samples, fade_samples=parameters.fade_samples)
    bytes_per_sample = (
        _bytes_per_bin(parameters, sources, device, dtype) * parameters.bins[0] // parameters.hop
    )
    return WaveformModel(
        network, checkpoint.sources, geometry, bytes_per_sample, device, dtype, needed, to_the_bit=True
    )


def _bytes_per_bin(
    parameters: Mdx23cParameters, sources: int, device: torch.device, dtype: torch.dtype
) -> int:
    """Of memory, for each bin of each frame that the first level has."""
    if dtype != torch.float32:
        return _BYTES_PER_VALUE_LOWER * parameters.num_channels
    if device.type != "cpu":
        return _BYTES_PER_VALUE * parameters.num_channels
    outputs = sources * STEREO_PARTS * parameters.num_subbands
    return _BYTES_PER_VALUE_IN_PLACE * parameters.num_channels + _BYTES_PER_OUTPUT * outputs


def told_by(state: State) -> dict[str, Any]:
    """The parameters, and the number of sources, as far as the shapes of a file's tensors tell."""
    channels, parts = (size(state, "first_conv.weight", axis) for axis in (0, 1))
    outputs = size(state, "final_conv.2.weight", 0)
    second = size(state, "encoder_blocks.0.downscale.conv.2.weight", 0)
    hidden, bins = (size(state, "encoder_blocks.0.tfc_tdf.blocks.0.tdf.2.weight", axis) for axis in (0, 1))
    return told(
        sources=outputs // parts if outputs and parts else None,
        num_subbands=parts and parts // STEREO_PARTS,
        num_channels=channels,
        growth=second - channels if second and channels else None,
        num_scales=count(state, "encoder_blocks."),
        num_blocks_per_scale=count(state, "bottleneck_block.blocks."),
        dim_f=bins * (parts // STEREO_PARTS) if bins and parts else None,
        bottleneck_factor=bins // hidden if bins and hidden and bins % hidden == 0 else None,
    )


# No piece of work: with random weights bfloat16 agrees with float32 to 14 to 40 dB, as it does in the published code;
# what it does with trained ones nobody here could see. So "auto" means float32.
register(Architecture("mdx23c", (*PICKLES, ".safetensors"), load, Mdx23cParameters))
