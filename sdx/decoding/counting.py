"""How many samples each stream of a file holds, by its packets: nothing is decoded."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from sdx.decoding import mp4
from sdx.decoding.opening import Complaints, Undecodable, opened


@dataclass(frozen=True)
class Counted:
    """One stream of sound. number: from 1. samples: what its packets decode to, if all of them do."""

    number: int
    sample_rate: int
    channels: int
    samples: int


@dataclass
class _Span:
    """When the first and the last packet of a stream start, and how long the last one is, by `clock`."""

    first: Fraction
    last: Fraction
    duration: int | None
    clock: Fraction


def count_samples(path: Path) -> tuple[Counted, ...]:
    """Every stream of sound of a file, in order.

    As in decoding, what an MP4 says is not heard of its last packet is not counted.
    Packets before the stream's start are what a lossy encoder needs to get going; they are decoded and dropped.
    Raises Undecodable for a file without sound, or whose packets say nothing of their time; OSError.
    """
    complaints = Complaints()
    with opened(path, None, complaints) as file, complaints.listening():
        streams = file.container.streams.audio
        spans: dict[int, _Span] = {}
        try:
            for packet in file.container.demux(*streams):
                if packet.pts is None or packet.time_base is None or packet.pts < 0:
                    continue
                start = packet.pts * packet.time_base
                span = spans.setdefault(
                    packet.stream_index, _Span(start, start, packet.duration, packet.time_base)
                )
                span.first = min(span.first, start)
                if start >= span.last:
                    span.last, span.duration = start, packet.duration
        except av.FFmpegError as error:
            raise Undecodable(f"{path}: reading broke off: {complaints.because(error)}") from error
        found = []
        for number, stream in enumerate(streams, 1):
            context = stream.codec_context
            if context is None or stream.index not in spans or not context.frame_size:
                raise Undecodable(f"{path}: how long its stream {number} is cannot be told from its packets")
            rate, span = context.sample_rate, spans[stream.index]
            before = round((span.last - span.first) * rate)
            last = context.frame_size
            if file.is_mp4:
                last = mp4.timed_samples(last, span.duration, span.clock, rate)
                tagged = mp4.counted(file)
                last = min(last, tagged - before) if tagged > before else last
            found.append(Counted(number, rate, context.channels, before + last))
        return tuple(found)
