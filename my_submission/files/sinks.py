"""What turns samples into the bytes of a file: libsndfile for wav, flac, mp3 and ogg, libav for opus and m4a."""

import functools
import io
import os
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, cast

import av
import numpy as np
import numpy.typing as npt
import soundfile
import torch
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from torch import Tensor

from my_submission.files.formats import Encoding
from my_submission.signal.resampling import StreamResampler, resampled_length
from sdx.decoding.opening import Complaints

_SUBTYPES = {"16": "PCM_16", "24": "PCM_24", "32f": "FLOAT"}
_LARGEST_WAV = 2**32 - 2**20  # its sizes are 32-bit; beyond, the same extension holds RF64
_PIECE_SAMPLES = 2**16
_MP3_KBPS = {12_000: (8, 64), 24_000: (8, 160), 48_000: (32, 320)}
"""Up to a sample rate: the bit rates that libsndfile means by a compression of 1 and of 0."""
_LOWEST_QUALITY = 0.01  # libsndfile takes a compression of 0 up to less than 1
_OPUS_RATE = 48_000


class SinkFailed(Exception):  # noqa: N818, the name says it
    """The file could not be written in full."""


class Sink(Protocol):
    """A file that is open for writing. Raises SinkFailed where it cannot be written."""

    def write(self, signal: Tensor) -> None:
        """Append (channels, samples) float32."""

    def close(self) -> None:
        """Finish the file. Closing it twice does nothing."""

    def length(self) -> tuple[int, int]:
        """How many samples the closed file holds by its own header, and how many it should."""


def open_sink(
    path: Path,
    encoding: Encoding,
    sample_rate: int,
    channels: int,
    samples: int,
    texts: Mapping[str, str] = MappingProxyType({}),
) -> Sink:
    """Open an existing, empty file for the encoding, for `samples` in all.

    texts: by libsndfile's names, which a wav alone has here. Raises SinkFailed with the reason.
    """
    if encoding.format in _AV:
        return _AvSink(path, encoding, sample_rate, channels, samples)
    return _SoundfileSink(path, encoding, sample_rate, channels, samples, texts)


class _SoundfileSink:
    def __init__(
        self,
        path: Path,
        encoding: Encoding,
        sample_rate: int,
        channels: int,
        samples: int,
        texts: Mapping[str, str],
    ) -> None:
        self._name = _for_libsndfile(path)
        self._sample_format = encoding.sample_format
        self._samples = samples
        container = encoding.format.upper()
        if container == "WAV" and encoding.about_bytes(samples, channels) > _LARGEST_WAV:
            container = "RF64"
        try:
            self._file = soundfile.SoundFile(
                self._name,
                "w",
                sample_rate,
                channels,
                format=container,
                **_settings(encoding, sample_rate, channels),
            )
        except (OSError, soundfile.LibsndfileError) as error:
            reason = getattr(error, "strerror", None) or getattr(error, "error_string", None) or error
            raise SinkFailed(str(reason)) from error
        if encoding.format == "wav":
            for name, value in texts.items():
                setattr(self._file, name, value)

    def write(self, signal: Tensor) -> None:
        for start in range(0, signal.shape[-1], _PIECE_SAMPLES):
            piece = signal[:, start : start + _PIECE_SAMPLES].T.numpy()
            try:
                self._file.write(_encode(piece, self._sample_format))
            except (soundfile.LibsndfileError, AssertionError) as error:  # it asserts that all was written
                raise SinkFailed from error

    def close(self) -> None:
        try:
            self._file.close()
        except soundfile.LibsndfileError as error:
            raise SinkFailed from error

    def length(self) -> tuple[int, int]:
        return _frames(self._name), self._samples


def _settings(encoding: Encoding, sample_rate: int, channels: int) -> dict[str, Any]:
    """What libsndfile is told of a format. Its compression_level is 1 − quality, or stands for a bit rate."""
    kbps = encoding.bitrate
    if encoding.format == "mp3":
        mode, level = "VARIABLE", 0.0
        if kbps is not None:
            lowest, highest = _MP3_KBPS[min(most for most in _MP3_KBPS if sample_rate <= most)]
            mode, level = "CONSTANT", (highest - kbps) / (highest - lowest)
        return {"subtype": "MPEG_LAYER_III", "bitrate_mode": mode, "compression_level": level}
    if encoding.format == "ogg":
        quality = 0.8 if kbps is None else _vorbis_quality(kbps * 1000, sample_rate, channels)
        return {"subtype": "VORBIS", "compression_level": 1 - quality}
    return {"subtype": _SUBTYPES[str(encoding.sample_format)]}


@functools.cache
def _vorbis_quality(bits_per_second: int, sample_rate: int, channels: int) -> float:
    """The quality, up to 1, whose nominal bit rate is the one wanted, or the nearest that there is.

    libsndfile has Vorbis' qualities alone. What bit rate each of them stands for, it writes into its headers.
    """
    lower, upper = _LOWEST_QUALITY, 1.0
    for _ in range(10):
        middle = (lower + upper) / 2
        if _nominal(middle, sample_rate, channels) < bits_per_second:
            lower = middle
        else:
            upper = middle
    return upper


