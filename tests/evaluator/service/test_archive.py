"""Zips of others: looked up, bounded, refused for what no zip of estimates needs; nothing is extracted by name."""

import io
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluator.running.dataset import Contents, Track
from evaluator.running.estimates import InvalidOutputError
from evaluator.running.predictions import PredictionsError
from evaluator.service.archive import Archive
from tests.evaluator.service.world import zipped

DATA = Contents({"a": "a", "b": "b"}, frozenset({"bass", "vocals"}))
TRACK = Track("a", "a", (), {}, 100, 44100, 2, 2)
MOST = 100 * 2 * 8 + (1 << 16)
GOOD = {f"{track}_{stem}.wav": b"sound" for track in "ab" for stem in ("bass", "vocals")}


def opened(tmp_path: Path, content: bytes) -> Archive:
    path = tmp_path / "upload"
    path.write_bytes(content)
    return Archive(path, "mine.zip", DATA)


def problems(tmp_path: Path, content: bytes) -> list[str]:
    with pytest.raises(PredictionsError) as caught:
        opened(tmp_path, content)
    return list(caught.value.problems)


def with_entry(name: str, change: Callable[[zipfile.ZipInfo], object]) -> bytes:
    """A good zip with one more entry, changed."""
    content = io.BytesIO(zipped(GOOD))
    with zipfile.ZipFile(content, "a") as archive:
        info = zipfile.ZipInfo(name)
        change(info)
        archive.writestr(info, b"/etc/passwd")
    return content.getvalue()


LAYOUTS: dict[str, dict[str, bytes]] = {
    "side by side": GOOD,
    "folders": {"a/bass.wav": b"", "a/vocals.wav": b"", "b/bass.flac": b"", "b/vocals.wav": b""},
    "a folder that was zipped": {f"mine/{name}": content for name, content in GOOD.items()},
    "two folders deep": {f"all/mine/{name}": content for name, content in GOOD.items()},
    "from a Mac": {**GOOD, **{f"__MACOSX/._{name}": b"" for name in GOOD}, ".DS_Store": b""},
    "with notes": {**GOOD, "README.txt": b"by me"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layouts_of_people(tmp_path: Path, layout: str) -> None:
    found = opened(tmp_path, zipped(LAYOUTS[layout])).survey
    assert set(found.files) == {(track, stem) for track in "ab" for stem in ("bass", "vocals")}
    assert found.strangers == ()


@pytest.mark.parametrize(
    "name", ["../a_bass.wav", "/a_bass.wav", "a\\bass.wav", "C:\\a_bass.wav", "x/../a_bass.wav"]
)
def test_names_that_lead_elsewhere_are_names_of_nothing(tmp_path: Path, name: str) -> None:
    files = {"a_vocals.wav": b"", name: b""}
    found = opened(tmp_path, zipped(files)).survey
    assert set(found.files) == {("a", "vocals")}
    assert ["/".join(parts) for parts in found.strangers] == [name]
    assert [path.name for path in tmp_path.rglob("*")] == ["upload"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFBLK, stat.S_IFSOCK])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: int) -> None:
    def be(info: zipfile.ZipInfo) -> None:
        info.external_attr = (kind | 0o644) << 16

    assert "is a link or a device" in problems(tmp_path, with_entry("x/a_bass.wav", be))[0]


def test_other_methods_and_encryption_are_refused(tmp_path: Path) -> None:
    method = zipped(GOOD, zipfile.ZIP_BZIP2)
    assert "by method 12" in problems(tmp_path, method)[0]
    content = bytearray(zipped(GOOD))
    directory = content.index(b"PK\x01\x02")
    content[directory + 8] |= 1
    assert "is encrypted" in problems(tmp_path, bytes(content))[0]


def test_an_entry_without_a_name_is_refused(tmp_path: Path) -> None:
    """Found by fuzzing: zipfile asks for the last letter of its name."""

    def be(info: zipfile.ZipInfo) -> None:
        info.filename = ""

    assert problems(tmp_path, with_entry("x/a_bass.wav", be)) == [
        "an entry of the zip has no name, expected TRACK_STEM.wav"
    ]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_doubles_are_two_files_of_one_stem(tmp_path: Path) -> None:
    content = io.BytesIO(zipped(GOOD))
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr("a_bass.wav", b"other")
        archive.writestr("a_BASS.wav", b"other")
    assert len(opened(tmp_path, content.getvalue()).survey.files["a", "bass"]) == 3


@pytest.mark.parametrize(
    "content",
    [b"", b"no zip", b"PK\x05\x06", zipped(GOOD)[:-30]],
    ids=["empty", "text", "a mark", "cut at the end"],
)
def test_damaged_zips_are_one_sentence(tmp_path: Path, content: bytes) -> None:
    (problem,) = problems(tmp_path, content)
    assert problem.startswith("mine.zip: cannot be read as a zip")


def test_a_zip_that_lost_its_beginning_fails_file_by_file(tmp_path: Path) -> None:
    archive = opened(tmp_path, zipped(GOOD)[40:])
    with pytest.raises(InvalidOutputError, match="damaged in the zip"):
        archive.write(("a_bass.wav",), TRACK, 2, tmp_path / "copy")


def test_many_entries_are_refused_before_they_are_read(tmp_path: Path) -> None:
    content = bytearray(zipped(GOOD))
    end = content.rindex(b"PK\x05\x06")
    content[end + 10 : end + 12] = struct.pack("<H", 60_000)
    assert "60000 entries, expected at most" in problems(tmp_path, bytes(content))[0]
    many = zipped({f"{number}.txt": b"" for number in range(500)})
    assert "500 entries, expected at most" in problems(tmp_path, many)[0]


def test_a_bomb_ends_at_the_length_of_its_track(tmp_path: Path) -> None:
    archive = opened(tmp_path, zipped({**GOOD, "a_bass.wav": bytes(10 * MOST)}))
    with pytest.raises(InvalidOutputError, match=f"expected at most {MOST}"):
        archive.write(("a_bass.wav",), TRACK, 2, tmp_path / "copy")


def test_a_bomb_that_lies_about_its_length_does_too(tmp_path: Path) -> None:
    content = bytearray(zipped({"a_bass.wav": bytes(10 * MOST)}))
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.index(mark) + offset
        content[at : at + 4] = struct.pack("<I", 50)
    archive = opened(tmp_path, bytes(content))
    with pytest.raises(InvalidOutputError):
        archive.write(("a_bass.wav",), TRACK, 2, tmp_path / "copy")
    assert (tmp_path / "copy").stat().st_size <= MOST


def test_damage_inside_is_said_of_the_file(tmp_path: Path) -> None:
    content = bytearray(zipped({"a_bass.wav": bytes(range(256)) * 4}, zipfile.ZIP_STORED))
    content[100] ^= 1
    archive = opened(tmp_path, bytes(content))
    with pytest.raises(InvalidOutputError, match="damaged in the zip"):
        archive.write(("a_bass.wav",), TRACK, 2, tmp_path / "copy")


def test_a_zip_for_more_than_four_gigabytes_is_read(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive, archive.open("a_bass.wav", "w", force_zip64=True) as file:
        file.write(b"sound")
    found = opened(tmp_path, content.getvalue())
    found.write(("a_bass.wav",), TRACK, 2, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"sound"
