"""Tags by one set of names, that of Vorbis comments, and what other formats call them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

# name: (ID3v2 frame, MP4 atom); where a format has no place of its own, the name goes into one for any name
PLACES = {
    "title": ("TIT2", "©nam"),
    "subtitle": ("TIT3", None),
    "artist": ("TPE1", "©ART"),
    "album": ("TALB", "©alb"),
    "albumartist": ("TPE2", "aART"),
    "composer": ("TCOM", "©wrt"),
    "lyricist": ("TEXT", None),
    "conductor": ("TPE3", None),
    "remixer": ("TPE4", None),
    "date": ("TDRC", "©day"),
    "originaldate": ("TDOR", None),
    "genre": ("TCON", "©gen"),
    "grouping": ("TIT1", "©grp"),
    "mood": ("TMOO", None),
    "key": ("TKEY", None),
    "language": ("TLAN", None),
    "isrc": ("TSRC", None),
    "organization": ("TPUB", None),
    "copyright": ("TCOP", "cprt"),
    "discsubtitle": ("TSST", None),
    "titlesort": ("TSOT", "sonm"),
    "artistsort": ("TSOP", "soar"),
    "albumsort": ("TSOA", "soal"),
    "albumartistsort": ("TSO2", "soaa"),
    "composersort": ("TSOC", "soco"),
    "bpm": ("TBPM", "tmpo"),
    "compilation": ("TCMP", "cpil"),
    "comment": ("COMM", "©cmt"),
    "lyrics": ("USLT", "©lyr"),
}
NUMBERED = {"tracknumber": ("tracktotal", "TRCK", "trkn"), "discnumber": ("disctotal", "TPOS", "disk")}
"""What is one of so many: the name of how many, the ID3v2 frame and the MP4 atom of both."""
DATES = ("date", "originaldate")

_ALSO = {
    "track": "tracknumber", "disc": "discnumber", "totaltracks": "tracktotal", "totaldiscs": "disctotal",
    "album_artist": "albumartist", "album artist": "albumartist", "year": "date", "date_released": "date",
    "description": "comment", "unsyncedlyrics": "lyrics", "publisher": "organization", "label": "organization",
    "initialkey": "key", "initial key": "key", "tsrc": "isrc", "tbpm": "bpm",
}  # fmt: skip
_OF_THE_WHOLE = re.compile(
    r"replaygain_|r128_|itun(norm|smpb|pgap|es_cddb)|encod|acoustid|length$|duration$|cuesheet|tool$|accuraterip"
    r"|metadata_block_picture|coverart|waveformatextensible|chapter"
)
"""What is not true of a stem: loudness, fingerprint, marks in time, how the recording was encoded."""

_MAGIC = (
    (b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"), (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)  # fmt: skip
FRONT = 3  # of the kinds of pictures that ID3v2 counts, and FLAC as it does
_OTHER, _LAST_KIND = 0, 20


@dataclass(frozen=True)
class Picture:
    """A picture. kind: what it shows, by the numbers of ID3v2 (3: the front cover)."""

    data: bytes
    kind: int = FRONT
    description: str = ""

    @property
    def mime(self) -> str:
        """What its bytes are, whatever the file says; "" for what is no picture that is known."""
        if self.data[:4] == b"RIFF" and self.data[8:12] == b"WEBP":
            return "image/webp"
        return next((mime for magic, mime in _MAGIC if self.data.startswith(magic)), "")


@dataclass(frozen=True)
class Tags:
    """texts: name -> its values, names in lower case as `PLACES` has them, or any other."""

    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pictures: tuple[Picture, ...] = ()

    def of_stem(self, stem: str) -> "Tags":
        """The same for one of its stems: the title says which."""
        titles = self.texts.get("title")
        if not titles:
            return self
        return replace(self, texts={**self.texts, "title": (f"{titles[0]} ({stem})", *titles[1:])})

    def numbered(self, name: str) -> tuple[str, str]:
        """One of `NUMBERED` and how many there are; "" for what is not known."""
        values = [self.texts.get(each, ("",))[0] for each in (name, NUMBERED[name][0])]
        return values[0], values[1]


def collected(
    texts: Iterable[tuple[str, Iterable[str]]], pictures: Iterable[Picture], *, known_only: bool = False
) -> Tags:
    """Tags of what was read by any names; what is not true of a stem, empty or no picture is left out."""
    found: dict[str, tuple[str, ...]] = {}
    named = [(_clean(spelled).lower(), values) for spelled, values in texts]
    for lower, values in sorted(named, key=lambda each: each[0] in _ALSO):  # a date says more than a year
        name = _ALSO.get(lower, lower)
        kept = tuple(value for value in (_clean(each) for each in values) if value)
        if not kept or name in found or _OF_THE_WHOLE.match(name):
            continue
        if known_only and name not in PLACES and name not in NUMBERED:
            continue
        found[name] = kept
    for name, (total, _, _) in NUMBERED.items():
        number, slash, of = found.get(name, ("",))[0].partition("/")
        if slash:
            found[name] = (number.strip(),)
            found.setdefault(total, (of.strip(),))
    return Tags(
        {name: values for name, values in found.items() if values[0]},
        tuple(map(_plain, filter(lambda picture: picture.mime, pictures))),
    )


def _plain(picture: Picture) -> Picture:
    """A picture with what every format has room for beside it."""
    kind = picture.kind if 0 <= picture.kind <= _LAST_KIND else _OTHER
    return replace(picture, kind=kind, description=_clean(picture.description))


def _clean(value: str) -> str:
    """Text without what ends it in a file, or is half a character."""
    return value.replace("\0", "").encode("utf-8", "replace").decode("utf-8").strip()
