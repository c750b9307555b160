"""The overlapping "musical" bands of BandIt (Watcharasupat et al., arXiv 2309.02539): equally wide in octaves."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

REFERENCE_HZ, REFERENCE_NOTE = 440.0, 69.0
NOTES_PER_OCTAVE = 12.0


def musical_bands(count: int, n_fft: int, sample_rate: int) -> list[range]:
    """The bins of each band, in order; together they are all bins of an FFT.

    The centres are equally far apart in MIDI notes, from the first bin above 0 Hz (but at least note 0, 8.2 Hz) to
    half the sample rate. A band goes down and up from its centre by a `count`-th of the bins' octaves, and on to the
    next bin.
    """
    last = n_fft // 2
    lowest, highest = sample_rate / n_fft, sample_rate / 2
    # In Hz and in this order, as published: some small networks have edges that depend on the last bit.
    notes = REFERENCE_NOTE + NOTES_PER_OCTAVE * np.log2(np.array([lowest, highest]) / REFERENCE_HZ)
    points = np.linspace(max(0.0, notes[0]), notes[1], count)
    centres = REFERENCE_HZ * np.exp2((points - REFERENCE_NOTE) / NOTES_PER_OCTAVE)
    reach = np.power(2.0, np.log2(highest / lowest) / count)
    first = np.floor(centres / reach / lowest).astype(int)
    end = np.minimum(np.ceil(centres * reach / lowest).astype(int), last) + 1
    first[0], end[-1] = 0, last + 1
    return [range(start, stop) for start, stop in zip(first.tolist(), end.tolist(), strict=True)]


def bands_covering(bands: Sequence[range]) -> list[int]:
    """How many bands each bin is in."""
    counts = Counter(place for band in bands for place in band)
    return [counts[place] for place in range(max(counts) + 1)]
