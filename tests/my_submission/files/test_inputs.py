"""Which recordings are meant by files, folders and patterns, and what their stems are called."""

import os
from pathlib import Path

import pytest

from my_submission.files.inputs import (
    TEMPLATE,
    Recording,
    check_template,
    collisions,
    find_recordings,
    place_key,
    targets,
    told_apart,
)
from my_submission.files.journal import write_entry
from tests.my_submission.files.recordings import noise, write


class TestInputs:
    @pytest.fixture
    def album(self, tmp_path: Path) -> Path:
        for name in (
            "b.MP3",
            "a 1.wav",
            "cd2/c.mkv",
            "cover.jpg",
            "._b.mp3",
            ".hidden/x.wav",
            "out/b/bass.wav",
        ):
            path = tmp_path / "album" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / "album"

    def test_folders(self, album: Path) -> None:
        found = find_recordings([str(album)], album / "out")
        assert found.recordings == (
            Recording(album / "a 1.wav", Path()),
            Recording(album / "b.MP3", Path()),
            Recording(album / "cd2/c.mkv", Path("cd2")),
        )
        assert (found.missing, found.left_out) == ((), 1)

    def test_files_patterns_and_the_same_again(self, album: Path) -> None:
        inputs = [
            str(album / "cover.jpg"),
            str(album / "*.wav"),
            str(album / "**/*.mkv"),
            str(album / "a 1.wav"),
        ]
        found = find_recordings(inputs, album / "out")
        assert [recording.source.name for recording in found.recordings] == ["cover.jpg", "a 1.wav", "c.mkv"]

    def test_a_name_with_brackets_is_no_pattern(self, tmp_path: Path) -> None:
        (tmp_path / "[live] a.wav").touch()
        found = find_recordings([str(tmp_path / "[live] a.wav")], tmp_path / "out")
        assert len(found.recordings) == 1

    def test_what_leads_nowhere(self, tmp_path: Path) -> None:
        (tmp_path / "notes").mkdir()
        found = find_recordings([str(tmp_path / "x*.wav"), str(tmp_path / "notes")], tmp_path / "out")
        assert [reason for _, reason in found.missing] == [
            "no such file or folder, and as a pattern it matches nothing",
            "no audio among the 0 files in this folder",
        ]

    def test_templates(self) -> None:
        recording = Recording(Path("in/cd {1}/a.b.mp3"), Path("cd {1}"))
        files = targets(
            recording, ["drums+bass"], Path("out"), "{folder}/{name}/{track} ({stem}).{ext}", "flac"
        )
        assert files == {"drums+bass": Path("out/cd {1}/a.b.mp3/a.b (drums+bass).flac")}
        plain = targets(Recording(Path("a.wav")), ["bass"], Path("out"), "{folder}/{stem}.{ext}", "wav")
        assert plain == {"bass": Path("out/bass.wav")}

    @pytest.mark.parametrize(
        "field", ["stem!z", "stem!r", "stem:d", "folder:>9", "stem:>9999999999", "stem:{ext}"]
    )
    def test_fields_of_a_template_have_no_format(self, field: str) -> None:
        with pytest.raises(ValueError, match="found a format for"):
            check_template(f"{{{field}}}{{stem}}.{{ext}}")

    def test_folders_that_are_links_are_followed_once(self, album: Path) -> None:
        (album / "again").symlink_to(album / "cd2")
        (album / "cd2" / "up").symlink_to(album)
        (album / "gone.wav").symlink_to("nowhere.wav")
        found = find_recordings([str(album)], album / "out")
        assert sorted(recording.source.name for recording in found.recordings) == [
            "a 1.wav", "b.MP3", "c.mkv", "gone.wav",
        ]  # fmt: skip

    def test_of_a_folder_that_holds_stems_only_recordings_are_meant(self, album: Path) -> None:
        (album / "b").mkdir()
        stem = write(album / "b" / "bass.wav", noise(441))
        write_entry(album, album / "b.MP3", {}, {"bass": stem}, {})
        found = find_recordings([str(album)], album)
        sources = [recording.source for recording in found.recordings]
        assert album / "b.MP3" in sources
        assert stem not in sources
        assert find_recordings([str(stem)], album).recordings == (Recording(stem),)

    @pytest.mark.parametrize(
        ("sources", "tracks"),
        [
            ("song.flac song.mp3 other.mp3", "song.flac song.mp3 other"),
            ("Song.wav song.WAV", ""),
            ("a/song.wav b/song.wav", "a - song b - song"),
            ("a/song.wav b/song.wav song.wav.mp3", ""),
            ("x/cd1/1.wav y/cd1/1.wav", "x - cd1 - 1 y - cd1 - 1"),
        ],
    )
    def test_equal_names_are_told_apart(self, sources: str, tracks: str) -> None:
        recordings = [Recording(Path("/music", source)) for source in sources.split()]

        def target(recording: Recording) -> Path:
            return targets(recording, ["bass"], Path("out"), TEMPLATE, "wav")["bass"]

        named = told_apart(recordings, target)
        assert [each.source for each in named] == [each.source for each in recordings]
        places = [place_key(target(each)) for each in named]
        assert len(set(places)) == len(places)
        if tracks:
            assert " ".join(target(each).parent.name for each in named) == tracks

    def test_what_no_name_tells_apart_fails_alone(self) -> None:
        one, other = Recording(Path("a.wav")), Recording(Path("a.mp3"))
        files = {"bass": Path("out/A/bass.wav")}
        reasons = collisions({one: {"bass": Path("out/a/bass.wav")}, other: files})
        assert list(reasons) == [other]
        assert reasons[other].startswith("a.wav and this one would both become out/A/bass.wav")
        assert "overwrite the recording a.wav" in collisions({one: {"bass": Path("./a.wav")}})[one]

    def test_a_part_of_a_recording_with_the_longest_name_has_a_name_of_its_own(self) -> None:
        long = "ы" * 125
        made = [
            targets(Recording(Path(f"{long}{end}.wav")), ["bass"], Path("out"), TEMPLATE, "wav", part)["bass"]
            for end in ("", "a", "\udcff")
            for part in ("", "0s to 30s", "from 1m00s")
        ]
        assert len(set(made)) == 9
        assert {len(path.parts) for path in made} == {3}
        assert all(len(os.fsencode(path.parent.name)) <= 255 for path in made)
        assert made[0].parent.name == long
        assert made[1].parent.name.endswith(" (0s to 30s)")

    @pytest.mark.parametrize(
        ("name", "track"), [("..wav", "_"), ("...wav", "__"), (".a.wav", ".a"), ("a...wav", "a..")]
    )
    def test_no_name_leads_out_of_the_output_folder(self, name: str, track: str) -> None:
        files = targets(Recording(Path("in", name)), ["bass"], Path("out"), TEMPLATE, "wav")
        assert files["bass"] == Path("out", track, "bass.wav")
