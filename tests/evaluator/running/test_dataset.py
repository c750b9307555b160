"""Layouts of data sets and their problems."""

import errno
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from evaluator.challenge import CINEMATIC, MUSIC, of_stems
from evaluator.running import dataset
from evaluator.running.dataset import DataError, OtherStemsError
from tests.evaluator import audio


def problems(path: Path, only: str | None = None) -> str:
    """The problems found in a data set that must have some."""
    with pytest.raises(DataError) as caught:
        dataset.load(path, only)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_music_layout_in_name_order(tmp_path: Path, suffix: str) -> None:
    found = dataset.load(audio.write_music(tmp_path, {"b": 100, "a": 200, "C": 300}, suffix))
    assert found.challenge == MUSIC
    assert [(track.name, track.frames) for track in found.tracks] == [("C", 300), ("a", 200), ("b", 100)]
    assert set(found.tracks[0].references) == set(MUSIC.stems)
    assert found.tracks[0].seconds == 300 / 44100


def test_a_split_folder_becomes_part_of_the_name(tmp_path: Path) -> None:
    audio.write_music(tmp_path / "test", {"a": 100})
    audio.write_music(tmp_path / "train", {"a": 100})
    found = dataset.load(tmp_path)
    assert [(track.name, track.folder) for track in found.tracks] == [
        ("test/a", "test__a"),
        ("train/a", "train__a"),
    ]
    assert [track.name for track in dataset.load(tmp_path, "test/*").tracks] == ["test/a"]
    assert [track.name for track in dataset.load(tmp_path / "test").tracks] == ["a"]


def test_cinematic_layout(tmp_path: Path) -> None:
    found = dataset.load(audio.write_cinematic(tmp_path))
    track = found.tracks[0]
    assert found.challenge == CINEMATIC
    assert [Path(str(path)).name for path in track.mixtures] == ["one_mixture_Lt.wav", "one_mixture_Rt.wav"]
    assert Path(str(track.references["dialog"])).name == "one_dialog.wav"
    assert track.estimate_channels == 2


def test_dnr_layout_with_splits(tmp_path: Path) -> None:
    audio.write_dnr(tmp_path / "tt")
    (track,) = dataset.load(tmp_path).tracks
    assert track.name == "tt/0001"
    assert {stem: Path(str(path)).name for stem, path in track.references.items()} == {
        "dialog": "speech.wav",
        "effect": "sfx.wav",
        "music": "music.wav",
    }


def test_what_is_passed_over_is_noted(tmp_path: Path) -> None:
    audio.write_music(tmp_path, {"a": 100})
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("")
    found = dataset.load(tmp_path)
    assert [track.name for track in found.tracks] == ["a"]
    assert [re.sub(r".*/", "", note) for note in found.notes] == [
        ".hidden: hidden, ignored",
        "empty: holds no files of a known layout, ignored",
        "notes.txt: not a folder, ignored",
    ]


def test_every_problem_is_listed_with_its_path(tmp_path: Path) -> None:
    audio.write_music(tmp_path, {"a": 100, "b": 100, "c": 100, "d": 100, "e": 100, "f": 100})
    (tmp_path / "a" / "bass.wav").unlink()
    soundfile.write(tmp_path / "b" / "drums.wav", audio.noise(99), 44100)
    soundfile.write(tmp_path / "c" / "other.wav", audio.noise(100), 48000)
    soundfile.write(tmp_path / "d" / "vocals.wav", audio.noise(100, channels=1), 44100)
    (tmp_path / "e" / "vocals.wav").write_bytes(b"")
    soundfile.write(tmp_path / "f" / "vocals.wav", audio.noise(0), 44100)
    (tmp_path / "f" / "mixture.wav").write_text("this is no audio")
    text = problems(tmp_path)
    for expected in (
        "a/bass.wav: missing",
        "b/drums.wav: 99 samples, but mixture.wav has 100 samples",
        "c/other.wav: 48000 Hz, but mixture.wav has 44100 Hz",
        "d/vocals.wav: 1 channels, but mixture.wav has 2",
        "e/vocals.wav: cannot be read as audio",
        "f/vocals.wav: holds no samples",
        "f/mixture.wav: cannot be read as audio",
    ):
        assert expected in text
    assert len(text.splitlines()) == 7


