"""Ogg Vorbis, of which libav misjudges the ends of short and of joined streams.

The first packet of a stream yields no sound: it waits for the half of the next that overlaps it. libav counts that
packet as sound unless the first page tells otherwise, which it does not if it is the last one, too, or if the stream
follows another in one file. All times are then late by that packet, and too much, or nothing, is cut off at the end.
Nor does libav decode a joined stream afresh. Here each packet is set right before it is decoded.

Now and then libav takes a packet for a short one that is long, so that its frame seems to begin late; where it ends
is right. Here a frame is in its place by its end.
"""

from typing import Any

from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.packet import Packet

_DISCARD = slice(4, 8)  # of "skip_samples": how much of the packet's end is none of the recording


class VorbisStreams:
    """Follows the packets of a file's Ogg Vorbis, one stream after the other."""

    def __init__(self, decoder: AudioCodecContext) -> None:
        self.late_samples = 0  # how much later than it should be libav has the present stream
        self._decoder = decoder
        self._is_first = True
        self._starts_at = 0  # libav's time of the stream's first sample, where that should be 0

    def correct(self, packet: "Packet[Any]") -> None:
        """Set right where a packet ends, and note what else is wrong with its stream; before it is decoded."""
        if self._is_first or packet.has_sidedata("new_extradata"):
            self._begin(packet)
        if self._starts_at and packet.has_sidedata("skip_samples"):
            self._cut_less(packet)

    def set_time(self, frame: AudioFrame) -> None:
        """Put a frame in its place, in samples."""
        if frame.pts is not None:
            early = frame.samples - frame.duration if frame.duration else 0
            frame.pts -= self.late_samples + early

    def _begin(self, packet: "Packet[Any]") -> None:
        start, length = packet.pts or 0, packet.duration or 0
        is_late = start == 0 or not self._is_first  # else its first page has told libav
        if not self._is_first:
            self._decoder.flush_buffers()
        self._is_first = False
        self.late_samples = length if is_late else 0
        self._starts_at = start + length if is_late else 0

    def _cut_less(self, packet: "Packet[Any]") -> None:
        side = packet.get_sidedata("skip_samples")
        content = bytearray(bytes(side))
        wanted = int.from_bytes(content[_DISCARD], "little") - self._starts_at
        if wanted >= 0:
            content[_DISCARD] = wanted.to_bytes(4, "little")
            side.update(bytes(content))
            packet.set_sidedata(side)
