"""Estimates from a folder of anybody's: every layout means the same files, and all that is wrong is said at once."""

import os
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from evaluator.challenge import CINEMATIC, MUSIC, StemSet
from evaluator.running import dataset, predictions
from evaluator.running.estimates import InvalidOutputError
from evaluator.running.predictions import Predictions, PredictionsError
from tests.evaluator import audio
from tests.thinned import one_in

posix = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes as POSIX has them")
FRAMES = {"a": 1000, "a_b": 1200}
Given = dict[tuple[str, str], np.ndarray]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return audio.write_music(tmp_path / "data", FRAMES)


def write(path: Path, frames: int = 1000, seed: int = 0, channels: int = 2, rate: int = 44100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio.noise(frames, channels, seed), rate)
    return path


def written(folder: Path, name: str, stems: tuple[str, ...] = MUSIC.stems) -> Path:
    """Estimates for all tracks, called `name`, in which {track} and {stem} stand for these."""
    for track, frames in FRAMES.items():
        for seed, stem in enumerate(stems):
            write(folder / name.format(track=track, stem=stem), frames, seed)
    return folder


def look(folder: Path, data: Path, stems: StemSet | None = None, only: str | None = None) -> Predictions:
    """What is found there; with `stems`, these and no others are asked for."""
    holds = dataset.contents(data)
    found = predictions.survey(folder, holds)
    wanted = stems or predictions.stems_to_score(found, holds, data)
    return predictions.check(found, dataset.load(data, only, wanted).tracks, holds, all_stems=stems is None)


def problems(folder: Path, data: Path, stems: StemSet | None = None, only: str | None = None) -> list[str]:
    with pytest.raises(PredictionsError) as caught:
        look(folder, data, stems, only)
    return list(caught.value.problems)


LAYOUTS = [
    "{track}/{stem}.wav",
    "{track}/{stem}.flac",
    "{track}/{track}_{stem}.wav",
    "{track}_{stem}.wav",
    "{track}_{stem}.flac",
    "{track}_{stem}.FLAC",
    "estimates/{track}/{stem}.wav",
]


def test_what_only_a_large_library_decodes_is_no_estimate(data: Path, tmp_path: Path) -> None:
    """ffmpeg's libraries decode data sets in our own process, and nothing that others sent."""
    written(tmp_path / "given", "{track}_{stem}.wav")
    for name in ("a.stem.mp4", "a_drums.stem.mp4", "a_vocals.mp3", "a/drums.m4a"):
        (tmp_path / "given" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "given" / name).write_bytes(b"what a decoder has not met")
    found = look(tmp_path / "given", data)
    assert {parts[-1].rpartition(".")[2] for parts in found.files.values()} == {"wav"}
    (tmp_path / "given" / "a_drums.wav").unlink()
    assert problems(tmp_path / "given", data) == ["a_drums.wav: missing (or the same as .flac)"]


@pytest.mark.parametrize("name", one_in(3, LAYOUTS))
def test_every_layout_means_the_same_files(data: Path, tmp_path: Path, name: str) -> None:
    found = look(written(tmp_path / "given", name), data)
    assert {key: "/".join(parts) for key, parts in found.files.items()} == {
        (track, stem): name.removeprefix("estimates/").format(track=track, stem=stem)
        for track in FRAMES
        for stem in MUSIC.stems
    }
    assert found.identity.name == "given"
    for track in dataset.load(data).tracks:
        found.collect(track, tmp_path / "kept")
        assert sorted(os.listdir(tmp_path / "kept")) == [f"{stem}.wav" for stem in MUSIC.stems]
        for seed, stem in enumerate(MUSIC.stems):
            kept, _ = soundfile.read(tmp_path / "kept" / f"{stem}.wav")
            np.testing.assert_array_equal(kept, audio.noise(track.frames, 2, seed))


def test_the_same_files_have_the_same_hash_whatever_they_are_called(data: Path, tmp_path: Path) -> None:
    hashes = {
        look(written(tmp_path / f"{index}", name), data).identity.files_sha256
        for index, name in enumerate(LAYOUTS)
        if name.endswith(".wav")
    }
    assert len(hashes) == 1
    changed = written(tmp_path / "changed", LAYOUTS[0])
    write(changed / "a" / "bass.wav", seed=9)
    assert look(changed, data).identity.files_sha256 not in hashes


@pytest.mark.parametrize(
    "name", ["{split}/{track}/{stem}.wav", "{split}__{track}/{stem}.wav", "{track}_{stem}.wav"]
)
def test_a_split_may_be_a_folder_a_part_of_the_name_or_left_out(tmp_path: Path, name: str) -> None:
    for split, track in (("train", "a"), ("test", "b")):
        audio.write_music(tmp_path / "data" / split, {track: 1000})
        for stem in MUSIC.stems:
            write(tmp_path / "given" / name.format(split=split, track=track, stem=stem))
    assert {track for track, _ in look(tmp_path / "given", tmp_path / "data").files} == {"train/a", "test/b"}


