"""What tells one MDX23C from another."""

from typing import Annotated

from pydantic import model_validator

from my_submission.models.waveforms import Chunks
from my_submission.schema import Whole, at_most, problem

STEREO_PARTS = 4
"""Channels of a spectrogram: left real, left imaginary, right real, right imaginary."""
SCALE = 2
"""By which a level of the U-Net has fewer frames and bins than the one before it."""
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
