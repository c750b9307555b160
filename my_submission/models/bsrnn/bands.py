"""Which bins of a spectrum each band of a BSRNN has. Bands do not overlap, and together they are all bins."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Annotated

from pydantic import Field, model_validator

from my_submission.models.waveforms import Chunks
from my_submission.schema import Fft, Whole, expecting, problem
from my_submission.signal.audio import MODEL_SAMPLE_RATE

Bandsplits = Annotated[
    tuple[tuple[Whole, Whole], ...],
    Field(min_length=1, max_length=64),
    expecting("a list of pairs [up to how many Hz, width of a band in Hz]"),
]
"""Band after band of one width up to a frequency, then of another; the last band is what is left above."""


class BandSplitChunks(Chunks):
    """The transform of a network, and its bands, under the names of published configurations."""

    n_fft: Fft
    hop: Whole
    bandsplits: Bandsplits

    @model_validator(mode="after")
    def _check_bands(self) -> "BandSplitChunks":
        if self.n_fft % 2:
            raise problem(f"expected an even number, found {self.n_fft}", "n_fft")
        if self.hop > self.n_fft // 2:
            raise problem(f"expected at most n_fft/2, found {self.hop}", "hop")
        if complaint := self._complaint():
            raise problem(complaint, "bandsplits")
        return self

    def _complaint(self) -> str:
        """What is wrong with the bands; nothing if each has bins."""
        ends = [0, *(end for end, _ in self.bandsplits)]
        steps = [step for _, step in self.bandsplits]
        for (before, end), step in zip(pairwise(ends), steps, strict=True):
            if end <= before or (end - before) % step:
                return f"expected whole bands of {step} Hz from {before} to {end} Hz"
        if 2 * ends[-1] >= MODEL_SAMPLE_RATE:
            return f"expected frequencies below {MODEL_SAMPLE_RATE // 2} Hz, found {ends[-1]}"
        bands = sum((end - before) // step for (before, end), step in zip(pairwise(ends), steps, strict=True))
        if bands > self.n_fft // 2 or min(self.widths()) < 1:
            return f"expected at least one of the {self.n_fft // 2 + 1} bins in each band"
        return ""

    def widths(self) -> tuple[int, ...]:
        """The bins of each band."""
        raise NotImplementedError

    def starts(self) -> list[int]:
        """The first bin of each band."""
        return list(accumulate(self.widths(), initial=0))[:-1]


def band_steps(bandsplits: Sequence[tuple[int, int]]) -> list[int]:
    """The width of each band in Hz, without the last one."""
    ends = [0, *(end for end, _ in bandsplits)]
    return [
        step
        for (before, end), (_, step) in zip(pairwise(ends), bandsplits, strict=True)
        for _ in range((end - before) // step)
    ]


def widths_between_edges(bandsplits: Sequence[tuple[int, int]], n_fft: int) -> tuple[int, ...]:
    """A band has the bins whose frequency is below its upper edge, and not below that of the band before."""
    edges = accumulate(band_steps(bandsplits), initial=0)
    first = [-(-edge * n_fft // MODEL_SAMPLE_RATE) for edge in edges]  # the bin at an edge, rounded up
    return tuple(end - start for start, end in pairwise([*first, n_fft // 2 + 1]))


def widths_of_steps(bandsplits: Sequence[tuple[int, int]], n_fft: int) -> tuple[int, ...]:
    """A band has as many bins as fit into its width, of n_fft/2 + 1 in half the sample rate, and begins where the one
    before ends. So bands lie lower than their widths in Hz say."""
    bins = n_fft // 2 + 1
    widths = [2 * step * bins // MODEL_SAMPLE_RATE for step in band_steps(bandsplits)]
    return (*widths, bins - sum(widths))
