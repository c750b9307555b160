"""The networks of versions 5 and 5.1: cascades of U-Nets over a spectrum's magnitudes, which end in a mask.

Source: tsurumeso's vocal-remover, as Ultimate Vocal Remover and python-audio-separator 0.47.1 have it. Layers are
named as in their files. The size of a network is told by its file (`told_by`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from my_submission.weights.shapes import State, size

_DILATIONS = (4, 8, 16)
_DILATIONS_5_1 = ((4, 2), (8, 4), (12, 6))  # over bins and frames


@dataclass(frozen=True)
class Size:
    """What tells one network from another.

    width: channels after the first layer (version 5), or before the last (5.1). levels, branches: of each U-Net, and
    of the pyramid in its middle. recurrent: outputs of the LSTM of version 5.1. bins: for which it is made, where
    that follows from its tensors.
    """

    version: Literal["5", "5.1"]
    width: int
    levels: int = 4
    branches: int = 5
    recurrent: int = 0
    bins: int | None = None

    @property
    def context_frames(self) -> int:
        """At each end of a window, of which the mask is discarded."""
        return 128 if self.version == "5" else 64

    @property
    def multiple(self) -> int:
        """Of which the frames of a window, and half of the bins, must be a multiple."""
        return 1 << self.levels


def told_by(state: State) -> Size | None:
    """The size of a file's network, by its tensors' names and shapes; None if it has no VR network."""
    first, last = size(state, "stg1_low_band_net.enc1.conv1.conv.0.weight", 0), size(state, "out.weight", 1)
    recurrent = size(state, "stg3_full_band_net.lstm_dec2.lstm.weight_hh_l0", 1)
    seen = size(state, "stg3_full_band_net.lstm_dec2.lstm.weight_ih_l0", 1)
    if last and recurrent and seen:
        return Size("5.1", last, recurrent=2 * recurrent, bins=2 * seen)
    if not first:
        return None
    deep = "stg1_low_band_net.enc5.conv1.conv.0.weight" in state
    more = [f"stg1_low_band_net.aspp.conv{number}.conv.0.weight" in state for number in (6, 7)]
    return Size("5", first, levels=5 if deep else 4, branches=5 + sum(more))


class Layer(nn.Module):
    """A convolution without bias, its norm, and its activation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        dilation: int | tuple[int, int] = 1,
        leaky: bool = False,
        separable: bool = False,
    ) -> None:
        super().__init__()
        padding = dilation if kernel == 3 else 0
        along = nn.Conv2d(
            inputs,
            inputs if separable else outputs,
            kernel,
            stride,
            padding,
            dilation,
            groups=inputs if separable else 1,
            bias=False,
        )
        across = [nn.Conv2d(inputs, outputs, 1, bias=False)] if separable else []
        activation = nn.LeakyReLU() if leaky else nn.ReLU()
        self.conv = nn.Sequential(along, *across, nn.BatchNorm2d(outputs), activation)

    def forward(self, maps: Tensor) -> Tensor:
        made: Tensor = self.conv(maps)
        return made


class Encoder(nn.Module):
    """Two layers, of which one halves the maps: the second in version 5, the first in 5.1."""

    def __init__(self, inputs: int, outputs: int, halves_first: bool) -> None:
        super().__init__()
        self.conv1 = Layer(inputs, outputs, stride=2 if halves_first else 1, leaky=True)
        self.conv2 = Layer(outputs, outputs, stride=1 if halves_first else 2, leaky=True)


