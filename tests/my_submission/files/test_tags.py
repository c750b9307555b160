"""Tags and covers: from every format that has them to every format that has them, as libav reads them."""

import base64
import logging
from pathlib import Path
from typing import Any

import av
import mutagen
import numpy as np
import pytest
import soundfile
from av.stream import Disposition
from mutagen import id3
from mutagen.aiff import AIFF

from my_submission.files import FileOptions, separate_file
from my_submission.files.formats import FORMATS, Encoding
from my_submission.files.tags import Picture, Tags, read_tags, write_tags
from my_submission.files.tags.record import PLACES, collected
from sdx.decoding import probe
from sdx.decoding.legacy_text import readable
from tests.my_submission.files.test_formats import decoded, noise, write
from tests.my_submission.files_model import KnownShares
from tests.thinned import one_in

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
TEXTS = {
    "title": ("Группа крови",),
    "artist": ("宇多田ヒカル", "Кино"),
    "album": ("Ágætis byrjun",),
    "albumartist": ("Somebody",),
    "date": ("1999",),
    "genre": ("Rock",),
    "composer": ("A Composer",),
    "comment": ("made for a test",),
    "lyrics": ("one\ntwo",),
    "tracknumber": ("3",),
    "tracktotal": ("12",),
    "discnumber": ("1",),
    "disctotal": ("2",),
    "bpm": ("120",),
    "compilation": ("1",),
    "isrc": ("XX1234567890",),
    "catalogue": ("K-1",),
}
TAGS = Tags(TEXTS, (Picture(PNG),))
SHOWN = ("title", "album", "date", "genre", "composer", "comment")
"""What libav reads by these names from every format."""


def source(folder: Path, kind: str) -> Path:
    """A recording with all of `TAGS`, as programs write it in this format."""
    path = folder / f"song.{kind}"
    if kind in FORMATS:
        write(path, Encoding(kind), 48_000, noise(5_000))
        assert write_tags(path, kind, TAGS) == []
    elif kind == "aiff":
        soundfile.write(path, noise(5_000).T, 48_000)
        file = AIFF(path)
        file.add_tags()
        twin = source(folder, "mp3")
        for frame in id3.ID3(twin).values():
            file.tags.add(frame)
        twin.unlink()
        file.save()
    return path


def shown(path: Path) -> tuple[dict[str, str], list[bytes]]:
    """The texts and pictures that libav finds."""
    with av.open(str(path)) as file:
        metadata = [file.metadata, *(stream.metadata for stream in file.streams.audio)]
        texts = {name.lower(): value for section in metadata for name, value in section.items()}
        covers = [stream for stream in file.streams.video if Disposition.attached_pic in stream.disposition]
        pictures = [bytes(packet) for packet in file.demux(covers) if packet.size] if covers else []
    return texts, pictures


@pytest.mark.parametrize("kind", [*FORMATS, "aiff"])
def test_what_is_written_is_read_again(tmp_path: Path, kind: str) -> None:
    found = read_tags(probe(source(tmp_path, kind)))
    joined = {name: "; ".join(values) for name, values in found.texts.items()}
    assert joined == {name: "; ".join(values) for name, values in TEXTS.items()}
    assert [picture.data for picture in found.pictures] == [PNG]


@pytest.mark.parametrize("kind", one_in(3, ["mp3", "flac", "m4a"]))
@pytest.mark.parametrize("format", list(FORMATS))
def test_tags_and_covers_are_kept_and_the_title_says_which_stem(
    tmp_path: Path, kind: str, format: str
) -> None:
    options = FileOptions(("bass",), format, clipping="clip")
    result = separate_file(source(tmp_path, kind), tmp_path / "out", model=KnownShares(), options=options)
    texts, pictures = shown(result.files["bass"])
    expected = {name: TEXTS[name][0] for name in SHOWN} | {"title": "Группа крови (bass)"}
    assert {name: texts.get(name) for name in SHOWN} == expected
    assert "宇多田ヒカル" in texts["artist"]
    assert "Кино" in texts["artist"]
    if format != "wav":  # libav looks for pictures of a WAV in none of its chunks
        assert pictures == [PNG]
    assert [picture.data for picture in read_tags(probe(result.files["bass"])).pictures] == [PNG]
    assert decoded(result.files["bass"])[0].shape[-1] == result.samples


