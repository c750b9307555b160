"""Which bins of a spectrum each band of a RoFormer covers."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

BAND_WIDTHS = {62: (*[2] * 24, *[4] * 12, *[12] * 8, *[24] * 8, *[48] * 8, 128, 129)}
"""Of the published BS-RoFormers: number of bands -> the width of each, in bins of an FFT of 2048 samples."""

MEL_SAMPLE_RATE = 44_100
"""Of every published Mel-Band RoFormer; the bands follow from it."""

_HZ_PER_MEL, _LINEAR_HZ, _OCTAVE_STEP = 200 / 3, 1_000.0, math.log(6.4) / 27


@dataclass(frozen=True)
class Bands:
    """The first bin and the number of bins of each band, in order; together they cover all bins, and may overlap."""

    starts: tuple[int, ...]
    widths: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def bins(self) -> int:
        return max(start + width for start, width in self)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(first bin, bins) of each band."""
        return zip(self.starts, self.widths, strict=True)

    def covering(self) -> list[int]:
        """How many bands cover each bin."""
        counts = Counter(place for start, width in self for place in range(start, start + width))
        return [counts[place] for place in range(self.bins)]

    def groups(self) -> list[range]:
        """Runs of neighbouring bands of one width."""
        runs = itertools.groupby(range(len(self)), key=lambda band: self.widths[band])
        found = [list(run) for _, run in runs]
        return [range(run[0], run[-1] + 1) for run in found]


def side_by_side(widths: Sequence[int]) -> Bands:
    """Bands that do not overlap, as BS-RoFormer has them (Lu et al., arXiv 2309.02612)."""
    return Bands(tuple(itertools.accumulate(widths, initial=0))[:-1], tuple(widths))


def mel_bands(count: int, n_fft: int) -> Bands:
    """The bands of Mel-Band RoFormer (Wang et al., arXiv 2310.01809): band i has the bins between mel points i and
    i + 2, of count + 2 that are equally far apart on Slaney's scale, from 0 Hz to half the sample rate.

    The published networks take the bins where librosa's filters are above zero, and the very first and last besides.
    Raises ValueError if a bin is in no band, or a band without bins.
    """
    last = n_fft // 2
    highest = _mel(MEL_SAMPLE_RATE / 2)
    points = [_hz(highest * i / (count + 1)) * n_fft / MEL_SAMPLE_RATE for i in range(count + 2)]  # in bins
    ranges = [
        range(math.floor(low) + 1, math.ceil(high)) for low, high in zip(points, points[2:], strict=False)
    ]
    ranges[0], ranges[-1] = range(ranges[0].stop), range(ranges[-1].start, last + 1)
    if any(not band for band in ranges) or len(set().union(*ranges)) <= last:
        raise ValueError(f"{count} mel bands do not fit {last + 1} bins")
    return Bands(tuple(band.start for band in ranges), tuple(len(band) for band in ranges))


def _mel(hz: float) -> float:
    """Slaney's scale: linear below 1 kHz, logarithmic above."""
    if hz < _LINEAR_HZ:
        return hz / _HZ_PER_MEL
    return _LINEAR_HZ / _HZ_PER_MEL + math.log(hz / _LINEAR_HZ) / _OCTAVE_STEP


def _hz(mel: float) -> float:
    knee = _LINEAR_HZ / _HZ_PER_MEL
    return mel * _HZ_PER_MEL if mel < knee else _LINEAR_HZ * math.exp(_OCTAVE_STEP * (mel - knee))
