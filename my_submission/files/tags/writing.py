"""Tags into a file of stems, by mutagen, once its sound is complete."""

import base64
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mutagen import id3
from mutagen.flac import FLAC
from mutagen.flac import Picture as FlacPicture
from mutagen.id3 import ID3, Encoding
from mutagen.mp4 import MP4, MP4Cover, MP4FreeForm, MP4Tags
from mutagen.oggopus import OggOpus
from mutagen.oggvorbis import OggVorbis
from mutagen.wave import WAVE

from my_submission.files.tags.reading import MALFORMED
from my_submission.files.tags.record import DATES, NUMBERED, PLACES, Picture, Tags

_MP4_OWN = "----:com.apple.iTunes:"
_MP4_KINDS = {"image/jpeg": MP4Cover.FORMAT_JPEG, "image/png": MP4Cover.FORMAT_PNG}
_MP4_LARGEST_NUMBER = 2**15
_NEWER_FRAMES = ("TSOT", "TSOP", "TSOA", "TMOO", "TSST")
"""Of ID3v2.4, which mutagen leaves out of 2.3; programs read them there, and others pass over them."""
_OLDER_DATES = {"TDRC": (len("YYYY"), len("YYYY-MM-DD")), "TDOR": (len("YYYY"),)}
"""Dates of these lengths can version 2.3 say, too; any other stands there in the frame of 2.4 as well."""
_STAMP = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d)?)?)?)?)?(?!\d)")
"""What a frame for a date can hold, at the start of one; the rest (a zone, words) is a text of its own beside it."""
_NO_LANGUAGE = "XXX"
_LARGEST_BLOCK = 2**24  # bytes, of a FLAC's comments, or of one picture; it has to be smaller
_BETWEEN = "; "  # values of one name, for formats of which most programs read one value


class Unwritable(Exception):  # noqa: N818, the name says it
    """Nothing of the tags could be written; the message says why."""


def write_tags(path: Path, format: str, tags: Tags) -> list[str]:
    """Add tags to a finished file; the names of what this format, or this file, cannot hold.

    Raises Unwritable if none of them can be written.
    """
    if not tags.texts and not tags.pictures:
        return []
    lost: list[str] = []
    try:
        _WRITERS[format](str(path), tags, lost)
    except MALFORMED as error:
        raise Unwritable(str(error) or type(error).__name__) from error
    return lost


def _write_mp3(path: str, tags: Tags, lost: list[str]) -> None:
    written = ID3()
    _fill_id3(written, tags)
    written.save(path, v2_version=3, v23_sep=_BETWEEN)


def _write_wav(path: str, tags: Tags, lost: list[str]) -> None:
    file = WAVE(path)
    if file.tags is None:
        file.add_tags()
    _fill_id3(file.tags, tags)
    file.tags.save(path, v2_version=3, v23_sep=_BETWEEN)


def _fill_id3(written: Any, tags: Tags) -> None:
    """As version 2.3, which more programs read than 2.4."""
    for name, values in _without_totals(tags):
        for frame in _id3_frames(name, values, tags):
            written.add(frame)
    for description, picture in _with_own_descriptions(tags.pictures):
        written.add(id3.APIC(Encoding.UTF16, picture.mime, picture.kind, description, picture.data))
    newer = [written[name] for name in _NEWER_FRAMES if name in written]
    newer += [written[name] for name in _OLDER_DATES if name in written and _is_more(written[name])]
    written.update_to_v23()
    for frame in newer:
        written.add(frame)


def _id3_frames(name: str, values: tuple[str, ...], tags: Tags) -> Iterator[Any]:
    """The frames of one name, as version 2.4 has them; TXXX is for other names, and for more than a date."""
    if name in NUMBERED:
        number, total = tags.numbered(name)
        yield getattr(id3, NUMBERED[name][1])(Encoding.UTF16, [f"{number}/{total}" if total else number])
    elif name == "comment":
        yield id3.COMM(Encoding.UTF16, _NO_LANGUAGE, "", list(values))
    elif name == "lyrics":
        yield id3.USLT(Encoding.UTF16, _NO_LANGUAGE, "", "\n".join(values))
    elif name in DATES:
        if stamp := _STAMP.match(values[0]):
            yield getattr(id3, PLACES[name][0])(Encoding.UTF16, [stamp[0]])
        if not stamp or values != (stamp[0],):
            yield id3.TXXX(Encoding.UTF16, name, list(values))
    elif name in PLACES:
        yield getattr(id3, PLACES[name][0])(Encoding.UTF16, list(values))
    else:
        yield id3.TXXX(Encoding.UTF16, name, list(values))


