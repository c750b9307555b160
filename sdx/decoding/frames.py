"""Packets into frames: damaged ones are passed over and counted, and the file's end is noted."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.packet import Packet

from sdx.decoding.opening import Complaints, Opened
from sdx.decoding.vorbis import VorbisStreams


class FrameReader:
    """Decodes an open file's stream once.

    Afterwards: damaged_seconds of packets that could not be decoded; broken_off: why reading ended early, if it did;
    ended: where the last packet ends, in seconds from the file's start (of any stream, if the file states no length
    for this one alone).
    """

    def __init__(self, file: Opened, complaints: Complaints) -> None:
        self.damaged_seconds = 0.0
        self.broken_off = ""
        self._file = file
        self._complaints = complaints
        self._first: Fraction | None = None
        self._last = Fraction(0)

    @property
    def ended(self) -> float:
        """A clock that starts late counts from 0: whether a stated length does so, too, is not known."""
        return float(self._last - min(self._first or Fraction(0), Fraction(0)))

    def frames(self) -> Iterator[AudioFrame]:
        """All frames in the order in which they are heard."""
        vorbis = VorbisStreams(self._file.stream.codec_context) if self._file.is_ogg_vorbis else None
        for packet in self._packets():
            with self._complaints.listening():
                if vorbis is not None:
                    vorbis.correct(packet)
                try:
                    frames = packet.decode()
                except av.error.EOFError:
                    return
                except (av.FFmpegError, ValueError):
                    self.damaged_seconds += float(_duration(packet))
                    continue
            for frame in frames:
                if vorbis is not None:
                    vorbis.set_time(frame)  # type: ignore[arg-type]  # of a stream of sound
                yield frame  # type: ignore[misc]  # of a stream of sound

    def _packets(self) -> "Iterator[Packet[Any]]":
        stream = self._file.stream
        alone = self._file.own_seconds is not None
        packets: Iterator[Packet[Any]] = (
            self._file.container.demux(stream) if alone else self._file.container.demux()
        )
        while True:
            with self._complaints.listening():
                try:
                    packet = next(packets, None)
                except av.FFmpegError as error:
                    self.broken_off = self._complaints.because(error)
                    packet = None
            if packet is None:
                return
            self._note_time(packet)
            if packet.stream_index == stream.index:
                yield packet

    def _note_time(self, packet: "Packet[Any]") -> None:
        if packet.pts is None or packet.time_base is None:
            return
        start = packet.pts * packet.time_base
        self._first = start if self._first is None else min(start, self._first)
        self._last = max(self._last, start + _duration(packet))


def _duration(packet: "Packet[Any]") -> Fraction:
    return (packet.duration or 0) * (packet.time_base or Fraction(0))
