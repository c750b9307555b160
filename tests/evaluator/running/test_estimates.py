"""What is accepted of the files that a submission leaves, what is refused without being opened, and what is kept."""

import errno
import hashlib
import os
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import soundfile

from evaluator.challenge import CINEMATIC, MUSIC, of_stems
from evaluator.isolation import decoder
from evaluator.running import audio_header, dataset, estimates
from evaluator.running.dataset import Track
from tests.evaluator import audio
from tests.thinned import one_in

FRAMES = 1000
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="writes to /dev/full")


@pytest.fixture
def track(tmp_path: Path) -> Track:
    (track,) = dataset.load(audio.write_music(tmp_path / "data", {"a": FRAMES})).tracks
    return track


@pytest.fixture
def predictions(tmp_path: Path, track: Track) -> Path:
    folder = tmp_path / "predictions" / "a"
    folder.mkdir(parents=True)
    for stem in MUSIC.stems:
        soundfile.write(folder / f"{stem}.wav", audio.noise(FRAMES), 44100)
    return folder.parent


def collect(predictions: Path, track: Track) -> Path:
    """The estimates as they are kept, collected from an open folder."""
    kept = predictions.parent / "kept"
    folder = os.open(predictions, os.O_RDONLY | os.O_DIRECTORY)
    try:
        estimates.collect(folder, track, MUSIC, kept)
    finally:
        os.close(folder)
    return kept


def reason(predictions: Path, track: Track) -> str:
    """Why these predictions are refused: the same, and nothing kept, from an open folder and from a path."""
    said = []
    for given in (
        collect,
        lambda *_: estimates.collect(predictions, track, MUSIC, predictions.parent / "kept"),
    ):
        with pytest.raises(estimates.InvalidOutputError) as caught:
            given(predictions, track)
        assert not (predictions.parent / "kept").exists()
        said.append(str(caught.value))
    assert said[0] == said[1]
    return said[0]