def test_matroska(tmp_path: Path) -> None:
    path = tmp_path / "film.mka"
    with av.open(str(path), "w", format="matroska") as file:
        stream = file.add_stream("pcm_s16le", rate=48_000, layout="mono")
        file.metadata.update(
            {"TITLE": "日本", "ARTIST": "Кино", "PART_NUMBER": "7", "_STATISTICS_TAGS": "BPS"}
        )
        file.add_attachment("cover.png", "image/png", PNG)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4_800), np.int16), "s16", "mono")
        frame.sample_rate = 48_000
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    found = read_tags(probe(path))
    assert found.texts == {"title": ("日本",), "artist": ("Кино",), "tracknumber": ("7",)}
    assert [picture.data for picture in found.pictures] == [PNG]


@pytest.mark.parametrize(
    ("text", "page"),
    [
        *((text, "cp1251") for text in ("Кино", "ДДТ", "БИ-2", "Ты", "Группа крови")),
        *((text, "cp1251") for text in ("Kino – Группа крови", "Океан Ельзи")),
        *((text, "koi8-r") for text in ("Ария", "Что такое осень")),
        *((text, "cp932") for text in ("宇多田ヒカル", "東京事変", "First Love 宇多田ヒカル", "恋")),
        *((text, "gb18030") for text in ("周杰伦", "七里香")),
        *((text, "cp1252") for text in ("Björk", "Mötley Crüe", "L’été", "Größe", "“Heroes”")),
        *((text, "cp1252") for text in ("Don’t Stop ’Til", "Déjà Vu")),
        *((text, "utf-8") for text in ("Tōkyō", "Кино", "Björk", "plain")),
    ],
)  # fmt: skip
def test_text_without_a_code_page_is_readable(text: str, page: str) -> None:
    assert readable(text.encode(page)) == text


@pytest.mark.parametrize(
    ("text", "page"), [("Группа крови", "cp1251"), ("東京事変", "cp932"), ("Björk", "latin-1")]
)
def test_id3v1_is_readable(tmp_path: Path, text: str, page: str) -> None:
    path = write(tmp_path / "a.mp3", Encoding("mp3"), 44_100, noise(5_000))
    fields = [
        text.encode(page).ljust(30, b"\0"),
        text.encode(page).ljust(30, b"\0"),
        bytes(30),
        b"1988",
        bytes(30),
    ]
    with path.open("ab") as file:
        file.write(b"TAG" + b"".join(fields) + bytes([17]))
    found = read_tags(probe(path)).texts
    assert (found["title"], found["artist"], found["date"]) == ((text,), (text,), ("1988",))


def test_id3v2_that_says_latin_1_and_is_not_is_readable(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp3", Encoding("mp3"), 44_100, noise(5_000))
    tags = id3.ID3()
    tags.add(id3.TIT2(id3.Encoding.LATIN1, "Группа крови".encode("cp1251").decode("latin-1")))
    tags.add(id3.TPE1(id3.Encoding.LATIN1, "Sigur Rós"))
    tags.save(path)
    assert read_tags(probe(path)).texts == {"title": ("Группа крови",), "artist": ("Sigur Rós",)}


def test_what_is_not_true_of_a_stem_is_left_out() -> None:
    texts = {
        "replaygain_track_gain": "-7 dB",
        "iTunNORM": "0",
        "ENCODER": "LAME",
        "Acoustid Id": "x",
        "Title": "a",
    }
    assert collected(((name, [text]) for name, text in texts.items()), []).texts == {"title": ("a",)}


def test_what_a_format_cannot_hold_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "a.flac", Encoding("flac"), 44_100, noise(5_000))
    gif = Picture(b"GIF89a" + bytes(20))
    write_tags(path, "flac", Tags({"title": ("t",), "bpm": ("fast",)}, (gif, Picture(PNG))))
    options = FileOptions(("bass", "drums"), "m4a", clipping="clip")
    with caplog.at_level(logging.WARNING):
        result = separate_file(path, tmp_path, model=KnownShares(), options=options)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == f"{path}: tags that m4a cannot hold: bpm, a picture (image/gif)"
    assert shown(result.files["drums"])[0]["title"] == "t (drums)"
    assert shown(result.files["drums"])[1] == [PNG]


def test_tags_that_cannot_be_written_lose_no_sound(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = source(tmp_path, "flac")

    def fails(*_: Any, **__: Any) -> None:
        raise mutagen.MutagenError("no room")

    monkeypatch.setattr("mutagen.flac.FLAC.save", fails)
    options = FileOptions(("bass", "drums"), "flac", clipping="clip")
    result = separate_file(path, tmp_path / "out", model=KnownShares(), options=options)
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: tags that flac cannot hold: any (no room)"
    ]
    assert soundfile.info(result.files["bass"]).frames == 5_000