def _nominal(quality: float, sample_rate: int, channels: int) -> int:
    """Bits per second that an Ogg Vorbis file of this form says that it has (Vorbis I, 4.2.2)."""
    written = io.BytesIO()
    with soundfile.SoundFile(
        written, "w", sample_rate, channels, format="OGG", subtype="VORBIS", compression_level=1 - quality
    ):
        pass
    header = written.getvalue()
    place = header.index(b"\x01vorbis") + 20
    return int.from_bytes(header[place : place + 4], "little", signed=True)


def _frames(name: str | bytes) -> int:
    """How many samples a file holds by its header, as libsndfile reads it."""
    try:
        return int(soundfile.info(name).frames)
    except soundfile.LibsndfileError as error:
        raise SinkFailed from error


def _for_libsndfile(path: Path) -> str | bytes:
    """A path as libsndfile takes it: bytes, since a name need not be UTF-8, but for Windows, where all are."""
    return str(path) if os.name == "nt" else os.fsencode(path)


def _encode(piece: npt.NDArray[np.float32], sample_format: str | None) -> npt.NDArray[Any]:
    """Samples that soundfile writes unchanged; integers are rounded to nearest, and +1 to the highest code."""
    if sample_format == "16":
        return np.minimum(np.rint(piece * np.float64(2**15)), 2**15 - 1).astype(np.int16)
    if sample_format == "24":
        return np.minimum(np.rint(piece * np.float64(2**23)), 2**23 - 1).astype(np.int32) << 8
    return piece


# format -> libav's container, codec and sample format
_AV = {"opus": ("opus", "libopus", "flt"), "m4a": ("ipod", "aac", "fltp")}


class _AvSink:
    """Opus and AAC. Their encoders begin with samples of their own, which the containers tell players to leave out:
    Ogg counts samples to the last, and MP4 has a clock, here of the sample rate, with an edit list."""

    def __init__(self, path: Path, encoding: Encoding, sample_rate: int, channels: int, samples: int) -> None:
        container, codec, self._form = _AV[encoding.format]
        self._path, self._is_ogg = path, container == "opus"
        self._rate = _OPUS_RATE if codec == "libopus" else sample_rate
        self._samples = resampled_length(samples, sample_rate, self._rate)
        self._resampler = (
            None if self._rate == sample_rate else StreamResampler(channels, sample_rate, self._rate, samples)
        )
        self._layout = "mono" if channels == 1 else "stereo"
        self._left, self._written = samples, 0
        self._held = torch.zeros(channels, 0)
        self._file: OutputContainer | None = None
        clock = {"movie_timescale": str(self._rate)} if container == "ipod" else {}
        # libav takes a path for an address, or for text in UTF-8; a file that is open is neither.
        self._raw = path.open("r+b")
        try:
            self._file = av.open(self._raw, "w", format=container, options=clock)
            stream = cast(AudioStream, self._file.add_stream(codec, rate=self._rate, layout=self._layout))
            self._codec = stream.codec_context
            self._codec.format = self._form
            self._codec.bit_rate = 1000 * (encoding.kbps(channels) or 0)
            self._file.start_encoding()
        except (OSError, ValueError) as error:
            self._raw.close()
            raise SinkFailed(getattr(error, "strerror", None) or str(error)) from error
        self._stream = stream

    def write(self, signal: Tensor) -> None:
        self._left -= signal.shape[-1]
        ready = signal if self._resampler is None else self._resampler.push(signal)
        self._held = torch.cat([self._held, ready], dim=1)
        step = self._codec.frame_size or 1024
        whole = self._held.shape[-1] if self._left <= 0 else self._held.shape[-1] // step * step
        for start in range(0, whole, step):
            self._mux(self._frame(self._held[:, start : min(start + step, whole)]))
        self._held = self._held[:, whole:].clone()

    def _frame(self, piece: Tensor) -> AudioFrame:
        array = piece.numpy() if self._form == "fltp" else piece.T.reshape(1, -1).numpy()
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(array), self._form, self._layout)
        frame.sample_rate, frame.time_base = self._rate, Fraction(1, self._rate)
        frame.pts = self._written
        self._written += piece.shape[-1]
        return frame

    def _mux(self, frame: AudioFrame | None) -> None:
        assert self._file is not None
        try:
            self._file.mux(self._stream.encode(frame))
        except OSError as error:
            raise SinkFailed from error

    def close(self) -> None:
        if self._file is None:
            return
        try:
            if self._left <= 0:
                self._mux(None)
            self._file.close()
            self._raw.close()
        except OSError as error:
            raise SinkFailed from error
        finally:
            self._file = None
            self._raw.close()

    def length(self) -> tuple[int, int]:
        if self._is_ogg:
            return _frames(_for_libsndfile(self._path)), self._samples
        try:
            with self._path.open("rb") as raw, Complaints().listening(), av.open(raw) as file:
                stream = file.streams.audio[0]
                return round((stream.duration or 0) * (stream.time_base or 0) * self._rate), self._samples
        except (OSError, IndexError) as error:
            raise SinkFailed from error