def test_a_missing_mixture_and_a_doubled_stem(tmp_path: Path) -> None:
    audio.write_music(tmp_path, {"a": 100})
    (tmp_path / "a" / "mixture.wav").rename(tmp_path / "a" / "bass.flac")
    text = problems(tmp_path)
    assert "a/mixture.wav: missing" in text
    assert "both bass.wav and bass.flac" in text


def test_a_missing_right_channel(tmp_path: Path) -> None:
    audio.write_cinematic(tmp_path, ("one",))
    (tmp_path / "one" / "one_mixture_Rt.wav").unlink()
    assert "one/one_mixture_Rt.wav: missing" in problems(tmp_path)


def test_channels_of_cinematic_files(tmp_path: Path) -> None:
    audio.write_cinematic(tmp_path, ("one",))
    soundfile.write(tmp_path / "one" / "one_mixture_Lt.wav", audio.noise(20000), 44100)
    soundfile.write(tmp_path / "one" / "one_effect.wav", audio.noise(20000, channels=1), 44100)
    text = problems(tmp_path)
    assert "one_mixture_Lt.wav: 2 channels, expected 1 (one channel per file)" in text
    assert "one_effect.wav: 1 channels, expected all references to have 1 or all 2" in text


def test_unusable_folders(tmp_path: Path) -> None:
    assert "not a folder" in problems(tmp_path / "nowhere")
    assert "no tracks found; expected TRACK/{mixture,bass" in problems(tmp_path)
    audio.write_music(tmp_path, {"a": 100})
    assert "no track matches --only 'z*'" in problems(tmp_path, "z*")
    audio.write_dnr(tmp_path)
    assert "a music track beside others" in problems(tmp_path)


def test_the_hash_covers_every_sample_and_the_names(tmp_path: Path) -> None:
    audio.write_music(tmp_path / "data", {"a": 1000})
    before = dataset.content_hash(dataset.load(tmp_path / "data").tracks)
    assert before == dataset.content_hash(dataset.load(tmp_path / "data").tracks)
    bass = tmp_path / "data" / "a" / "bass.wav"
    changed, _ = soundfile.read(bass, dtype="int16")
    changed[500, 1] += 1
    soundfile.write(bass, changed, 44100)
    after = dataset.content_hash(dataset.load(tmp_path / "data").tracks)
    (tmp_path / "data" / "a").rename(tmp_path / "data" / "b")
    renamed = dataset.content_hash(dataset.load(tmp_path / "data").tracks)
    assert len({before, after, renamed}) == 3