def test_damaged_tags_are_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = source(tmp_path, "flac")
    content = bytearray(path.read_bytes())
    place = content.index("Группа".encode())
    content[place - 10 : place - 6] = b"\xff\xff\xff\xff"  # the length of a comment
    path.write_bytes(bytes(content))
    result = separate_file(path, tmp_path / "out", model=KnownShares(), options=FileOptions(("bass",)))
    assert result.samples == 5_000
    assert any("its tags are damaged" in record.getMessage() for record in caplog.records)


def written_and_read(folder: Path, format: str, tags: Tags) -> tuple[Tags, list[str]]:
    """What is read of tags in a file of this format, and what it cannot hold."""
    path = write(folder / f"a.{format}", Encoding(format), 48_000, noise(5_000))
    lost = write_tags(path, format, tags)
    assert decoded(path)[0].shape[-1] == 5_000
    return read_tags(probe(path)), lost


@pytest.mark.parametrize("format", list(FORMATS))
def test_every_known_name_is_kept(tmp_path: Path, format: str) -> None:
    texts = {name: ("1" if name in ("bpm", "compilation") else "1999",) for name in PLACES}
    assert written_and_read(tmp_path, format, Tags(texts)) == (Tags(texts), [])


@pytest.mark.parametrize("format", list(FORMATS))
@pytest.mark.parametrize(
    "date",
    one_in(
        3,
        [
            *("1999", "1999-05", "1999-05-03", "1999-05-03 08:30", "1999-05-03 08:30:15"),
            *("1999-05-03T08:30:15Z", "03.05.1999", "1999-05-03 (remaster)", "about 1970"),
        ],
    ),
)
def test_a_date_is_kept_whole(tmp_path: Path, format: str, date: str) -> None:
    tags = Tags({"date": (date,), "originaldate": (date,)})
    assert written_and_read(tmp_path, format, tags) == (tags, [])
    if date.startswith("1999"):
        assert shown(tmp_path / f"a.{format}")[0]["date"].startswith("1999")  # what other programs find


@pytest.mark.quick
@pytest.mark.parametrize("names", [("DATE", "YEAR"), ("YEAR", "DATE")])
def test_a_date_is_preferred_to_a_year(names: tuple[str, str]) -> None:
    texts = {"DATE": ["1999-05-03"], "YEAR": ["1999"]}
    assert collected(((name, texts[name]) for name in names), []).texts == {"date": ("1999-05-03",)}


@pytest.mark.parametrize("format", list(FORMATS))
def test_names_without_a_place_lose_no_others(tmp_path: Path, format: str) -> None:
    names = {"": "a", "имя": "b", "a=b": "c", "ÿ": "d", "n\0ul": "e", "Title": "t", "date": "about 1970"}
    tags = collected(((name, [text]) for name, text in names.items()), [])
    found, lost = written_and_read(tmp_path, format, tags)
    assert found.texts["title"] == ("t",)
    assert found.texts["nul"] == ("e",)
    missing = {name or "one without a name" for name in tags.texts.keys() - found.texts.keys()}
    assert missing == set(lost)


@pytest.mark.parametrize("format", list(FORMATS))
def test_pictures_of_one_description_and_of_no_kind_are_all_kept(tmp_path: Path, format: str) -> None:
    pictures = [
        Picture(PNG + bytes([number]), kind, "Co\0ver") for number, kind in enumerate((3, 3, 2**32 - 1, 0))
    ]
    found, lost = written_and_read(tmp_path, format, collected([("title", ["t"])], pictures))
    assert ([picture.data for picture in found.pictures], lost) == ([each.data for each in pictures], [])


def test_what_is_too_large_for_a_flac_loses_nothing_else(tmp_path: Path) -> None:
    tags = Tags(
        {"title": ("t",), "lyrics": ("l" * 2**24,)}, (Picture(PNG.ljust(2**24 - 1, b"0")), Picture(PNG))
    )
    found, lost = written_and_read(tmp_path, "flac", tags)
    assert lost == ["lyrics", "a picture (16.8 MB)"]
    assert found == Tags({"title": ("t",)}, (Picture(PNG),))


@pytest.mark.thorough
def test_thousands_of_lost_names_are_one_short_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    texts = {f"имя {number}": ("x",) for number in range(3_000)}
    path = write(tmp_path / "a.mp3", Encoding("mp3"), 44_100, noise(5_000))
    assert write_tags(path, "mp3", Tags(texts)) == []
    separate_file(
        path, tmp_path, model=KnownShares(), options=FileOptions(("bass",), "flac", clipping="clip")
    )
    (said,) = [record.getMessage() for record in caplog.records]
    assert "имя 0, имя 1, " in said
    assert said.endswith(" and 2990 more")
