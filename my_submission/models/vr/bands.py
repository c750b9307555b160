"""How VR networks see audio: a few STFTs at different rates, of each of which some bins are used.

Source: the band files of Ultimate Vocal Remover, by whose names `LAYOUTS` has them. Low bands have a lower rate and a
finer resolution; all have the same time between frames, so that their bins can be stacked. Where two bands overlap,
the lower one fades out and the upper one fades in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from my_submission.models.vr.resampling import Filter

Channels = Literal["left_right", "mid_side", "mid_side_b2", "stereo_n"]

MIXES: Mapping[Channels, Tensor] = {
    "left_right": torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
    "mid_side": torch.tensor([[0.5, 0.5], [1.0, -1.0]]),
    "mid_side_b2": torch.tensor([[0.5, 1.0], [1.0, -0.5]]),
    "stereo_n": torch.tensor([[1.0, 0.25], [0.25, 1.0]]) / 0.9375,
}
"""What a network takes for its two channels, as weights of left and right."""


@dataclass(frozen=True)
class Band:
    """One STFT. rate, hop, n_fft: in Hz and samples; periodic Hann windows, frames centred, zeros beyond the ends.

    bins: those that the network gets.
    rise, fall: (first, last) bins of the ramps with which the band begins and ends, or None.
    resampler: of the signal from the band above. `channels`: for version 5.1, see `Layout.of`.
    """

    rate: int
    hop: int
    n_fft: int
    bins: tuple[int, int]
    rise: tuple[int, int] | None = None
    fall: tuple[int, int] | None = None
    resampler: Filter = "polyphase"
    channels: Channels = "left_right"

    @property
    def height(self) -> int:
        return self.bins[1] - self.bins[0]

    def gains(self) -> Tensor:
        """What each bin is multiplied by before the inverse STFT, (n_fft/2 + 1,) float32."""
        bins = torch.arange(self.n_fft // 2 + 1, dtype=torch.float64)
        gains = torch.ones_like(bins)
        if self.rise is not None:
            first, last = self.rise
            gains *= ((bins - first) / (last - first + 1)).clamp(0, 1)
        if self.fall is not None:
            gains *= _falling(bins, *self.fall)
        return gains.float()


@dataclass(frozen=True)
class Layout:
    """All bands, the lowest first. bins: what they make together, of which the network sees that many.

    prefilter: (first, last) bins of the mixture's spectrum that get weaker, or None.
    channels: what version 5 takes for its channels, in all bands. In version 5.1 each band says it for itself.
    """

    bins: int
    prefilter: tuple[int, int] | None
    bands: tuple[Band, ...]
    channels: Channels = "left_right"

    def of(self, version: Literal["5", "5.1"]) -> "Layout":
        """The layout as a version reads it: with its channels in each band."""
        if version == "5.1":
            return self
        return replace(self, bands=tuple(replace(band, channels=self.channels) for band in self.bands))

    @property
    def rate(self) -> int:
        """Of the signal: that of the highest band."""
        return self.bands[-1].rate

    @property
    def hop(self) -> int:
        """Samples of the signal between two frames."""
        return self.bands[-1].hop

    @property
    def split(self) -> int:
        """The bin from which on masks are more aggressive."""
        return self.bands[0].bins[1]

    def input_gains(self, version: Literal["5", "5.1"]) -> Tensor:
        """What each bin of the mixture is multiplied by, (bins + 1,) float32."""
        bins = torch.arange(self.bins + 1, dtype=torch.float64)
        if self.prefilter is None:
            return torch.ones_like(bins).float()
        first, last = self.prefilter
        if version == "5.1" or len(self.bands) == 1:
            return _falling(bins, first, last).float()
        return torch.tensor(
            [*[1.0] * (first + 1), *_recursive(last - first - 1), *[1.0] * (self.bins + 1 - last)]
        )


def _falling(bins: Tensor, first: int, last: int) -> Tensor:
    """1 before the bin `first`, 0 from `last` − 1 on, and linear between."""
    return (1 - (bins - first + 1) / (last - first)).clamp(0, 1)


def _recursive(count: int) -> list[float]:
    """The ramp of version 5 in several bands, whose slope in dB depends on the gain before."""
    gains = [1.0]
    for place in range(1, count + 1):
        gains.append(10 ** (-place * (3.5 - gains[-1]) / 20))
    return gains[1:]


def _one(rate: int, hop: int, prefilter: tuple[int, int]) -> Layout:
    return Layout(1024, prefilter, (Band(rate, hop, 2048, (0, 1024)),))


_THREE_768 = Layout(
    768,
    (757, 768),
    (
        Band(11_025, 128, 768, (0, 278), fall=(28, 140)),
        Band(22_050, 256, 768, (14, 322), rise=(14, 70), fall=(283, 314)),
        Band(44_100, 512, 768, (131, 313), rise=(141, 154)),
    ),
)
_FOUR_672 = Layout(
    672,
    (668, 672),
    (
        Band(7_350, 80, 640, (0, 85), fall=(25, 53)),
        Band(7_350, 80, 320, (4, 87), rise=(12, 25), fall=(31, 62)),
        Band(14_700, 160, 512, (17, 216), rise=(24, 48), fall=(139, 210)),
        Band(44_100, 480, 960, (78, 383), rise=(86, 130)),
    ),
)
_FOUR_672_SN = replace(
    _FOUR_672, bands=(*_FOUR_672.bands[:3], replace(_FOUR_672.bands[3], channels="stereo_n"))
)
LAYOUTS: Mapping[str, Layout] = {
    "1band_sr32000_hl512": _one(32_000, 512, (1000, 1021)),
    "1band_sr33075_hl384": _one(33_075, 384, (1000, 1021)),
    "1band_sr44100_hl512": _one(44_100, 512, (1023, 1024)),
    "1band_sr44100_hl1024": _one(44_100, 1024, (1023, 1024)),
    "2band_32000": Layout(
        768,
        (710, 731),
        (
            Band(6_000, 66, 512, (0, 240), fall=(60, 118), resampler="sinc_fastest"),
            Band(32_000, 352, 1024, (22, 505), rise=(23, 44)),
        ),
    ),
    "3band_44100": _THREE_768,
    "3band_44100_mid": replace(_THREE_768, channels="mid_side"),
    "3band_44100_msb2": Layout(
        640,
        (639, 640),
        (
            Band(11_025, 108, 1024, (0, 187), fall=(92, 186)),
            Band(22_050, 216, 768, (0, 212), rise=(34, 68), fall=(174, 209)),
            Band(44_100, 432, 640, (66, 307), rise=(72, 86)),
        ),
        channels="mid_side_b2",
    ),
    "4band_44100": Layout(
        768,
        (740, 768),
        (
            Band(11_025, 128, 1024, (0, 186), fall=(37, 73)),
            Band(11_025, 128, 512, (4, 185), rise=(18, 36), fall=(93, 185)),
            Band(22_050, 256, 512, (46, 186), rise=(46, 93), fall=(164, 186)),
            Band(44_100, 512, 768, (121, 382), rise=(123, 138)),
        ),
    ),
    "4band_v2": _FOUR_672,
    "4band_v2_sn": _FOUR_672_SN,
    "4band_v3": _FOUR_672,
    "4band_v3_sn": _FOUR_672_SN,
    "4band_v4_ms_fullband": Layout(
        896,
        None,
        (
            Band(7_350, 96, 768, (0, 102), fall=(30, 62), channels="mid_side"),
            Band(7_350, 96, 384, (5, 104), rise=(14, 30), fall=(37, 73), channels="mid_side"),
            Band(14_700, 192, 640, (20, 259), rise=(29, 58), fall=(191, 262), channels="mid_side"),
            Band(44_100, 576, 1152, (119, 575), rise=(110, 157), channels="mid_side"),
        ),
    ),
}