class Decoder(nn.Module):
    """A layer on enlarged maps."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = Layer(inputs, outputs)

    def forward(self, maps: Tensor, skip: Tensor) -> Tensor:
        up = nn.functional.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=True)
        made: Tensor = self.conv(torch.cat([up, skip], dim=1))
        return made


class Pyramid(nn.Module):
    """Layers side by side that see farther and farther. All after the fifth are one layer, which files hold once
    under each of its names."""

    def __init__(
        self,
        width: int,
        outputs: int,
        dilations: Sequence[int | tuple[int, int]],
        separable: bool,
        branches: int,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.AdaptiveAvgPool2d((1, None)), Layer(width, width, kernel=1))
        self.conv2 = Layer(width, width, kernel=1)
        self.conv3, self.conv4, self.conv5, farthest = (
            Layer(width, width, dilation=dilation, separable=separable)
            for dilation in (*dilations, dilations[-1])
        )
        for number in range(6, branches + 1):
            setattr(self, f"conv{number}", farthest)
        self.bottleneck = Layer(branches * width, outputs, kernel=1)
        self._branches = branches

    def forward(self, maps: Tensor) -> Tensor:
        seen = [getattr(self, f"conv{number}")(maps) for number in range(2, self._branches + 1)]
        pooled = self.conv1(maps).expand(-1, -1, maps.shape[2], -1)
        made: Tensor = self.bottleneck(torch.cat([pooled, *seen], dim=1))
        return made


class UNet5(nn.Module):
    """A U-Net of version 5: (batch, inputs, bins, frames) -> (batch, width, bins, frames)."""

    def __init__(self, inputs: int, width: int, of: Size) -> None:
        super().__init__()
        self._levels = range(1, of.levels + 1)
        widths = [inputs, *(width * 2**level for level in range(of.levels))]
        for level in self._levels:
            setattr(self, f"enc{level}", Encoder(widths[level - 1], widths[level], halves_first=False))
        deepest = widths[-1]
        self.aspp = Pyramid(deepest, 2 * deepest, _DILATIONS, separable=True, branches=of.branches)
        for level in self._levels:
            setattr(self, f"dec{level}", Decoder(3 * widths[level], widths[level]))

    def forward(self, maps: Tensor) -> Tensor:
        skips = []
        for level in self._levels:
            encoder: Encoder = getattr(self, f"enc{level}")
            skips.append(encoder.conv1(maps))
            maps = encoder.conv2(skips[-1])
        maps = self.aspp(maps)
        for level in reversed(self._levels):
            maps = getattr(self, f"dec{level}")(maps, skips[level - 1])
        return maps


class Cascade5(nn.Module):
    """Version 5: one U-Net for each half of the bins, then two for all of them."""

    def __init__(self, of: Size) -> None:
        super().__init__()
        width = of.width
        self.stg1_low_band_net = UNet5(2, width, of)
        self.stg1_high_band_net = UNet5(2, width, of)
        self.stg2_bridge = Layer(width + 2, width // 2, kernel=1)
        self.stg2_full_band_net = UNet5(width // 2, width, of)
        self.stg3_bridge = Layer(2 * width + 2, width, kernel=1)
        self.stg3_full_band_net = UNet5(width, 2 * width, of)
        self.out = nn.Conv2d(2 * width, 2, 1, bias=False)

    def forward(self, magnitudes: Tensor) -> Tensor:
        """(batch, 2, bins + 1, frames) -> mask, the same shape."""
        seen = magnitudes[:, :, :-1]
        low, high = seen.chunk(2, dim=2)
        first = torch.cat([self.stg1_low_band_net(low), self.stg1_high_band_net(high)], dim=2)
        second = self.stg2_full_band_net(self.stg2_bridge(torch.cat([seen, first], dim=1)))
        third = self.stg3_full_band_net(self.stg3_bridge(torch.cat([seen, first, second], dim=1)))
        return _mask(self.out(third))


class Recurrent(nn.Module):
    """One more map, of an LSTM that runs over the frames in both directions."""

    def __init__(self, inputs: int, bins: int, outputs: int) -> None:
        super().__init__()
        self.conv = Layer(inputs, 1, kernel=1)
        self.lstm = nn.LSTM(bins, outputs // 2, bidirectional=True)
        self.dense = nn.Sequential(nn.Linear(outputs, bins), nn.BatchNorm1d(bins), nn.ReLU())

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, inputs, bins, frames) -> (batch, 1, bins, frames)."""
        batch, _, bins, frames = maps.shape
        hidden, _ = self.lstm(self.conv(maps)[:, 0].permute(2, 0, 1))  # (frames, batch, outputs)
        made: Tensor = self.dense(hidden.flatten(0, 1))
        return made.reshape(frames, batch, 1, bins).permute(1, 2, 3, 0)


