"""Tags of a recording: by mutagen where it knows the format, else, or where it finds none, by libav."""

import base64
import binascii
import logging
import struct
from collections.abc import Iterable, Iterator
from typing import Any

import av
import mutagen
from av.stream import Disposition
from mutagen.flac import FLAC
from mutagen.flac import Picture as FlacPicture
from mutagen.id3 import ID3, Encoding
from mutagen.mp4 import MP4Tags

from my_submission.files.tags.record import DATES, NUMBERED, PLACES, Picture, Tags, collected
from sdx.decoding import Sound
from sdx.decoding.headers import View
from sdx.decoding.legacy_text import repaired
from sdx.decoding.opening import Complaints

log = logging.getLogger(__name__)

MALFORMED = (
    mutagen.MutagenError,
    ValueError,
    LookupError,
    TypeError,
    OSError,
    struct.error,
    OverflowError,
    MemoryError,
)
"""What mutagen raises for tags that are not as they should be."""

_ID3_NAMES = {frame: name for name, (frame, _) in PLACES.items()} | {
    frame: name for name, (_, frame, _) in NUMBERED.items()
}
_MP4_NAMES = {atom: name for name, (_, atom) in PLACES.items() if atom}
_MP4_NUMBERED = {atom: (name, total) for name, (total, _, atom) in NUMBERED.items()}
_MP4_OWN = "----:com.apple.iTunes:"
_LARGEST_PICTURE = 2**24  # bytes; FLAC holds no larger one


def read_tags(sound: Sound) -> Tags:
    """What the file says, without what is not true of a stem. What cannot be read is a warning, and left out."""
    try:
        tags = _by_mutagen(str(sound.path))
    except MALFORMED as error:
        log.warning("%s: its tags are damaged (%s); what else is known of it is kept", sound.path, error)
        tags = None
    if tags is not None and (tags.texts or tags.pictures):
        return tags
    return collected(
        ((name, (text,)) for name, text in sound.tags.items()), _attached_pictures(sound), known_only=True
    )


def _by_mutagen(path: str) -> Tags | None:
    file = mutagen.File(path)
    tags = None if file is None else file.tags
    if isinstance(tags, ID3):
        return collected(_id3_texts(tags), _id3_pictures(tags))
    if isinstance(tags, MP4Tags):
        return collected(_mp4_texts(tags), (Picture(bytes(cover)) for cover in tags.get("covr", ())))
    if isinstance(tags, mutagen._vorbis.VCommentDict):
        pictures = list(file.pictures) if isinstance(file, FLAC) else list(_base64_pictures(tags))
        return collected(
            ((name, tags[name]) for name in tags.keys()),  # noqa: SIM118, it is no dictionary
            (
                Picture(each.data, each.type, each.desc)
                for each in pictures
                if len(each.data) < _LARGEST_PICTURE
            ),
        )
    return None


def _id3_texts(tags: ID3) -> Iterator[tuple[str, Iterable[str]]]:
    for frame in sorted(tags.values(), key=lambda frame: not _is_date_as_text(frame)):
        name = frame.desc if frame.FrameID == "TXXX" else _ID3_NAMES.get(frame.FrameID)
        if name is None:
            continue
        if frame.FrameID == "TCON":
            values = frame.genres  # numbers as names
        else:
            values = [frame.text] if isinstance(frame.text, str) else [str(text) for text in frame.text]
        is_latin = getattr(frame, "encoding", None) == Encoding.LATIN1
        yield name, [repaired(value) if is_latin else value for value in values]


def _is_date_as_text(frame: Any) -> bool:
    """Whether it has more of a date than the frame for it can hold."""
    return frame.FrameID == "TXXX" and frame.desc.lower() in DATES


def _id3_pictures(tags: ID3) -> Iterator[Picture]:
    for frame in tags.getall("APIC"):
        if len(frame.data) < _LARGEST_PICTURE:
            yield Picture(frame.data, int(frame.type), frame.desc)


def _mp4_texts(tags: MP4Tags) -> Iterator[tuple[str, Iterable[str]]]:
    for atom, values in tags.items():
        if atom in _MP4_NUMBERED:
            (number, of), *_ = values
            name, total = _MP4_NUMBERED[atom]
            yield name, [str(number or "")]
            yield total, [str(of or "")]
        elif atom in ("cpil",):
            yield _MP4_NAMES[atom], ["1" if values else ""]
        elif atom in _MP4_NAMES:
            yield _MP4_NAMES[atom], [str(value) for value in values]
        elif atom.startswith(_MP4_OWN):
            yield atom.removeprefix(_MP4_OWN), [bytes(value).decode("utf-8", "replace") for value in values]


def _base64_pictures(tags: Any) -> Iterator[FlacPicture]:
    for text in tags.get("metadata_block_picture", ()):
        try:
            yield FlacPicture(base64.b64decode(text))
        except (binascii.Error, mutagen.MutagenError, struct.error):
            continue


def _attached_pictures(sound: Sound) -> Iterator[Picture]:
    """Covers that libav shows as streams of one picture: in Matroska, APE, WMA."""
    try:
        with (
            sound.path.open("rb") as file,
            Complaints().listening(),
            av.open(View(file, {}), "r", options={"protocol_whitelist": "none"}) as container,
        ):
            covers = [
                stream for stream in container.streams.video if Disposition.attached_pic in stream.disposition
            ]
            for packet in container.demux(covers) if covers else ():
                if 0 < packet.size < _LARGEST_PICTURE:
                    yield Picture(bytes(packet))
                covers = [stream for stream in covers if stream.index != packet.stream_index]
                if not covers:
                    return
    except (av.FFmpegError, OSError, ValueError):
        return
