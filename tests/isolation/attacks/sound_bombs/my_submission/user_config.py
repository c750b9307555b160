"""Promise 12: sound that a submission wrote costs no more than sound of that length, whatever its header states.

FLAC that states 68 billion frames, a rate of 0, other numbers of channels or bits, or stops; WAV whose chunks have
no end, lie about sizes, contradict themselves, or are of kinds that nobody needs; RF64; numbers that are none; no
sound.
"""

import os
import struct

import numpy as np
import soundfile
from my_submission.attack import STEMS, Model, tried

EXPECTED = {
    "flac_68_billion_frames": "invalid_output",
    "flac_of_42_bytes": "invalid_output",
    "flac_right_frames_no_data": "invalid_output",
    "flac_right_frames_garbage": "invalid_output",
    "flac_cut_short": "invalid_output",
    "flac_longer_than_stated": ("ok", "invalid_output"),
    "flac_long_metadata": ("ok", "invalid_output"),
    "flac_without_end_of_metadata": "invalid_output",
    "flac_rate_0": "invalid_output",
    "flac_eight_channels": "invalid_output",
    "flac_honest": "ok",
    "rf64_lies": "invalid_output",
    "rf64_without_ds64": "invalid_output",
    "rf64_honest": "ok",
    "riff_sizes_of_ones": "invalid_output",
    "riff_without_data": "invalid_output",
    "riff_data_first": "invalid_output",
    "riff_many_chunks": "invalid_output",
    "riff_chunks_of_nothing": "invalid_output",
    "riff_around": "invalid_output",
    "riff_one_byte_short": "invalid_output",
    "riff_two_data": ("ok", "invalid_output"),
    "riff_with_ones_behind": ("ok", "invalid_output"),
    "format_0_channels": "invalid_output",
    "format_65535_channels": "invalid_output",
    "format_odd_alignment": "invalid_output",
    "format_adpcm": "invalid_output",
    "format_mp3": "invalid_output",
    "format_8_bits": "invalid_output",
    "format_extensible_evil": "invalid_output",
    "rate_4_billion": "invalid_output",
    "numbers_that_are_none": "invalid_output",
    "numbers_without_end": "invalid_output",
    "numbers_too_large": "invalid_output",
    "denormals": "ok",
    "empty": "invalid_output",
    "one_byte": "invalid_output",
    "zeros": "invalid_output",
    "text": "invalid_output",
    "aiff": "invalid_output",
    "ogg": "invalid_output",
    "caf": "invalid_output",
    "w64": "invalid_output",
    "script": "invalid_output",
}


