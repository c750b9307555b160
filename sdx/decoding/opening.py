"""Opening a file for decoding, and what libav says of it."""

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, cast

import av
import av.logging
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition

from sdx.decoding.headers import Header, View, read_header
from sdx.decoding.legacy_text import readable
from sdx.decoding.streams import StreamInfo, choose, listed

av.logging.set_level(av.logging.ERROR)  # of what `Complaints` collects; nothing is ever printed
av.logging.set_skip_repeated(False)

_KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))
_WITHOUT_CLOCK = frozenset(("mp3", "aac", "ac3", "eac3", "dts", "dtshd", "loas"))
"""Formats that are frames and nothing else: libav counts them, and damaged ones along with them."""
_ESTIMATED = _WITHOUT_CLOCK | {"mpeg", "mpegts", "ogg", "amr", "avi", "wav"}
"""Formats whose length libav estimates, or finds by looking for the end that is there."""
_COUNTED = frozenset(("wav", "w64", "aiff", "au", "caf", "flac"))
"""Formats in which every frame's time is a count of samples."""
_BUFFER_BYTES = 2**18
_DTS_PACKETS = 8
"""Of 16 KiB, in which DTS is looked for among the samples of a WAV; by default it is all, which takes 30 ms."""


class Undecodable(Exception):  # noqa: N818, the name says it
    """A file without sound that can be decoded; the message begins with its path."""


@dataclass(frozen=True)
class Opened:
    """A file that is open for decoding. chosen: its stream in words, of which others, if there are several."""

    container: InputContainer
    stream: AudioStream
    info: StreamInfo
    header: Header
    chosen: str

    @property
    def seconds(self) -> float | None:
        """The length as stated, or estimated."""
        if self.header.seconds is not None:
            return self.header.seconds
        own = self.own_seconds
        if own is None and self.container.duration is not None:
            return self.container.duration / av.time_base
        return own

    @property
    def own_seconds(self) -> float | None:
        """The stream's own length, if the container tells it from that of the others."""
        if self.stream.duration is None or self.stream.time_base is None:
            return None
        return float(self.stream.duration * self.stream.time_base)

    @property
    def is_estimated(self) -> bool:
        """Whether its length is a guess, or was found by looking for the end that is there."""
        return self.header.seconds is None and self.container.format.name in _ESTIMATED

    @property
    def has_clock(self) -> bool:
        """Whether its times say more than that one frame follows another."""
        return self.container.format.name not in _WITHOUT_CLOCK

    @property
    def counts_samples(self) -> bool:
        """Whether every frame's time is exact, and without a frame something is missing."""
        return self.container.format.name in _COUNTED

    @property
    def is_ogg_vorbis(self) -> bool:
        """Whether libav may misjudge its ends, see `vorbis`."""
        return self.container.format.name == "ogg" and self.info.codec == "vorbis"

    @property
    def is_mp4(self) -> bool:
        """Whether its last packet may hold more than is heard, see `mp4`."""
        return "mp4" in self.container.format.name.split(",")

    def picture_start(self) -> Fraction | None:
        """When the first picture is shown, on the file's clock; None without a film."""
        starts = [
            stream.start_time * stream.time_base
            for stream in self.container.streams.video
            if stream.start_time is not None
            and stream.time_base
            and "attached_pic" not in _flags(stream.disposition)
        ]
        return min(starts, default=None)


def text(metadata: str) -> str:
    """What libav says of a file, whichever code page it is in."""
    return readable(metadata.encode("utf-8", "surrogateescape"))


def _flags(disposition: Disposition) -> frozenset[str]:
    return frozenset(flag.name for flag in Disposition if flag in disposition and flag.name)


class Complaints:
    """What libav says of a file, instead of printing it; the last of it is kept."""

    def __init__(self) -> None:
        self.last = ""

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        with av.logging.Capture() as heard:
            try:
                yield
            finally:
                for _, source, text in heard[-1:]:
                    self.last = _line(source, text)

    def because(self, error: Exception) -> str:
        """The reason for an error: its own words, and what was said last."""
        return f"{getattr(error, 'strerror', None) or error}{self}"

    def __str__(self) -> str:
        """What was said last in brackets, to be put after words of ours; empty if nothing was."""
        return f" ({self.last})" if self.last else ""


def _line(source: str, text: str) -> str:
    return " ".join(f"{source}: {text}".strip(" :").split())


@contextlib.contextmanager
def opened(path: Path, wanted: str | None, complaints: Complaints) -> Iterator[Opened]:
    """A file with its stream, see `streams.choose`. Raises Undecodable, or OSError if it cannot be opened at all."""
    with _regular_file(path) as file, contextlib.ExitStack() as stack:
        header = read_header(file)
        # A playlist may name any file and any address; only what was asked for is read.
        options = {"protocol_whitelist": "none"}
        if header.is_wav:
            options["max_probe_packets"] = str(_DTS_PACKETS)
        try:
            with complaints.listening():
                container = av.open(
                    View(file, header.patches, header.end),
                    metadata_errors="surrogateescape",  # for `text`
                    buffer_size=_BUFFER_BYTES,
                    options=options,
                )
        except (av.FFmpegError, ValueError) as error:
            raise Undecodable(
                f"{path}: no recording that can be decoded: {complaints.because(error)}"
            ) from error
        stack.enter_context(cast("contextlib.AbstractContextManager[object]", container))
        yield _with_stream(path, cast(InputContainer, container), wanted, header)


def _with_stream(path: Path, container: InputContainer, wanted: str | None, header: Header) -> Opened:
    found = {info: stream for stream in container.streams.audio if (info := _stream_info(stream, container))}
    if not found:
        if container.streams.audio:
            raise Undecodable(
                f"{path}: its sound is in a format that cannot be decoded; convert it to WAV first"
            )
        raise Undecodable(
            f"{path}: it holds no audio ({container.format.long_name or container.format.name})"
        )
    try:
        info = choose(list(found), wanted)
    except ValueError as error:
        raise Undecodable(f"{path}: {error}") from error
    stream = found[info]
    stream.codec_context.thread_type = "NONE"  # one thread: its complaints are then heard where they belong
    several = f"stream {info} of: {listed(list(found))}" if len(found) > 1 else ""
    return Opened(container, stream, info, header, several)


def _stream_info(stream: AudioStream, container: InputContainer) -> StreamInfo | None:
    """None if there is no decoder for it."""
    context = stream.codec_context
    if context is None:
        return None
    return StreamInfo(
        number=container.streams.audio.index(stream) + 1,
        channels=context.channels,
        sample_rate=context.sample_rate,
        codec=context.codec.canonical_name,
        language=text(stream.language or "").lower(),
        title=text(stream.metadata.get("title", "")),
        dispositions=_flags(stream.disposition),
    )


def _regular_file(path: Path) -> BinaryIO:
    """Raises Undecodable for what is not a file, before opening it: a pipe would hold its reader for ever."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(status.st_mode)), "a device")
        raise Undecodable(f"{path}: expected a file, found {kind}")
    if not status.st_size:
        raise Undecodable(f"{path}: it is empty (0 bytes)")
    return path.open("rb")
