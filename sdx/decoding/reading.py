"""Decoding a sound from its beginning to its end, in its place on the file's clock."""

from collections.abc import Iterator
from fractions import Fraction
from typing import cast

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.resampler import AudioResampler

from sdx.decoding.fold import fold_matrix
from sdx.decoding.frames import FrameReader
from sdx.decoding.mp4 import heard
from sdx.decoding.opening import Complaints, Opened, opened
from sdx.decoding.sound import Sound
from sdx.decoding.timeline import Timeline

Samples = npt.NDArray[np.float32]
"""(samples, channels), integer PCM scaled to ±1."""

MISSING_SECONDS = 0.1
"""From this much on, what a file states and does not hold is worth a warning."""
_BLOCK_SAMPLES = 2**17


class Reading:
    """One pass over a sound.

    fold: more than two channels are folded down to two.
    Once `blocks` is through, `facts` holds what was done to keep to the file's clock, and `warnings` what is missing
    or damaged; each is a clause about the file ("its sound starts at 0.777 s, …", "its header states …").
    """

    def __init__(self, sound: Sound, *, fold: bool = False) -> None:
        self.facts: list[str] = []
        self.warnings: list[str] = []
        self._sound = sound
        self._matrix = fold_matrix(sound.places, sound.channels) if fold else None
        self._convert = _Converter(sound)

    def blocks(self, start: int = 0) -> Iterator[Samples]:
        """All samples from `start` on, in blocks of any length.

        Raises Undecodable if the file has changed so that it cannot be read any more; OSError.
        """
        sound, complaints = self._sound, Complaints()
        with opened(sound.path, str(sound.stream), complaints) as file:
            reader = FrameReader(file, complaints)
            origin = _seek(file, sound, start)
            place, timeline = 0, None  # place: of what comes next, in samples
            held, count = list[Samples](), 0
            for frame, samples in heard(reader.frames(), file):
                time = _time(frame) if file.has_clock else None
                if timeline is None:
                    timeline = _timeline(file, sound, time, origin)
                    place = (
                        0 if origin is None or time is None else round((time - origin) * sound.sample_rate)
                    )
                for piece in self._pieces(frame, samples, time, timeline):
                    kept = piece[max(0, start - place) :]
                    place += len(piece)
                    held.append(kept)
                    count += len(kept)
                    if count >= _BLOCK_SAMPLES:
                        yield np.concatenate(held)
                        held, count = [], 0
            held += [self._folded(samples)[max(0, start - place) :] for samples in self._convert.rest()]
            if any(map(len, held)):
                yield np.concatenate(held)
            self._sum_up(file, reader, timeline, complaints)

    def _pieces(
        self, frame: AudioFrame, samples: int, time: Fraction | None, timeline: Timeline
    ) -> Iterator[Samples]:
        """The silence before a frame, and what is heard of the frame."""
        channels = self._sound.channels if self._matrix is None else 2
        pieces = self._convert(frame)
        if samples < frame.samples and len(pieces) == 1 and len(pieces[0]) == frame.samples:
            pieces = [pieces[0][:samples]]
        silence = timeline.silence_before(time, sum(map(len, pieces)))
        for first in range(0, silence, _BLOCK_SAMPLES):
            yield np.zeros((min(_BLOCK_SAMPLES, silence - first), channels), np.float32)
        yield from map(self._folded, pieces)

    def _folded(self, samples: Samples) -> Samples:
        return samples if self._matrix is None else samples @ self._matrix

    def _sum_up(
        self, file: Opened, reader: FrameReader, timeline: Timeline | None, complaints: Complaints
    ) -> None:
        if file.header.warning:
            self.warnings.append(file.header.warning)
        if timeline is not None:
            # Where every sample is counted, a gap is damage; a film's sound, or a call's, may well pause.
            (self.warnings if file.counts_samples else self.facts).extend(timeline.facts())
        stated = None if file.is_estimated else file.seconds
        if stated is not None and stated - reader.ended >= MISSING_SECONDS:
            self.warnings.append(f"it states {stated:.2f} s, and only {reader.ended:.2f} s are there")
        if reader.damaged_seconds >= MISSING_SECONDS:
            self.warnings.append(
                f"{reader.damaged_seconds:.2f} s of it are damaged and cannot be decoded{complaints}"
            )
        if reader.broken_off:
            self.warnings.append(f"reading broke off before its end: {reader.broken_off}")


def _time(frame: AudioFrame) -> Fraction | None:
    return None if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base


def _seek(file: Opened, sound: Sound, start: int) -> Fraction | None:
    """Move to just before a sample, where that is sure to find it; the stream's start, or None: read all of it.

    That is in plain PCM alone: elsewhere libav finds a place near by, or none, and decoding is quick.
    """
    stream = file.stream
    if not start or stream.time_base is None or not (file.counts_samples and sound.codec.startswith("pcm_")):
        return None
    first = stream.start_time or 0
    try:
        file.container.seek(first + int(Fraction(start, sound.sample_rate) / stream.time_base), stream=stream)
    except av.FFmpegError:
        return None
    return first * stream.time_base


def _timeline(file: Opened, sound: Sound, first: Fraction | None, origin: Fraction | None) -> Timeline:
    """A film's clock starts with its first picture, or its sound if that is earlier; any other with its sound."""
    zero = Fraction(0) if first is None else first
    picture = file.picture_start()
    if picture is not None and origin is None:
        zero = min(zero, picture)
    end = None if file.container.duration is None else zero + Fraction(file.container.duration, av.time_base)
    restarts = bool(file.container.format.flags & cast(int, av.format.Flags.ts_discont.value))
    return Timeline(sound.sample_rate, zero, end, restarts=restarts)


class _Converter:
    """Frames as samples of the sound's form, which may change within a broadcast or in files that were joined."""

    def __init__(self, sound: Sound) -> None:
        self._sound = sound
        self._layout: AudioLayout | None = None
        self._resampler: AudioResampler | None = None
        self._its_form: tuple[int, str] | None = None

    def __call__(self, frame: AudioFrame) -> list[Samples]:
        """A frame's samples, which may come in several pieces."""
        if (frame.sample_rate, frame.layout.nb_channels) == (self._sound.sample_rate, self._sound.channels):
            self._layout = frame.layout
            return [*self.rest(), _samples(frame)]
        form = (frame.sample_rate, frame.layout.name)
        pieces = self.rest() if form != self._its_form else []
        if self._resampler is None:
            self._resampler = AudioResampler("fltp", self._layout, self._sound.sample_rate)
            self._its_form = form
        frame.pts = None
        return pieces + [_samples(out) for out in self._resampler.resample(frame)]

    def rest(self) -> list[Samples]:
        """What is still to come of the frames so far, if the next are of another form, or there are none."""
        if self._resampler is None:
            return []
        pieces = [_samples(out) for out in self._resampler.resample(None)]
        self._resampler = self._its_form = None
        return pieces


def _samples(frame: AudioFrame) -> Samples:
    array = frame.to_ndarray()
    samples = array.T if frame.format.is_planar else array.reshape(-1, frame.layout.nb_channels)
    floats = np.asarray(samples, np.float32)
    if array.dtype.kind == "f":
        return floats
    if array.dtype == np.uint8:
        floats -= 128
    return floats * np.float32(2.0 ** (1 - 8 * array.itemsize))