class MySeparationModel(Model):
    """Honest estimates are there; each way replaces them."""

    def _all(self, content: bytes) -> None:
        for stem in STEMS:
            tried()
            with open(f"{self.folder}/{stem}.wav", "wb") as file:
                file.write(content)

    @property
    def frames(self) -> int:
        return len(self.mixture)

    def _audio(self, subtype: str = "PCM_16", kind: str = "WAV", array: object = None) -> bytes:
        path = f"/tmp/sound.{kind.lower()}"
        soundfile.write(
            path, self.mixture / 4 if array is None else array, self.rate, subtype=subtype, format=kind
        )
        with open(path, "rb") as file:
            return file.read()

    def _flac(
        self, frames: int, rate: int = 44100, channels: int = 2, bits: int = 16, blocks: bytes = b""
    ) -> bytes:
        packed = rate << 44 | channels - 1 << 41 | bits - 1 << 36 | frames
        info = struct.pack(">HH", 4096, 4096) + bytes(6) + packed.to_bytes(8, "big") + bytes(16)
        last = 0 if blocks else 0x80
        return b"fLaC" + bytes([last]) + len(info).to_bytes(3, "big") + info + blocks

    def _wav(
        self, *chunks: tuple[bytes, bytes], riff: bytes = b"RIFF", sizes: dict[bytes, int] | None = None
    ) -> bytes:
        body = b"".join(
            name
            + struct.pack("<I", (sizes or {}).get(name, len(content)))
            + content
            + b"\0" * (len(content) % 2)
            for name, content in chunks
        )
        return riff + struct.pack("<I", (sizes or {}).get(riff, len(body) + 4)) + b"WAVE" + body

    def _format(
        self, code: int = 1, channels: int = 2, rate: int = 44100, bits: int = 16, align: int | None = None
    ) -> bytes:
        width = channels * bits // 8 if align is None else align
        return struct.pack("<HHIIHH", code, channels, rate, rate * width & 0xFFFFFFFF, width & 0xFFFF, bits)

    @property
    def samples(self) -> bytes:
        return bytes((np.clip(self.mixture / 4, -1, 1) * 32767).astype("<i2").tobytes())

    def flac_68_billion_frames(self) -> None:
        silence = bytes.fromhex("fff8c9a800") + bytes(190)
        self._all(self._flac((1 << 36) - 1) + silence)

    def flac_of_42_bytes(self) -> None:
        self._all(self._flac(self.frames))

    def flac_right_frames_no_data(self) -> None:
        self._all(self._flac(self.frames) + bytes(1000))

    def flac_right_frames_garbage(self) -> None:
        self._all(self._flac(self.frames) + os.urandom(200_000))

    def flac_cut_short(self) -> None:
        content = self._audio(kind="FLAC")
        self._all(content[: len(content) // 2])

    def flac_longer_than_stated(self) -> None:
        content = bytearray(self._audio(kind="FLAC", array=np.tile(self.mixture / 4, (4, 1))))
        packed = int.from_bytes(content[18:26], "big") >> 36 << 36 | self.frames
        content[18:26] = packed.to_bytes(8, "big")
        self._all(bytes(content))

    def flac_long_metadata(self) -> None:
        content = self._audio(kind="FLAC")
        padding = bytes([1]) + (60_000).to_bytes(3, "big") + bytes(60_000)
        self._all(content[:42] + padding + content[42:])

    def flac_without_end_of_metadata(self) -> None:
        block = bytes([4]) + b"\xff\xff\xff" + bytes(1000)
        self._all(self._flac(self.frames, blocks=block * 20))

    def flac_rate_0(self) -> None:
        self._all(self._flac(self.frames, rate=0))

    def flac_eight_channels(self) -> None:
        self._all(self._flac(self.frames, channels=8, bits=32))

    def flac_honest(self) -> None:
        self._all(self._audio(kind="FLAC"))

    def rf64_lies(self) -> None:
        ds64 = struct.pack("<QQQI", 1 << 62, 1 << 62, 1 << 60, 0)
        sizes = {b"RF64": 0xFFFFFFFF, b"data": 0xFFFFFFFF}
        chunks = ((b"ds64", ds64), (b"fmt ", self._format()), (b"data", self.samples))
        self._all(self._wav(*chunks, riff=b"RF64", sizes=sizes))

    def rf64_without_ds64(self) -> None:
        sizes = {b"RF64": 0xFFFFFFFF, b"data": 0xFFFFFFFF}
        self._all(self._wav((b"fmt ", self._format()), (b"data", self.samples), riff=b"RF64", sizes=sizes))

    def rf64_honest(self) -> None:
        ds64 = struct.pack("<QQQI", len(self.samples) + 80, len(self.samples), self.frames, 0)
        sizes = {b"RF64": 0xFFFFFFFF, b"data": 0xFFFFFFFF}
        chunks = ((b"ds64", ds64), (b"fmt ", self._format()), (b"data", self.samples))
        self._all(self._wav(*chunks, riff=b"RF64", sizes=sizes))

    def riff_sizes_of_ones(self) -> None:
        sizes = dict.fromkeys((b"RIFF", b"data"), 0xFFFFFFFF)
        self._all(self._wav((b"fmt ", self._format()), (b"data", self.samples), sizes=sizes))

    def riff_without_data(self) -> None:
        self._all(self._wav((b"fmt ", self._format())))

    def riff_data_first(self) -> None:
        self._all(self._wav((b"data", self.samples), (b"fmt ", self._format())))

    def riff_many_chunks(self) -> None:
        junk = [(b"JUNK", b"")] * 40_000
        self._all(self._wav(*junk, (b"fmt ", self._format()), (b"data", self.samples)))

    def riff_chunks_of_nothing(self) -> None:
        self._all(b"RIFF\xff\xff\xff\xffWAVE" + bytes(300_000))

    def riff_around(self) -> None:
        """A chunk of 2^32 - 8 bytes: whoever adds in 32 bits comes back to it."""
        sizes = {b"LIST": 0xFFFFFFF8}
        self._all(self._wav((b"LIST", b""), (b"fmt ", self._format()), (b"data", self.samples), sizes=sizes))

    def riff_one_byte_short(self) -> None:
        self._all(self._wav((b"fmt ", self._format()), (b"data", self.samples[:-2])))

    def riff_two_data(self) -> None:
        self._all(self._wav((b"fmt ", self._format()), (b"data", self.samples), (b"data", self.samples)))

    def riff_with_ones_behind(self) -> None:
        self._all(self._wav((b"fmt ", self._format()), (b"data", self.samples)) + b"\xff" * 100_000)

    def format_0_channels(self) -> None:
        self._all(self._wav((b"fmt ", self._format(channels=0)), (b"data", self.samples)))

    def format_65535_channels(self) -> None:
        self._all(self._wav((b"fmt ", self._format(channels=65535)), (b"data", self.samples)))

    def format_odd_alignment(self) -> None:
        self._all(self._wav((b"fmt ", self._format(align=0)), (b"data", self.samples)))

    def format_adpcm(self) -> None:
        self._all(self._audio("IMA_ADPCM"))

    def format_mp3(self) -> None:
        self._all(self._wav((b"fmt ", self._format(code=0x55)), (b"data", self.samples)))

    def format_8_bits(self) -> None:
        self._all(self._audio("PCM_U8"))

    def format_extensible_evil(self) -> None:
        form = self._format(code=0xFFFE) + struct.pack("<HHI", 22, 16, 3) + b"\x01\x00" + b"evil" * 3 + b"xx"
        self._all(self._wav((b"fmt ", form), (b"data", self.samples)))

    def rate_4_billion(self) -> None:
        self._all(self._wav((b"fmt ", self._format(rate=0xFFFFFFFF)), (b"data", self.samples)))

    def _floats(self, value: float) -> None:
        array = self.mixture / 4
        array[::3] = value
        self._all(self._audio("DOUBLE", array=array))

    def numbers_that_are_none(self) -> None:
        self._floats(float("nan"))

    def numbers_without_end(self) -> None:
        self._floats(float("inf"))

    def numbers_too_large(self) -> None:
        self._floats(1e300)

    def denormals(self) -> None:
        self._floats(1e-310)

    def empty(self) -> None:
        self._all(b"")

    def one_byte(self) -> None:
        self._all(b"R")

    def zeros(self) -> None:
        self._all(bytes(100_000))

    def text(self) -> None:
        self._all(b"\x1b[31mAll tracks were scored: 99.000 dB\n" * 1000)

    def aiff(self) -> None:
        self._all(self._audio(kind="AIFF"))

    def ogg(self) -> None:
        self._all(self._audio("VORBIS", "OGG"))

    def caf(self) -> None:
        self._all(self._audio(kind="CAF"))

    def w64(self) -> None:
        self._all(self._audio(kind="W64"))

    def script(self) -> None:
        self._all(b"#!/bin/sh\nid > /tmp/evil\n")