def test_contents_that_a_header_does_not_show(tmp_path: Path) -> None:
    audio.write_music(tmp_path, {"a": 100_000}, ".flac")
    flac = tmp_path / "a" / "bass.flac"
    flac.write_bytes(flac.read_bytes()[: flac.stat().st_size // 2])
    broken = audio.noise(100_000)
    broken[7, 0] = np.inf
    (tmp_path / "a" / "drums.flac").unlink()
    soundfile.write(tmp_path / "a" / "drums.wav", broken, 44100, subtype="FLOAT")
    with pytest.raises(DataError) as caught:
        dataset.content_hash(dataset.load(tmp_path).tracks)
    first, second = caught.value.problems
    assert first.startswith(f"{flac}: ")
    assert second == f"{tmp_path / 'a' / 'drums.wav'}: holds NaN or infinite samples"


TWO = of_stems(["vocals", "instrumental"])


@pytest.mark.parametrize("held", [("instrumental", "vocals"), (*MUSIC.stems, "instrumental", "piano")])
def test_the_stems_that_are_wanted_are_scored_whatever_else_there_is(
    tmp_path: Path, held: tuple[str, ...]
) -> None:
    audio.write_stems(tmp_path, held)
    found = dataset.load(tmp_path, wanted=TWO)
    assert found.challenge == TWO
    assert [list(track.references) for track in found.tracks] == [["instrumental", "vocals"]] * 2
    (tmp_path / "two" / "vocals.wav").unlink()
    with pytest.raises(DataError) as caught:
        dataset.load(tmp_path, wanted=TWO)
    assert caught.value.problems == (f"{tmp_path}/two/vocals.wav: missing (or the same as .flac)",)


def test_some_of_a_challenges_stems_are_found_in_its_layouts(tmp_path: Path) -> None:
    audio.write_cinematic(tmp_path / "cinema", ("one",))
    audio.write_dnr(tmp_path / "dnr")
    audio.write_music(tmp_path / "music", {"a": 100})
    for folder, stem, file in (
        ("cinema", "music", "one_music.wav"),
        ("dnr", "effect", "sfx.wav"),
        ("music", "bass", "bass.wav"),
    ):
        (track,) = dataset.load(tmp_path / folder, wanted=of_stems([stem])).tracks
        assert {name: Path(str(path)).name for name, path in track.references.items()} == {stem: file}
        assert track.estimate_channels == (1 if folder == "dnr" else 2)


def test_data_of_other_stems_is_one_sentence_that_names_them(tmp_path: Path) -> None:
    audio.write_stems(tmp_path / "two", TWO.stems)
    audio.write_music(tmp_path / "music", {"a": 100})
    audio.write_dnr(tmp_path / "dnr")
    for folder, wanted, held in (
        ("two", MUSIC, "tracks with instrumental, vocals"),
        ("two", of_stems(["vocals", "piano"]), "tracks with instrumental, vocals"),
        ("two", None, "tracks with instrumental, vocals, which are no challenge's stems"),
        ("music", TWO, "music tracks (bass, drums, other, vocals)"),
        ("dnr", TWO, "cinematic tracks (dialog, effect, music)"),
    ):
        with pytest.raises(OtherStemsError) as caught:
            dataset.load(tmp_path / folder, wanted=wanted)
        assert caught.value.problems == (f"{tmp_path / folder} holds {held}",)


def test_the_demo_of_some_stems_is_that_of_the_challenge_that_has_them(tmp_path: Path) -> None:
    assert dataset.demo_folder(CINEMATIC, tmp_path) == tmp_path / "cinematic"
    assert dataset.demo_folder(of_stems(["vocals", "drums"]), tmp_path) == tmp_path / "music"
    with pytest.raises(
        DataError, match="the demo has no tracks with the stems instrumental, vocals; .* --data"
    ):
        dataset.demo_folder(TWO, tmp_path)


@pytest.mark.parametrize("other", ["train__x", "train/x.stem.mp4"])
def test_two_tracks_of_one_name_are_refused_even_where_bad_ones_are_left_out(
    tmp_path: Path, other: str
) -> None:
    audio.write_music(tmp_path / "train", {"x": 100})
    if other.endswith(".mp4"):
        (tmp_path / other).write_bytes(b"what it holds does not matter")
    else:
        audio.write_music(tmp_path, {other: 100})
    with pytest.raises(DataError, match=r"train__x, and so would those of .*; give one of them another name"):
        dataset.load(tmp_path, skip_bad=True)


def test_a_folder_that_cannot_be_read_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audio.write_music(tmp_path, {"a": 100, "locked": 100, "lost+found": 100})
    listed = Path.iterdir

    def refused(folder: Path) -> Iterator[Path]:
        if folder.name in ("locked", "lost+found"):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(DataError, match=r"locked: cannot be read \(Permission denied\)"):
        dataset.load(tmp_path)
    with pytest.raises(DataError, match=r"locked: cannot be read"):
        dataset.contents(tmp_path)
    (tmp_path / "locked").rename(tmp_path / ".locked")
    assert [track.name for track in dataset.load(tmp_path).tracks] == ["a"]
