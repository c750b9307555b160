"""What a file holds, found out by opening it and decoding a first piece."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from av.audio.frame import AudioFrame

from sdx.decoding.frames import FrameReader
from sdx.decoding.opening import Complaints, Opened, Undecodable, opened, text

_NO_PLACE = ("NONE", "UNK", "UNSD", "USR", "AMBI")


@dataclass(frozen=True)
class Sound:
    """One stream of sound in a file.

    stream: which one, and chosen: the same in words, of how many, if there are several.
    places: ffmpeg's names of the channels' places (FL, FR, FC, …), or empty if the file does not know them.
    seconds: the length that the file states, for a forecast only: it may be an estimate. None if it does not say.
    tags: lower-case names, ffmpeg's.
    """

    path: Path
    stream: int
    chosen: str
    sample_rate: int
    channels: int
    places: tuple[str, ...]
    codec: str
    seconds: float | None
    tags: Mapping[str, str]


def probe(path: Path, stream: str | None = None) -> Sound:
    """What a file holds. stream: a number (from 1) or a language, see `streams.choose`.

    Raises Undecodable for a file without sound that can be decoded; OSError for one that cannot be opened.
    """
    complaints = Complaints()
    with opened(path, stream, complaints) as file:
        first = _first_frame(path, file, complaints)
        return Sound(
            path=path,
            stream=file.info.number,
            chosen=file.chosen,
            sample_rate=first.sample_rate,  # a header may state half of it (AAC), or another one
            channels=first.layout.nb_channels,
            places=_places(first),
            codec=file.info.codec,
            seconds=file.seconds,
            tags={
                text(name).lower(): text(value)
                for section in (file.stream.metadata, file.container.metadata)
                for name, value in section.items()
            },
        )


def _first_frame(path: Path, file: Opened, complaints: Complaints) -> AudioFrame:
    for frame in FrameReader(file, complaints).frames():
        return frame
    size = path.stat().st_size
    raise Undecodable(
        f"{path}: it holds no audio samples, in {size:,} bytes of {file.container.format.name}{complaints}"
    )


def _places(frame: AudioFrame) -> tuple[str, ...]:
    names = tuple(channel.name for channel in frame.layout.channels)
    known = len(set(names)) == frame.layout.nb_channels and not any(
        name.startswith(_NO_PLACE) for name in names
    )
    return names if known else ()