class UNet51(nn.Module):
    """A U-Net of version 5.1: (batch, inputs, bins, frames) -> (batch, width, bins, frames)."""

    def __init__(self, inputs: int, width: int, bins: int, recurrent: int) -> None:
        super().__init__()
        self.enc1 = Layer(inputs, width)
        self.enc2 = Encoder(width, 2 * width, halves_first=True)
        self.enc3 = Encoder(2 * width, 4 * width, halves_first=True)
        self.enc4 = Encoder(4 * width, 6 * width, halves_first=True)
        self.enc5 = Encoder(6 * width, 8 * width, halves_first=True)
        self.aspp = Pyramid(8 * width, 8 * width, _DILATIONS_5_1, separable=False, branches=5)
        self.dec4 = Decoder(14 * width, 6 * width)
        self.dec3 = Decoder(10 * width, 4 * width)
        self.dec2 = Decoder(6 * width, 2 * width)
        self.lstm_dec2 = Recurrent(2 * width, bins // 2, recurrent)
        self.dec1 = Decoder(3 * width + 1, width)

    def forward(self, maps: Tensor) -> Tensor:
        skips = [self.enc1(maps)]
        for encoder in (self.enc2, self.enc3, self.enc4, self.enc5):
            skips.append(encoder.conv2(encoder.conv1(skips[-1])))
        maps = self.aspp(skips.pop())
        for decoder in (self.dec4, self.dec3, self.dec2):
            maps = decoder(maps, skips.pop())
        made: Tensor = self.dec1(torch.cat([maps, self.lstm_dec2(maps)], dim=1), skips.pop())
        return made


class Cascade51(nn.Module):
    """Version 5.1: two U-Nets for each half of the bins, then one for all of them."""

    def __init__(self, of: Size, bins: int) -> None:
        super().__init__()
        width, half, recurrent = of.width, bins // 2, of.recurrent
        halved, quartered = width // 2, width // 4
        self.stg1_low_band_net = nn.Sequential(
            UNet51(2, halved, half, recurrent), Layer(halved, quartered, kernel=1)
        )
        self.stg1_high_band_net = UNet51(2, quartered, half, recurrent // 2)
        self.stg2_low_band_net = nn.Sequential(
            UNet51(quartered + 2, width, half, recurrent), Layer(width, halved, kernel=1)
        )
        self.stg2_high_band_net = UNet51(quartered + 2, halved, half, recurrent // 2)
        self.stg3_full_band_net = UNet51(3 * width // 4 + 2, width, bins, recurrent)
        self.out = nn.Conv2d(width, 2, 1, bias=False)

    def forward(self, magnitudes: Tensor) -> Tensor:
        """(batch, 2, bins + 1, frames) -> mask, the same shape."""
        seen = magnitudes[:, :, :-1]
        low, high = seen.chunk(2, dim=2)
        first_low, first_high = self.stg1_low_band_net(low), self.stg1_high_band_net(high)
        second_low = self.stg2_low_band_net(torch.cat([low, first_low], dim=1))
        second_high = self.stg2_high_band_net(torch.cat([high, first_high], dim=1))
        first = torch.cat([first_low, first_high], dim=2)
        second = torch.cat([second_low, second_high], dim=2)
        return _mask(self.out(self.stg3_full_band_net(torch.cat([seen, first, second], dim=1))))


def _mask(maps: Tensor) -> Tensor:
    """The highest bin, which the network does not see, gets the mask of the one below."""
    return nn.functional.pad(torch.sigmoid(maps), (0, 0, 0, 1), mode="replicate")


def cascade(of: Size, bins: int) -> Cascade5 | Cascade51:
    """The network of a size, for that many bins."""
    return Cascade5(of) if of.version == "5" else Cascade51(of, bins)
