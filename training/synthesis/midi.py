"""Notes and parts, and the Standard MIDI File that carries them to a sound-font synthesiser."""

import struct
from dataclasses import dataclass

DRUM_CHANNEL = 9
TICKS_PER_SECOND = 1000


@dataclass(frozen=True)
class Note:
    """A note: start and length in seconds, MIDI pitch 0–127 and velocity 1–127."""

    start: float
    seconds: float
    pitch: int
    velocity: int


@dataclass(frozen=True)
class Program:
    """A sound of a sound font; drum kits are programs on the drum channel."""

    font: str
    number: int
    bank: int = 0


@dataclass(frozen=True)
class Part:
    """What one MIDI channel plays; pan and volume are the controllers 10 and 7 (0–127)."""

    program: Program
    notes: tuple[Note, ...]
    drums: bool = False
    pan: int = 64
    volume: int = 100
    bend_cents: float = 0.0


def variable_length(value: int) -> bytes:
    """A number in MIDI's seven bits per byte, most significant first."""
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(0x80 | (value & 0x7F))
    return bytes(reversed(out))


def track_events(part: Part, channel: int) -> list[tuple[int, int, bytes]]:
    """A part's events (tick, order, message): set-up, then note-offs before note-ons of the same tick."""
    bend = round(8192 + part.bend_cents / 200.0 * 8192)
    events = [
        (0, 0, bytes([0xB0 | channel, 0, part.program.bank])),
        (0, 1, bytes([0xC0 | channel, part.program.number])),
        (0, 2, bytes([0xB0 | channel, 7, part.volume])),
        (0, 2, bytes([0xB0 | channel, 10, part.pan])),
        (0, 2, bytes([0xE0 | channel, bend & 0x7F, bend >> 7])),
    ]
    for note in part.notes:
        on = max(0, round(note.start * TICKS_PER_SECOND))
        off = max(on + 1, round((note.start + note.seconds) * TICKS_PER_SECOND))
        events.append((on, 4, bytes([0x90 | channel, note.pitch, note.velocity])))
        events.append((off, 3, bytes([0x80 | channel, note.pitch, 0])))
    return events


def standard_midi_file(parts: tuple[Part, ...], seconds: float) -> bytes:
    """A format-0 file that plays the parts together and ends at `seconds`.

    Raises:
        ValueError: more melodic parts than MIDI has channels for.
    """
    melodic = [channel for channel in range(16) if channel != DRUM_CHANNEL]
    if sum(not part.drums for part in parts) > len(melodic):
        raise ValueError(f"parts: {len(parts)} given, at most {len(melodic)} melodic ones fit one file")
    events: list[tuple[int, int, bytes]] = []
    for part in parts:
        events += track_events(part, DRUM_CHANNEL if part.drums else melodic.pop(0))
    end = round(seconds * TICKS_PER_SECOND)
    body, now = b"", 0
    for tick, _, message in sorted(event for event in events if event[0] < end):
        body += variable_length(tick - now) + message
        now = tick
    # fluidsynth renders for as long as anything sounds, so nothing may be left sounding at the end.
    for channel in range(16):
        body += variable_length(end - now) + bytes([0xB0 | channel, 120, 0])
        now = end
    body += variable_length(end - now) + b"\xff\x2f\x00"
    tempo = b"\x00\xff\x51\x03" + (500_000).to_bytes(3, "big")
    header = b"MThd" + struct.pack(">IHHH", 6, 0, 1, TICKS_PER_SECOND // 2)
    return header + b"MTrk" + struct.pack(">I", len(tempo + body)) + tempo + body