def test_which_stems_there_are_decides_what_is_scored(data: Path, tmp_path: Path) -> None:
    found = look(written(tmp_path / "given", "{track}_{stem}.wav", ("vocals", "bass")), data)
    assert {stem for _, stem in found.files} == {"bass", "vocals"}


@pytest.mark.parametrize("name", ["instrum", "instrumental", "Instrum", "INSTRUMENTAL"])
def test_instrum_is_instrumental(tmp_path: Path, name: str) -> None:
    data = audio.write_stems(tmp_path / "data", ("instrumental", "vocals"))
    for track in ("one", "two"):
        write(tmp_path / "given" / f"{track}_{name}.wav", 20000)
    assert set(look(tmp_path / "given", data).files) == {("one", "instrumental"), ("two", "instrumental")}


def test_dnr_calls_its_stems_as_it_does_and_may_be_mono(tmp_path: Path) -> None:
    data = audio.write_dnr(tmp_path / "data")
    for channels in (1, 2):
        given = tmp_path / f"given-{channels}"
        for name in ("speech", "sfx", "music"):
            write(given / f"0001_{name}.wav", 20000, channels=channels)
        assert {stem for _, stem in look(given, data).files} == set(CINEMATIC.stems)
    write(given / "0001_sfx.wav", 20000, channels=3)
    assert problems(given, data) == ["0001_sfx.wav: channels 3, expected 1 or 2"]


def test_the_challenges_own_layout(tmp_path: Path) -> None:
    data = audio.write_cinematic(tmp_path / "data")
    for track in ("one", "two"):
        for stem in CINEMATIC.stems:
            write(tmp_path / "given" / track / f"{track}_{stem}.wav", 20000)
    assert len(look(tmp_path / "given", data).files) == 6


def test_everything_that_is_wrong_is_said_at_once(data: Path, tmp_path: Path) -> None:
    given = written(tmp_path / "given", "{track}_{stem}.wav")
    write(given / "a_bass.wav", 1001)
    write(given / "a_drums.wav", 999, channels=1, rate=48000)
    write(given / "a_b_vocals.wav", 1200, rate=22050)
    (given / "a_other.wav").unlink()
    (given / "a_vocals.wav").write_bytes(b"OggS")
    write(given / "a_b_bass.flac", 1200)
    write(given / "a_instrum.wav")
    write(given / "unknown_bass.wav")
    write(given / "readme.flac")
    (given / "notes.txt").touch()
    (given / ".hidden_bass.wav").touch()
    assert sorted(problems(given, data)) == [
        "a_b_bass.flac and a_b_bass.wav: found 2 files for bass of a_b, expected one",
        "a_b_vocals.wav: sample rate 22050, expected 44100",
        "a_bass.wav: length in samples 1001, expected 1000",
        "a_drums.wav: sample rate 48000, expected 44100; channels 1, expected 2; "
        "length in samples 999, expected 1000",
        "a_instrum.wav: extra; found the stem instrumental, expected one of bass, drums, other, vocals",
        "a_other.wav: missing (or the same as .flac)",
        "a_vocals.wav: neither WAV nor FLAC",
        "readme.flac: extra; it is named after no track of the data",
        "unknown_bass.wav: extra; it is named after no track of the data",
    ]


def test_what_is_missing_is_called_as_the_others_are(data: Path, tmp_path: Path) -> None:
    given = written(tmp_path / "given", "{track}/{stem}.wav")
    (given / "a_b" / "bass.wav").unlink()
    assert problems(given, data) == ["a_b/bass.wav: missing (or the same as .flac)"]


def test_tracks_that_are_not_asked_for_may_be_wrong_or_missing(data: Path, tmp_path: Path) -> None:
    given = written(tmp_path / "given", "{track}_{stem}.wav")
    write(given / "a_b_bass.wav", 7)
    (given / "a_b_drums.wav").unlink()
    assert {track for track, _ in look(given, data, only="a").files} == {"a"}


def test_stems_that_are_not_asked_for_are_passed_over(data: Path, tmp_path: Path) -> None:
    given = written(tmp_path / "given", "{track}_{stem}.wav", (*MUSIC.stems, "instrum"))
    assert {stem for _, stem in look(given, data, stems=MUSIC).files} == set(MUSIC.stems)
    vocals = StemSet("vocals only", ("vocals",))
    assert {stem for _, stem in look(given, data, stems=vocals).files} == {"vocals"}


