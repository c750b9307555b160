"""MP4, of whose last packet libav decodes all, whatever of it is heard.

An encoder's packets are of one length, and a recording ends somewhere in the last one. The file says where: its table
of times gives the last packet less time than it has samples (libav's own files), or a tag counts all samples
(iTunSMPB, of Apple's encoder and others). libav leaves out what is before the beginning, and nothing after the end.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction

from av.audio.frame import AudioFrame

from sdx.decoding.opening import Opened

_TAG = "iTunSMPB"
"""Hexadecimal words: a 0, samples before the beginning, samples after the end, samples between."""
_COUNT = 3


def heard(frames: Iterable[AudioFrame], file: Opened) -> Iterator[tuple[AudioFrame, int]]:
    """Each frame of a file with the number of its samples, from its first on, that are of the recording."""
    if not file.is_mp4:
        yield from ((frame, frame.samples) for frame in frames)
        return
    left = counted(file)
    held: AudioFrame | None = None
    for frame in frames:
        if held is not None:
            yield held, held.samples
            left -= held.samples
        held = frame
    if held is not None:
        timed = timed_samples(held.samples, held.duration, held.time_base, held.sample_rate)
        yield held, max(0, min(timed, left if left > 0 else held.samples))


def counted(file: Opened) -> int:
    """How many samples the tag counts; none, without one, is 0."""
    words = str(file.container.metadata.get(_TAG, "")).split()
    try:
        return int(words[_COUNT], 16)
    except (IndexError, ValueError):
        return 0


def timed_samples(samples: int, duration: int | None, clock: Fraction | None, rate: int) -> int:
    """How many of its samples the table of times gives a packet: all of them, unless its clock counts samples."""
    if not duration or clock is None or rate % Fraction(1, clock):
        return samples
    return min(samples, int(duration * clock * rate))