def state(folder: Path) -> dict[str, tuple[int, int, str]]:
    """All that is in a folder: mode, number of names, and content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else os.fsencode(path.name)
        found[str(path.relative_to(folder))] = (
            status.st_mode,
            status.st_nlink,
            hashlib.sha256(content).hexdigest(),
        )
    return found


def test_estimates_are_copied_and_what_was_written_stays_as_it_is(predictions: Path, track: Track) -> None:
    before = state(predictions)
    kept = collect(predictions, track)
    assert sorted(os.listdir(kept)) == [f"{stem}.wav" for stem in MUSIC.stems]
    assert state(predictions) == before
    for stem in MUSIC.stems:
        np.testing.assert_array_equal(
            soundfile.read(kept / f"{stem}.wav")[0], soundfile.read(predictions / "a" / f"{stem}.wav")[0]
        )
        assert (kept / f"{stem}.wav").stat().st_ino != (predictions / "a" / f"{stem}.wav").stat().st_ino


def test_what_an_earlier_attempt_left_is_replaced(predictions: Path, track: Track) -> None:
    (predictions.parent / "kept").mkdir()
    (predictions.parent / "kept" / "guitar.wav").touch()
    assert sorted(os.listdir(collect(predictions, track))) == [f"{stem}.wav" for stem in MUSIC.stems]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("form", ["WAV", "WAVEX", "RF64"])
def test_samples_of_every_kind_are_kept_bit_for_bit(
    predictions: Path, track: Track, subtype: str, form: str
) -> None:
    samples = np.random.default_rng(1).uniform(-1, 1, (FRAMES, 2))
    path = predictions / "a" / "bass.wav"
    soundfile.write(path, samples, 44100, subtype=subtype, format=form)
    kept = collect(predictions, track) / "bass.wav"
    assert soundfile.info(kept).subtype == subtype
    np.testing.assert_array_equal(soundfile.read(kept)[0], soundfile.read(path)[0])


@pytest.mark.parametrize("subtype", one_in(3, ["PCM_16", "PCM_S8", "PCM_24"]))
def test_flac_is_kept_as_the_same_samples(predictions: Path, track: Track, subtype: str) -> None:
    path = predictions / "a" / "bass.wav"
    samples = np.random.default_rng(1).uniform(-1, 1, (FRAMES, 2))
    soundfile.write(path, samples, 44100, subtype=subtype, format="FLAC")
    kept = collect(predictions, track) / "bass.wav"
    assert soundfile.info(kept).format == "WAV"
    np.testing.assert_array_equal(soundfile.read(kept)[0], soundfile.read(path)[0])


def test_what_else_is_in_a_file_is_not_kept(predictions: Path, track: Track) -> None:
    path = predictions / "a" / "bass.wav"
    content = path.read_bytes()
    path.write_bytes(content[:12] + b"junk\x04\0\0\0evil" + content[12:] + b"LIST\x04\0\0\0evil")
    kept = (collect(predictions, track) / "bass.wav").read_bytes()
    assert b"evil" not in kept
    assert kept == content


def test_cinematic_files_carry_the_name_of_the_folder(tmp_path: Path) -> None:
    (track,) = dataset.load(audio.write_cinematic(tmp_path / "data", ("one",))).tracks
    folder = tmp_path / "predictions" / "one"
    folder.mkdir(parents=True)
    for stem in CINEMATIC.stems:
        soundfile.write(folder / f"one_{stem}.wav", audio.noise(track.frames), 44100)
    estimates.collect(folder.parent, track, CINEMATIC, tmp_path / "kept")
    assert sorted(os.listdir(tmp_path / "kept")) == ["dialog.wav", "effect.wav", "music.wav"]


def test_links_and_things_that_are_no_files(predictions: Path, track: Track) -> None:
    folder = predictions / "a"
    shutil.move(folder / "bass.wav", predictions / "elsewhere.wav")
    (folder / "bass.wav").symlink_to(predictions / "elsewhere.wav")
    os.link(folder / "drums.wav", predictions / "second-name.wav")
    (folder / "other.wav").unlink()
    os.mkfifo(folder / "other.wav")  # opening it would wait for ever
    (folder / "vocals.wav").unlink()
    (folder / "vocals.wav").mkdir()
    before = state(predictions)
    assert reason(predictions, track) == (
        "bass: bass.wav is a link; drums: drums.wav has another name elsewhere (hard link); "
        "other: other.wav is not a regular file; vocals: vocals.wav is not a regular file"
    )
    assert state(predictions) == before


def test_a_link_that_comes_between_the_look_and_the_opening_is_not_followed(
    predictions: Path, track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    bass = predictions / "a" / "bass.wav"
    status = bass.stat()
    bass.rename(predictions / "elsewhere.wav")
    bass.symlink_to(predictions / "elsewhere.wav")
    monkeypatch.setattr(estimates, "_status", lambda folder, name: status)
    assert reason(predictions, track).startswith("bass: bass.wav cannot be read (")


def test_a_pipe_that_comes_between_the_look_and_the_opening_is_not_waited_for(
    predictions: Path, track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    bass = predictions / "a" / "bass.wav"
    status = bass.stat()
    bass.unlink()
    os.mkfifo(bass)
    monkeypatch.setattr(estimates, "_status", lambda folder, name: status)
    assert reason(predictions, track) == "bass: bass.wav is not a regular file"


def test_a_file_that_shrinks_while_it_is_copied_is_cut_short(
    predictions: Path, track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a system where it cannot be stopped."""
    bass = predictions / "a" / "bass.wav"
    soundfile.write(bass, audio.noise(FRAMES), 44100, subtype="DOUBLE")
    read = audio_header.read

    def read_and_cut(file: BinaryIO) -> audio_header.Header:
        header = read(file)
        os.truncate(bass, 1000)
        return header

    monkeypatch.setattr(audio_header, "read", read_and_cut)
    with pytest.raises(
        estimates.InvalidOutputError, match=r"^bass: cut short, \d+ of 16000 bytes of samples$"
    ):
        collect(predictions, track)
    assert not (predictions.parent / "kept").exists()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: folder.symlink_to(folder.parent / "b"),
        lambda folder: folder.write_text(""),
        lambda folder: os.mkfifo(folder),
    ],
)
def test_a_folder_that_is_none(predictions: Path, track: Track, spoil: Callable[[Path], object]) -> None:
    (predictions / "a").rename(predictions / "b")
    spoil(predictions / "a")
    assert reason(predictions, track).startswith("a is no folder that can be read, or a link (")


def test_no_folder(predictions: Path, track: Track) -> None:
    shutil.rmtree(predictions / "a")
    assert reason(predictions, track) == "no folder a was written"


