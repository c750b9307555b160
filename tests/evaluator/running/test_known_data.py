"""Published data sets in the layouts that they have: MUSDB18, DnR v3, MoisesDB, and folders as people rename them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from evaluator.challenge import CINEMATIC, MUSIC, of_stems
from evaluator.running import dataset, parts, predictions, scoring, staging
from evaluator.running.dataset import BadTracksError, DataError, OtherStemsError, Track
from evaluator.running.parts import Part
from tests.evaluator import audio, known_data


def stereo(signal: NDArray[np.float64], frames: int) -> NDArray[np.float64]:
    """A take as it counts: two channels, silence to the end."""
    both = np.broadcast_to(signal, (len(signal), 2))
    return np.concatenate([both, np.zeros((frames - len(signal), 2))])


def problems(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        dataset.checked(dataset.load(path))
    return str(caught.value)


def write_estimates(track: Track, folder: Path) -> Path:
    """The references as estimates, as floats."""
    folder.mkdir()
    for stem, part in track.references.items():
        soundfile.write(folder / f"{stem}.wav", parts.read(part), track.rate_hz, subtype="FLOAT")
    return folder


# MUSDB18


def test_stem_files_are_tracks_whose_streams_are_the_stems(tmp_path: Path) -> None:
    data = dataset.load(known_data.write_musdb18(tmp_path, ("B - Two", "A - One")))
    assert [(track.name, track.folder) for track in data.tracks] == [
        ("test/A - One", "test__A - One"),
        ("test/B - Two", "test__B - Two"),
    ]
    assert data.challenge == MUSIC
    track = data.tracks[0]
    assert (track.frames, track.rate_hz, track.estimate_channels) == (20480, 44100, 2)
    for number, stem in enumerate(known_data.STREAMS[1:]):
        found = parts.read(track.references[stem])
        expected = known_data.tone(number, 20480)
        assert found.shape == expected.shape
        assert 20 * np.log10(np.std(found - expected) / np.std(expected)) < -20, stem  # lossy, but the same
    dataset.checked(data)


def test_lossy_references_are_said_to_be_lossy(tmp_path: Path) -> None:
    (note,) = [each for each in dataset.load(known_data.write_musdb18(tmp_path)).notes if "lossy" in each]
    assert "not those of MUSDB18-HQ" in note


def test_a_stem_file_is_scored_and_staged_as_any_other(tmp_path: Path) -> None:
    (track,) = dataset.load(known_data.write_musdb18(tmp_path / "data")).tracks
    estimates = write_estimates(track, tmp_path / "estimates")
    scores = scoring.score_track(track, estimates, ["sdr"])["sdr"]
    assert all(value is not None and value > 60 for value in scores.values())
    folder = staging.stage_mixture(track, MUSIC, tmp_path / "staged")
    staged, rate = soundfile.read(folder / "mixture.wav", dtype="float32")
    assert rate == 44100
    np.testing.assert_array_equal(staged, parts.read(track.mixtures[0]))
    assert soundfile.info(folder / "mixture.wav").subtype == "FLOAT"


def test_some_stems_of_a_stem_file(tmp_path: Path) -> None:
    known_data.write_musdb18(tmp_path)
    (track,) = dataset.load(tmp_path, wanted=of_stems(["vocals"])).tracks
    assert list(track.references) == ["vocals"]
    with pytest.raises(OtherStemsError, match="holds music tracks"):
        dataset.load(tmp_path, wanted=CINEMATIC)


def test_estimates_of_stem_files_are_found_by_the_songs_names(tmp_path: Path) -> None:
    data = known_data.write_musdb18(tmp_path / "data")
    (track,) = dataset.load(data).tracks
    for name in ("A - One", "test__A - One"):
        write_estimates(track, tmp_path / name.replace("A - ", "")).rename(tmp_path / name)
        (tmp_path / f"given {name}").mkdir()
        (tmp_path / name).rename(tmp_path / f"given {name}" / name)
        holds = dataset.contents(data)
        found = predictions.survey(tmp_path / f"given {name}", holds)
        predictions.check(found, (track,), holds, all_stems=True)


def test_a_stem_file_with_other_streams(tmp_path: Path) -> None:
    known_data.write_stem_file(tmp_path / "a.stem.mp4", [audio.noise(1000)] * 3)
    assert "a.stem.mp4: found 3 streams of sound, expected 5 (mixture, drums" in problems(tmp_path)


def test_streams_of_different_lengths(tmp_path: Path) -> None:
    signals = [audio.noise(4096)] * 4 + [audio.noise(2048)]
    known_data.write_stem_file(tmp_path / "a.stem.mp4", signals)
    assert "a.stem.mp4, stream 5: 2048 samples, but" in problems(tmp_path)


@pytest.mark.parametrize("kind", ["cut", "empty", "text", "pipe", "dead link"])
def test_a_damaged_stem_file_is_named_before_the_run(tmp_path: Path, kind: str) -> None:
    file = known_data.write_musdb18(tmp_path) / "test" / "A - One.stem.mp4"
    content = file.read_bytes()
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "dead link":
        file.symlink_to("nowhere")
    else:
        file.write_bytes({"cut": content[:-2000], "empty": b"", "text": b"no sound"}[kind])
    assert "A - One.stem.mp4" in problems(tmp_path)


@pytest.mark.thorough
def test_damaged_packets_of_a_stem_file_are_found(tmp_path: Path) -> None:
    file = known_data.write_musdb18(tmp_path, frames=204800) / "test" / "A - One.stem.mp4"
    content = bytearray(file.read_bytes())
    start = content.index(b"mdat") + 4
    middle = start + (len(content) - start) // 2
    content[middle : middle + 20000] = b"\xff" * 20000
    file.write_bytes(content)
    assert "A - One.stem.mp4, stream" in problems(tmp_path)


@pytest.mark.thorough
def test_the_hash_of_a_stem_file_is_that_of_its_content(tmp_path: Path) -> None:
    one = known_data.write_musdb18(tmp_path / "one")
    before = dataset.content_hashes(dataset.load(one).tracks)
    assert before == dataset.content_hashes(dataset.load(one).tracks)
    other = known_data.write_musdb18(tmp_path / "two", frames=10240)
    assert before.total != dataset.content_hashes(dataset.load(other).tracks).total


# DnR v3


def test_dnr_v3_with_languages_and_splits(tmp_path: Path) -> None:
    data = dataset.load(known_data.write_dnr_v3(tmp_path))
    assert data.challenge == CINEMATIC
    assert [track.name for track in data.tracks] == [
        f"{language}/flac/{split}/000001" for language in ("eng", "fra") for split in ("test", "train", "val")
    ]
    assert {(track.rate_hz, track.frames, track.estimate_channels) for track in data.tracks} == {
        (48000, 9600, 2)
    }
    assert [note.removeprefix(f"{tmp_path}/") for note in data.notes] == [
        f"{language}/manifest: holds no tracks of a known layout, ignored" for language in ("eng", "fra")
    ]


@pytest.mark.parametrize(
    ("below", "only", "expected"),
    [
        ("", "fra/*", [f"fra/flac/{split}/000001" for split in ("test", "train", "val")]),
        ("", "*/val/*", ["eng/flac/val/000001", "fra/flac/val/000001"]),
        ("eng", "*val*", ["flac/val/000001"]),
        ("eng/flac", "val/*", ["val/000001"]),
        ("eng/flac/val", None, ["000001"]),
    ],
)
def test_a_part_of_dnr_v3(tmp_path: Path, below: str, only: str | None, expected: list[str]) -> None:
    data = dataset.load(known_data.write_dnr_v3(tmp_path) / below, only)
    assert [track.name for track in data.tracks] == expected


def test_a_rate_of_48_khz_is_what_the_submission_gets(tmp_path: Path) -> None:
    (track,) = dataset.load(known_data.write_dnr_v3(tmp_path / "data", ("eng",)), "*/val/*").tracks
    folder = staging.stage_mixture(track, CINEMATIC, tmp_path / "staged")
    source, _ = soundfile.read(str(track.mixtures[0]), dtype="int32")
    for side in ("Lt", "Rt"):
        file = folder / f"{track.folder}_mixture_{side}.wav"
        assert (soundfile.info(file).samplerate, soundfile.info(file).subtype) == (48000, "PCM_24")
        np.testing.assert_array_equal(soundfile.read(file, dtype="int32")[0], source)


def test_links_in_a_circle_come_to_an_end(tmp_path: Path) -> None:
    audio.write_music(tmp_path / "train", {"a": 100})
    (tmp_path / "train" / "train").symlink_to(tmp_path, target_is_directory=True)
    assert len(dataset.load(tmp_path).tracks) < 10


# MoisesDB


def test_moisesdb_adds_up_takes(tmp_path: Path) -> None:
    song = known_data.song()
    data = dataset.load(known_data.write_moisesdb(tmp_path, {"one": song}))
    (track,) = data.tracks
    assert (data.challenge, track.name) == (MUSIC, "moisesdb_v0.1/one")
    assert (track.frames, track.reference_channels, track.estimate_channels) == (3000, 2, 2)
    summed = {name: np.sum([stereo(take, 3000) for take in takes], axis=0) for name, takes in song.items()}
    expected = {**summed, "other": summed["guitar"] + summed["percussion"]}
    for stem in MUSIC.stems:
        np.testing.assert_allclose(parts.read(track.references[stem]), expected[stem], atol=1e-6)
    mixture = parts.read(track.mixtures[0])
    np.testing.assert_allclose(mixture, np.sum(list(summed.values()), axis=0), atol=1e-6)
    np.testing.assert_allclose(
        mixture, np.sum([parts.read(track.references[stem]) for stem in MUSIC.stems], axis=0), atol=1e-5
    )


@pytest.mark.parametrize("frames", [1, 500, 600, 4096])
def test_takes_in_blocks_of_any_length(tmp_path: Path, frames: int) -> None:
    (track,) = dataset.load(known_data.write_moisesdb(tmp_path, {"one": known_data.song(600)})).tracks
    part: Part = track.references["drums"]
    whole = parts.read(part)
    blocks = [block.copy() for block in parts.blocks(part, frames)]
    assert {len(block) for block in blocks[:-1]} <= {frames}
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


def test_other_is_what_the_wanted_stems_leave(tmp_path: Path) -> None:
    song = known_data.song()
    known_data.write_moisesdb(tmp_path, {"one": song})
    wanted = of_stems(["bass", "drums", "guitar", "other", "vocals"])
    (track,) = dataset.load(tmp_path, wanted=wanted).tracks
    assert set(track.references) == set(wanted.stems)
    np.testing.assert_allclose(
        parts.read(track.references["other"]), stereo(song["percussion"][0], 3000), atol=1e-6
    )
    np.testing.assert_allclose(parts.read(track.references["guitar"]), song["guitar"][0], atol=1e-6)


@pytest.mark.thorough
def test_moisesdb_is_scored_and_staged(tmp_path: Path) -> None:
    (track,) = dataset.load(known_data.write_moisesdb(tmp_path / "data", {"one": known_data.song()})).tracks
    estimates = write_estimates(track, tmp_path / "estimates")
    assert min(value or 0 for value in scoring.score_track(track, estimates, ["sdr"])["sdr"].values()) > 60
    found = scoring.costly_scores(track, estimates, ["log_wmse", "l1_freq"])
    assert all(value is not None and value > 70 for scores in found.values() for value in scores.values())
    folder = staging.stage_mixture(track, MUSIC, tmp_path / "staged")
    np.testing.assert_array_equal(
        soundfile.read(folder / "mixture.wav", dtype="float32")[0], parts.read(track.mixtures[0])
    )


def test_a_song_without_a_stem_is_named_and_can_be_left_out(tmp_path: Path) -> None:
    without = {name: takes for name, takes in known_data.song().items() if name != "bass"}
    known_data.write_moisesdb(tmp_path, {"one": known_data.song(), "two": without})
    assert "two: the song has no bass" in problems(tmp_path)
    data = dataset.load(tmp_path, skip_bad=True)
    assert [track.name for track in data.tracks] == ["moisesdb_v0.1/one"]
    assert [each.name for each in data.left_out] == ["moisesdb_v0.1/two"]
    assert len(dataset.load(tmp_path, wanted=of_stems(["vocals"])).tracks) == 2


def change(description: Path, **changes: object) -> None:
    """Change the first take that a description names."""
    item = json.loads(description.read_text())
    item["stems"][0]["tracks"][0].update(changes)
    description.write_text(json.dumps(item))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"id": "../../elsewhere"}, "found '../../elsewhere', expected the name of a file"),
        ({"id": 3}, "found 3"),
        ({"id": "gone"}, "vocals/gone.wav: missing, though data.json names it"),
    ],
)
def test_a_description_that_names_what_it_must_not(
    tmp_path: Path, changes: dict[str, object], expected: str
) -> None:
    known_data.write_moisesdb(tmp_path, {"one": known_data.song()})
    change(tmp_path / "moisesdb_v0.1" / "one" / "data.json", **changes)
    assert expected in problems(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"stems": []}', '{"stems": [{"stemName": "a", "stemName": "b"}]}']
)
def test_a_description_that_is_none(tmp_path: Path, text: str) -> None:
    known_data.write_moisesdb(tmp_path, {"one": known_data.song()})
    (tmp_path / "moisesdb_v0.1" / "one" / "data.json").write_text(text)
    assert "data.json" in problems(tmp_path)


def test_stems_of_a_description_in_capitals(tmp_path: Path) -> None:
    stems = {name.capitalize(): takes for name, takes in known_data.song().items()}
    known_data.write_moisesdb(tmp_path / "capitals", {"one": stems})
    known_data.write_moisesdb(tmp_path / "small", {"one": known_data.song()})
    for wanted in (None, of_stems(["Guitar", "other"])):
        found, expected = (
            dataset.load(tmp_path / name, wanted=wanted).tracks[0] for name in ("capitals", "small")
        )
        for stem, part in expected.references.items():
            np.testing.assert_array_equal(parts.read(found.references[stem]), parts.read(part))


def test_a_song_alone_without_a_stem_says_what_it_has(tmp_path: Path) -> None:
    without = {name: takes for name, takes in known_data.song().items() if name != "bass"}
    known_data.write_moisesdb(tmp_path, {"one": without})
    assert "holds tracks with drums, guitar, other, percussion, vocals" in problems(tmp_path)


def test_more_takes_than_can_be_open_at_once(tmp_path: Path) -> None:
    known_data.write_moisesdb(
        tmp_path, {"one": {"bass": [audio.noise(10)] * 150, "drums": [audio.noise(10)] * 51}}
    )
    assert "names 201 takes, expected at most 200" in problems(tmp_path)


def test_takes_that_do_not_go_together(tmp_path: Path) -> None:
    known_data.write_moisesdb(tmp_path, {"one": known_data.song(), "two": known_data.song()})
    soundfile.write(tmp_path / "moisesdb_v0.1/one/drums/take-1.wav", audio.noise(100), 48000)
    (tmp_path / "moisesdb_v0.1/two/bass/take-0.wav").write_bytes(b"")
    text = problems(tmp_path)
    assert "drums/take-1.wav: 48000 Hz, but take-0.wav has 44100 Hz" in text
    assert "bass/take-0.wav: cannot be read as audio" in text


def test_a_take_with_nan_is_found_by_decoding(tmp_path: Path) -> None:
    known_data.write_moisesdb(tmp_path, {"one": known_data.song(), "two": known_data.song()})
    nan = np.full((100, 2), np.nan)
    soundfile.write(tmp_path / "moisesdb_v0.1/two/drums/take-1.wav", nan, 44100, subtype="FLOAT")
    text = problems(tmp_path)
    assert len(text.splitlines()) == 1  # though the mixture is made of it, too
    assert "drums/take-1.wav: holds NaN" in text


def test_files_that_no_description_names_are_noted(tmp_path: Path) -> None:
    known_data.write_moisesdb(tmp_path, {"one": known_data.song()})
    soundfile.write(tmp_path / "moisesdb_v0.1/one/drums/old.wav", audio.noise(100), 44100)
    (note,) = dataset.load(tmp_path).notes
    assert note.endswith("drums/old.wav: data.json does not name it, ignored")


# As people have it


def test_names_in_capitals_and_mixture_for_mix(tmp_path: Path) -> None:
    audio.write_music(tmp_path / "music", {"a": 100})
    for file in list((tmp_path / "music" / "a").iterdir()):
        file.rename(file.with_name(file.name.capitalize().replace(".wav", ".WAV")))
    (tmp_path / "music" / "a" / "Mixture.WAV").rename(tmp_path / "music" / "a" / "Mix.wav")
    (track,) = dataset.load(tmp_path / "music").tracks
    assert [Path(str(part)).name for part in track.mixtures] == ["Mix.wav"]
    assert Path(str(track.references["vocals"])).name == "Vocals.WAV"
    audio.write_dnr(tmp_path / "dnr")
    (tmp_path / "dnr" / "0001" / "mix.wav").rename(tmp_path / "dnr" / "0001" / "mixture.wav")
    assert dataset.load(tmp_path / "dnr").challenge == CINEMATIC
    audio.write_cinematic(tmp_path / "film", ("One",))
    for file in list((tmp_path / "film" / "One").iterdir()):
        file.rename(file.with_name(file.name.lower()))
    assert dataset.load(tmp_path / "film").challenge == CINEMATIC


def test_estimates_of_stems_in_capitals(tmp_path: Path) -> None:
    audio.write_stems(tmp_path / "data", ("Guitar", "Keys"), ("a",))
    audio.write_stems(tmp_path / "given", ("guitar", "KEYS"), ("a",))
    (tmp_path / "given" / "a" / "mixture.wav").unlink()
    holds = dataset.contents(tmp_path / "data")
    found = predictions.survey(tmp_path / "given", holds)
    wanted = predictions.stems_to_score(found, holds, tmp_path / "data")
    assert wanted.stems == ("Guitar", "Keys")
    predictions.check(found, dataset.load(tmp_path / "data", wanted=wanted).tracks, holds, all_stems=True)


def test_two_files_of_one_name_are_no_guess(tmp_path: Path) -> None:
    audio.write_music(tmp_path, {"a": 100})
    soundfile.write(tmp_path / "a" / "Vocals.wav", audio.noise(100), 44100)
    assert "both Vocals.wav and vocals.wav; remove one" in problems(tmp_path)
    (tmp_path / "a" / "Vocals.wav").rename(tmp_path / "a" / "mix.wav")
    assert "both mixture.wav and mix.wav" in problems(tmp_path)


def test_a_bad_track_can_be_left_out_and_is_named_with_its_reason(tmp_path: Path) -> None:
    audio.write_music(tmp_path, {"a": 100, "b": 100, "c": 100})
    (tmp_path / "b" / "bass.wav").unlink()
    soundfile.write(tmp_path / "c" / "mixture.wav", np.full((100, 2), np.nan), 44100, subtype="FLOAT")
    with pytest.raises(BadTracksError) as caught:
        dataset.load(tmp_path)
    assert caught.value.tracks == ("b",)
    data, hashes = dataset.checked(dataset.load(tmp_path, skip_bad=True), skip_bad=True)
    assert [track.name for track in data.tracks] == list(hashes.tracks) == ["a"]
    assert [(each.name, each.reason) for each in data.left_out] == [
        ("b", "b/bass.wav: missing (or the same as .flac)"),
        ("c", "c/mixture.wav: holds NaN or infinite samples"),
    ]
    alone = dataset.content_hashes(dataset.load(tmp_path, "a").tracks)
    assert hashes == alone


def test_all_tracks_cannot_be_left_out(tmp_path: Path) -> None:
    audio.write_music(tmp_path, {"a": 100})
    (tmp_path / "a" / "bass.wav").write_bytes(b"")
    with pytest.raises(DataError, match="bass"):
        dataset.load(tmp_path, skip_bad=True)
    soundfile.write(tmp_path / "a" / "bass.wav", np.full((100, 2), np.nan), 44100, subtype="FLOAT")
    with pytest.raises(DataError, match="NaN"):
        dataset.checked(dataset.load(tmp_path, skip_bad=True), skip_bad=True)