def _is_more(date: id3.TimeStampTextFrame) -> bool:
    """Whether it says more than the frames that version 2.3 has in its place: the month of no day, a time."""
    return len(str(date.text[0])) not in _OLDER_DATES[date.FrameID]


def _with_own_descriptions(pictures: Sequence[Picture]) -> Iterator[tuple[str, Picture]]:
    """Each picture with a description that no other one has: ID3 has one picture for each."""
    taken: set[str] = set()
    for picture in pictures:
        numbered = (f"{picture.description} {number}".strip() for number in itertools.count(2))
        own = next(each for each in itertools.chain([picture.description], numbered) if each not in taken)
        taken.add(own)
        yield own, picture


def _write_mp4(path: str, tags: Tags, lost: list[str]) -> None:
    file = MP4(path)
    if file.tags is None:
        file.add_tags()
    assert isinstance(file.tags, MP4Tags)
    file.tags.pop("©too", None)
    for name, values in _without_totals(tags):
        atom = NUMBERED[name][2] if name in NUMBERED else PLACES.get(name, (None, None))[1]
        if name in NUMBERED:
            counted, of = (_small(text) for text in tags.numbered(name))
            if counted is None:
                lost.append(name)
            else:
                file.tags[atom] = [(counted, of or 0)]
        elif name == "bpm":
            beats = _small(values[0])
            if beats is None:
                lost.append(name)
            else:
                file.tags[atom] = [beats]
        elif name == "compilation":
            file.tags[atom] = values[0] not in ("0", "")
        elif atom is not None:
            file.tags[atom] = [_BETWEEN.join(values)]
        elif not _is_latin(own := f"{_MP4_OWN}{name.upper()}"):
            lost.append(name)
        else:
            file.tags[own] = [MP4FreeForm(value.encode()) for value in values]
    covers = []
    for picture in tags.pictures:
        if picture.mime in _MP4_KINDS:
            covers.append(MP4Cover(picture.data, _MP4_KINDS[picture.mime]))
        else:
            lost.append(f"a picture ({picture.mime})")
    if covers:
        file.tags["covr"] = covers
    file.save()


def _is_latin(text: str) -> bool:
    """Whether mutagen can write it as a name."""
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


def _small(text: str) -> int | None:
    """A number that MP4 has room for, rounded; None for anything else."""
    try:
        number = round(float(text))
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number < _MP4_LARGEST_NUMBER else None


def _write_flac(path: str, tags: Tags, lost: list[str]) -> None:
    file = FLAC(path)
    if file.tags is None:
        file.add_tags()
    _fill_comments(file.tags, tags, lost)
    while len(file.tags.write(framing=False)) >= _LARGEST_BLOCK:
        largest = max(file.tags.keys(), key=lambda name: sum(map(len, file.tags[name])))
        lost.append(largest)
        del file.tags[largest]
    for picture in map(_flac_picture, tags.pictures):
        if len(picture.write()) < _LARGEST_BLOCK:
            file.add_picture(picture)
        else:
            lost.append(f"a picture ({len(picture.data) / 1e6:.1f} MB)")
    file.save()


def _ogg_writer(kind: Callable[[str], Any]) -> Callable[[str, Tags, list[str]], None]:
    def write(path: str, tags: Tags, lost: list[str]) -> None:
        file = kind(path)
        _fill_comments(file.tags, tags, lost)
        if tags.pictures:
            file.tags["metadata_block_picture"] = [
                base64.b64encode(_flac_picture(picture).write()).decode("ascii") for picture in tags.pictures
            ]
        file.save()

    return write


def _fill_comments(written: Any, tags: Tags, lost: list[str]) -> None:
    for name, values in tags.texts.items():
        if name and name.isascii() and name.isprintable() and "=" not in name and "~" not in name:
            written[name] = list(values)
        else:
            lost.append(name or "one without a name")


def _flac_picture(picture: Picture) -> FlacPicture:
    made = FlacPicture()
    made.data, made.type, made.desc, made.mime = picture.data, picture.kind, picture.description, picture.mime
    return made


def _without_totals(tags: Tags) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Texts but for those that go into one place with their number."""
    totals = {total for name, (total, _, _) in NUMBERED.items() if name in tags.texts}
    yield from ((name, values) for name, values in tags.texts.items() if name not in totals)


_WRITERS: dict[str, Callable[[str, Tags, list[str]], None]] = {
    "wav": _write_wav,
    "flac": _write_flac,
    "mp3": _write_mp3,
    "ogg": _ogg_writer(OggVorbis),
    "opus": _ogg_writer(OggOpus),
    "m4a": _write_mp4,
}