def test_missing_unreadable_and_extra(predictions: Path, track: Track) -> None:
    folder = predictions / "a"
    (folder / "bass.wav").unlink()
    (folder / "drums.wav").write_text("no audio")
    (folder / "other.wav").write_text("")
    soundfile.write(folder / "guitar.wav", audio.noise(FRAMES), 44100)
    said = (
        "bass: stem missing, no file bass.wav; drums: neither WAV nor FLAC; other: an empty file; "
        "extra stem: guitar.wav"
    )
    assert reason(predictions, track) == said
    for number in range(20):
        (folder / f"more {number:02}.wav").touch()
    more = ", ".join(f"more {number:02}.wav" for number in range(4))
    assert reason(predictions, track) == f"{said}, {more}, and 16 more"


def test_names_of_extra_files_are_in_a_form_that_can_be_printed(predictions: Path, track: Track) -> None:
    (predictions / "a" / os.fsdecode(b"\xff.wav")).touch()
    message = reason(predictions, track)
    assert message.encode("utf-8").decode() == message


def test_a_flood_of_files_is_not_listed(
    predictions: Path, track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimates, "MOST_ENTRIES", 50)
    for number in range(3 * estimates.MOST_ENTRIES):
        (predictions / "a" / f"{number:06d}.txt").touch()
    assert sorted(os.listdir(collect(predictions, track))) == [f"{stem}.wav" for stem in MUSIC.stems]


def test_rate_channels_and_length(predictions: Path, track: Track) -> None:
    folder = predictions / "a"
    soundfile.write(folder / "bass.wav", audio.noise(FRAMES), 22050)
    soundfile.write(folder / "drums.wav", audio.noise(FRAMES, channels=1), 44100)
    soundfile.write(folder / "other.wav", audio.noise(FRAMES + 1), 44100)
    assert reason(predictions, track) == (
        "bass: sample rate 22050, expected 44100; drums: channels 1, expected 2; "
        "other: length in samples 1001, expected 1000"
    )


def test_flac_that_lies_of_its_length_is_refused_before_it_is_decoded(
    predictions: Path, track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoded(*arguments: object) -> None:
        pytest.fail("it was decoded")

    monkeypatch.setattr(decoder, "samples", decoded)
    path = predictions / "a" / "bass.wav"
    soundfile.write(path, audio.noise(FRAMES), 44100, format="FLAC")
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F  # the upper bits of STREAMINFO's 36 for the number of samples
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)
    assert reason(predictions, track) == f"bass: length in samples {(1 << 36) - 1}, expected {FRAMES}"


@pytest.mark.thorough
@pytest.mark.parametrize(
    "change", [lambda content: content[:-200], lambda content: content[:60] + content[300:]]
)
def test_damaged_flac_is_unreadable(
    predictions: Path, track: Track, change: Callable[[bytes], bytes]
) -> None:
    path = predictions / "a" / "bass.wav"
    soundfile.write(path, audio.noise(FRAMES), 44100, format="FLAC")
    path.write_bytes(change(path.read_bytes()))
    assert reason(predictions, track).startswith("bass: unreadable (")


def test_a_file_that_cannot_be_read_is_the_submissions_fault(
    predictions: Path, track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(file: BinaryIO) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(audio_header, "read", fail)
    assert reason(predictions, track).startswith("bass: it cannot be read (Input/output error); drums: ")


@linux
def test_a_full_disk_of_ours_is_not_the_submissions_fault(
    predictions: Path, track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode: opened(Path("/dev/full"), mode))
    with pytest.raises(OSError, match="No space left on device"):
        collect(predictions, track)


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("stems", [MUSIC.stems, ("vocals",)])
def test_what_every_honest_track_needs_has_room(tmp_path: Path, subtype: str, stems: tuple[str, ...]) -> None:
    """The files of a track, with their folder, in whole pages of memory."""
    frames = 30_001
    (track,) = dataset.load(audio.write_music(tmp_path / "data", {"a": frames})).tracks
    for stem in stems:
        soundfile.write(tmp_path / f"{stem}.wav", audio.noise(frames), 44100, subtype=subtype)
    sizes = [(tmp_path / f"{stem}.wav").stat().st_size for stem in stems]
    assert sum(-(-size // 4096) * 4096 for size in sizes) + 4096 < estimates.most_bytes(
        track, of_stems(stems)
    )