def test_the_longest_name_of_a_track_counts(data: Path, tmp_path: Path) -> None:
    found = predictions.survey(written(tmp_path / "given", "{track}_{stem}.wav"), dataset.contents(data))
    assert found.files["a_b", "bass"] == (("a_b_bass.wav",),)
    assert found.files["a", "bass"] == (("a_bass.wav",),)


@pytest.mark.parametrize("name", ["{track}_{stem}.wav", "{track}/{stem}.wav"])
def test_accents_may_be_written_in_either_way(tmp_path: Path, name: str) -> None:
    forms = [unicodedata.normalize(form, "Caf\u00e9") for form in ("NFC", "NFD")]
    for track, other in (forms, forms[::-1]):
        data = audio.write_music(tmp_path / other / "data", {track: 1000})
        for stem in MUSIC.stems:
            write(tmp_path / other / "given" / name.format(track=other, stem=stem))
        assert {name for name, _ in look(tmp_path / other / "given", data).files} == {track}


@pytest.mark.parametrize("name", ["x.wav", "song_bass.wav", "a_guitar.wav", "deep/er/a/bass.wav", "a.wav"])
def test_a_folder_without_a_file_of_the_data_says_what_is_expected(
    data: Path, tmp_path: Path, name: str
) -> None:
    write(tmp_path / "given" / name)
    (problem,) = problems(tmp_path / "given", data)
    assert "expected TRACK/STEM.wav or TRACK_STEM.wav (or .flac)" in problem
    assert f"with the tracks of {data}, such as a, and stems of bass, drums, other, vocals" in problem


def test_a_folder_that_is_none_is_said(data: Path, tmp_path: Path) -> None:
    assert "not a folder" in problems(tmp_path / "nowhere", data)[0]


def replaced_by_a_link(path: Path, elsewhere: Path) -> None:
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def replaced_by_a_pipe(path: Path, _: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@posix
@pytest.mark.parametrize("name", ["{track}_{stem}.wav", "{track}/{stem}.wav"])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (replaced_by_a_link, "is a link"),
        (replaced_by_a_pipe, "is not a regular file"),
        (os.link, "has another name elsewhere (hard link)"),
        (lambda path, _: path.write_bytes(b""), "an empty file"),
    ],
)
def test_what_is_no_file_of_its_own_is_not_opened(
    data: Path, tmp_path: Path, name: str, spoil: Callable[[Path, Path], None], said: str
) -> None:
    given = written(tmp_path / "given", name)
    spoil(given / name.format(track="a", stem="bass"), tmp_path / "elsewhere")
    (problem,) = problems(given, data)
    assert problem.startswith(name.format(track="a", stem="bass"))
    assert problem.endswith(said)


@posix
def test_a_link_to_a_folder_is_not_followed(data: Path, tmp_path: Path) -> None:
    given = written(tmp_path / "given", "{track}/{stem}.wav")
    replaced_by_a_link(given / "a", tmp_path / "elsewhere")
    assert problems(given, data) == [
        "a: is a link, expected the files themselves",
        *(f"a/{stem}.wav: missing (or the same as .flac)" for stem in MUSIC.stems),
    ]


@posix
def test_a_folder_that_becomes_a_link_later_is_not_followed(data: Path, tmp_path: Path) -> None:
    given = written(tmp_path / "given", "{track}/{stem}.wav")
    found = look(given, data)
    replaced_by_a_link(given / "a", tmp_path / "elsewhere")
    track = dataset.load(data).tracks[0]
    with pytest.raises(InvalidOutputError, match="a is no folder that can be read, or a link"):
        found.collect(track, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


@pytest.mark.thorough
def test_flac_that_does_not_decode_is_of_its_track_alone(data: Path, tmp_path: Path) -> None:
    given = written(tmp_path / "given", "{track}_{stem}.flac")
    file = given / "a_bass.flac"
    file.write_bytes(file.read_bytes()[:-200])
    found = look(given, data)
    broken, whole = dataset.load(data).tracks
    with pytest.raises(InvalidOutputError, match="bass: unreadable"):
        found.collect(broken, tmp_path / "kept" / "a")
    assert not (tmp_path / "kept" / "a").exists()
    found.collect(whole, tmp_path / "kept" / "a_b")


def test_names_of_stems_stay_in_their_line(data: Path, tmp_path: Path) -> None:
    for index in range(30):
        write(tmp_path / "given" / f"a_evil\n{index}.wav")
    (problem,) = problems(tmp_path / "given", data)
    assert problem.isprintable()
    assert "and 10 more" in problem


def test_names_that_act_on_a_terminal_are_shown_as_escapes(data: Path, tmp_path: Path) -> None:
    given = written(tmp_path / "given", "{track}_{stem}.wav")
    write(given / "evil\x1b[2J_bass.wav")
    write(given / "a_evil\x1b[2J.wav")
    for problem in problems(given, data):
        assert problem.isprintable()
