"""What tells one SCNet from another."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, model_validator

from my_submission.schema import Fft, Positive, Record, Whole, expecting, problem

STEREO_PARTS = 4
"""Channels of a spectrogram: left real, left imaginary, right real, right imaginary."""


@dataclass(frozen=True)
class Bands:
    """How a block cuts its bins into a low, a middle and a high band, and compresses each of them."""

    shares: Sequence[float]
    strides: Sequence[int]
    kernels: Sequence[int]

    def sizes(self, bins: int) -> list[int]:
        """How many of the bins are in each band."""
        low, middle, _ = self.shares
        ends = [0, math.ceil(bins * low), math.ceil(bins * (low + middle)), bins]
        return [end - start for start, end in itertools.pairwise(ends)]

    def padding(self, bins: int) -> list[int]:
        """Zeros for both ends of each band together."""
        return [
            kernel - 1 if stride == 1 else -size % stride
            for size, stride, kernel in zip(self.sizes(bins), self.strides, self.kernels, strict=True)
        ]

    def compressed(self, bins: int) -> list[int]:
        """How many bins are left of each band."""
        sizes = zip(self.sizes(bins), self.padding(bins), self.strides, self.kernels, strict=True)
        return [(size + zeros - kernel) // stride + 1 for size, zeros, stride, kernel in sizes]


ByBand = Annotated[tuple[Whole, Whole, Whole], expecting("three whole numbers above 0")]
Shares = Annotated[tuple[Positive, Positive, Positive], expecting("three numbers above 0")]


class ScNetLayout(Record):
    """The names are those of published configurations, except that these have nfft, hop_size, band_SR, band_stride
    and band_kernel, and `normalize` under `inference`.

    dims: channels of the spectrogram, and of each block of the encoder.
    band_shares, band_strides, band_kernels: see `Bands`; the same for every block.
    conv_depths: for each band, how many convolution modules are in a block. conv_kernel: of these, in frames.
    compress: divides the channels within such a module.
    num_dplayer: dual-path layers. expand: how much wider an LSTM is than its input.
    masked: whether the network makes complex masks for the mixture's spectrogram, instead of spectrograms.
    normalise: whether mixtures are brought to mean 0 and deviation 1, as the authors trained it: whole tracks; here
        each chunk by itself.
    """

    n_fft: Fft
    hop: Whole
    dims: Annotated[tuple[Whole, ...], Field(min_length=2)]
    band_shares: Shares
    band_strides: ByBand
    band_kernels: ByBand
    conv_depths: ByBand
    compress: Whole
    conv_kernel: Whole
    num_dplayer: Whole
    expand: Whole
    masked: bool
    normalise: bool

    @model_validator(mode="after")
    def _check_layout(self) -> "ScNetLayout":
        if self.n_fft % 2:
            raise problem(f"expected an even number, found {self.n_fft}", "n_fft")
        if self.hop > self.n_fft // 2:
            raise problem(f"expected at most n_fft/2, found {self.hop}", "hop")
        if self.dims[0] != STEREO_PARTS:
            raise problem(f"expected {STEREO_PARTS} as the first, found {list(self.dims)}", "dims")
        if self.compress > min(self.dims[1:]):
            raise problem(f"expected at most {min(self.dims[1:])}, found {self.compress}", "compress")
        if self.conv_kernel % 2 == 0:
            raise problem(f"expected an odd number, found {self.conv_kernel}", "conv_kernel")
        if self.num_dplayer % 2:
            raise problem(f"expected an even number, found {self.num_dplayer}", "num_dplayer")
        if abs(sum(self.band_shares) - 1) > 1e-6:
            raise problem(f"expected a sum of 1, found {list(self.band_shares)}", "band_shares")
        if any(kernel < stride for kernel, stride in zip(self.band_kernels, self.band_strides, strict=True)):
            raise problem(
                f"expected no less than the strides, found {list(self.band_kernels)}", "band_kernels"
            )
        if min(itertools.chain(*self.band_sizes())) < 1:
            raise problem(f"a band would have no bins, found {self.n_fft}", "n_fft")
        return self

    @property
    def bands(self) -> Bands:
        return Bands(self.band_shares, self.band_strides, self.band_kernels)

    def band_sizes(self) -> list[list[int]]:
        """The bins of each band: of the spectrogram, and after each block of the encoder."""
        sizes = [self.bands.sizes(self.n_fft // 2 + 1)]
        for _ in self.dims[1:]:
            sizes.append(self.bands.compressed(sum(sizes[-1])))
        return sizes
