"""Recordings into files: levels, forms, names, what is left behind, what is done already."""

import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from my_submission import MusicSeparationModel, separate_file
from my_submission.files import (
    FileOptions,
    OutputExists,
    OutputFailed,
    UnreadableAudio,
    WouldClip,
    sinks,
)
from my_submission.files.formats import FORMATS
from tests.my_submission.files.recordings import everything_in, noise, read_all, write
from tests.my_submission.files_model import SHARES, KnownShares, write_tiny_preset
from tests.thinned import one_in

Array = Any


def test_the_documented_example(tmp_path: Path) -> None:
    song, model = write(tmp_path / "song.wav", noise(50_000)), KnownShares()
    # --- as in the README
    done: list[float] = []
    result = separate_file(
        song,
        tmp_path / "stems",
        model=model,  # left out: the configured preset's
        options=FileOptions(stems=("vocals", "instrumental"), format="flac", clipping="scale"),
        progress=lambda done_so_far, in_all: done.append(done_so_far / in_all),
    )
    assert result.files["instrumental"] == tmp_path / "stems" / "song" / "instrumental.flac"
    # ---
    assert done == [0.6, 1.0]
    assert (result.sample_rate, result.channels, result.samples, result.skipped) == (44_100, 2, 50_000, False)
    assert everything_in(tmp_path / "stems") == [
        ".separated.jsonl", "song", "song/instrumental.flac", "song/vocals.flac",
    ]  # fmt: skip


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_float_stems_have_the_recordings_form_and_add_up(tmp_path: Path, rate: int, channels: int) -> None:
    mixture = noise(rate + 11, channels)
    result = separate_file(
        write(tmp_path / "ä song.wav", mixture, rate), tmp_path / "out", model=KnownShares(7_001)
    )
    stems = read_all(result)
    assert list(stems) == list(SHARES)
    assert all(stem.shape == mixture.shape for stem in stems.values())
    assert np.abs(sum(stems.values()) - mixture).max() < 1e-6
    if rate == 44_100:
        for stem, share in SHARES.items():
            assert np.array_equal(stems[stem], np.float32(share) * mixture)


@pytest.mark.parametrize("samples", [1, 2, 1_023])
def test_short_recordings(tmp_path: Path, samples: int) -> None:
    mixture = noise(samples)
    result = separate_file(write(tmp_path / "a.wav", mixture, 48_000), tmp_path, model=KnownShares())
    assert np.abs(sum(read_all(result).values()) - mixture).max() < 1e-6


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> MusicSeparationModel:
    preset = write_tiny_preset(tmp_path_factory.mktemp("preset"))
    return MusicSeparationModel(preset=preset, device="cpu")


@pytest.mark.parametrize(("rate", "channels"), one_in(3, [(48_000, 1), (44_100, 2), (96_000, 2)]))
def test_files_equal_the_one_shot_interface(
    tiny: MusicSeparationModel, tmp_path: Path, rate: int, channels: int
) -> None:
    mixture = noise(rate // 3, channels)
    arrays, _ = tiny.separate_music_file(mixture, rate)
    stems = read_all(separate_file(write(tmp_path / "a.wav", mixture, rate), tmp_path, model=tiny))
    for stem, array in arrays.items():
        assert np.array_equal(stems[stem], array)


@pytest.mark.parametrize(("bits", "step"), [("16", 2**-15), ("24", 2**-23)])
def test_integers_are_rounded_to_nearest(tmp_path: Path, bits: str, step: float) -> None:
    mixture = noise(10_000, peak=0.5)
    options = FileOptions(stems=("mixture", "bass"), bits=bits)
    stems = read_all(
        separate_file(write(tmp_path / "a.wav", mixture), tmp_path, model=KnownShares(), options=options)
    )
    assert np.abs(stems["mixture"] - mixture).max() <= step / 2
    pcm = write(tmp_path / "b.wav", mixture, subtype=f"PCM_{bits}")
    again = read_all(separate_file(pcm, tmp_path, model=KnownShares(), options=options))["mixture"]
    assert np.array_equal(again, soundfile.read(pcm, dtype="float32")[0])


@pytest.mark.parametrize("format", ["flac", "mp3", "ogg"])
def test_samples_beyond_full_scale_are_an_error_with_a_choice(tmp_path: Path, format: str) -> None:
    mixture = noise(5_000, peak=0.9)
    source = write(tmp_path / "a.wav", mixture)
    with pytest.raises(
        WouldClip, match=r"other goes beyond full scale, first at 0.00 s.*--clip.*--scale.*32f"
    ):
        separate_file(source, tmp_path / "out", model=KnownShares(), options=FileOptions(format=format))
    assert not (tmp_path / "out").exists()


def test_clip_cuts_and_counts(tmp_path: Path) -> None:
    mixture = noise(50_000, peak=0.9)
    result = separate_file(
        write(tmp_path / "a.wav", mixture),
        tmp_path,
        model=KnownShares(),
        options=FileOptions(format="flac", clipping="clip"),
    )
    assert result.gain == 1
    assert dict(result.clipped) == {
        stem: int((np.abs(share * mixture) > 1).sum()) for stem, share in SHARES.items() if abs(share) > 1
    }
    assert np.abs(read_all(result)["other"] - np.clip(2 * mixture, -1, 1)).max() < 2e-7


def test_scale_is_one_gain_for_all_stems(tmp_path: Path) -> None:
    mixture = noise(70_000, peak=0.9)
    result = separate_file(
        write(tmp_path / "a.wav", mixture),
        tmp_path,
        model=KnownShares(),
        options=FileOptions(format="flac", clipping="scale"),
    )
    assert result.gain == pytest.approx(1 / (2 * np.abs(mixture).max()))
    for stem, array in read_all(result).items():
        assert np.abs(array - result.gain * SHARES[stem] * mixture).max() < 2e-7


def test_scale_leaves_levels_that_fit(tmp_path: Path) -> None:
    source = write(tmp_path / "a.wav", noise(5_000))
    options = FileOptions(bits="16", clipping="scale")
    assert separate_file(source, tmp_path, model=KnownShares(), options=options).gain == 1


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "ogg"])
def test_tags_are_kept(tmp_path: Path, format: str) -> None:
    tags = {"title": "Tïtel 日本", "artist": "Somebody", "album": "A", "date": "1999", "genre": "Rock"}
    source = write(tmp_path / "a.flac", noise(5_000), subtype="PCM_24", tags=tags)
    result = separate_file(source, tmp_path, model=KnownShares(), options=FileOptions(("bass",), format))
    with soundfile.SoundFile(result.files["bass"]) as file:
        expected = {**tags, "title": "Tïtel 日本 (bass)"}
        assert {name: file.copy_metadata()[name] for name in tags} == expected


def test_silence_is_not_computed(tmp_path: Path) -> None:
    model = KnownShares()
    result = separate_file(write(tmp_path / "a.wav", np.zeros((999, 1), np.float32)), tmp_path, model=model)
    assert model.calls == 0
    assert all(array.shape == (999, 1) and not array.any() for array in read_all(result).values())


def test_unreadable_recordings(tmp_path: Path) -> None:
    bad = noise(1_000)
    bad[700, 1] = np.nan
    cases: dict[str, str] = {
        str(write(tmp_path / "nan.wav", bad)): "found nan at sample 700 .* of channel 1",
        str(write(tmp_path / "none.wav", noise(0))): "no audio samples",
        str(write(tmp_path / "slow.wav", noise(100), 4_000)): "found 4000",
        str(write(tmp_path / "six.wav", noise(100, 6))): "found 6; --pairs separates .* --downmix",
    }
    (tmp_path / "text.wav").write_text("not audio")
    (tmp_path / "empty.wav").touch()
    cases |= {str(tmp_path / "text.wav"): "no recording", str(tmp_path / "empty.wav"): "it is empty"}
    for source, message in cases.items():
        with pytest.raises(UnreadableAudio, match=rf"{source}: .*{message}"):
            separate_file(source, tmp_path / "out", model=KnownShares())
    with pytest.raises(FileNotFoundError):
        separate_file(tmp_path / "absent.wav", tmp_path / "out", model=KnownShares())
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
class TestFfmpeg:
    def test_video_is_read_with_its_tags(self, tmp_path: Path) -> None:
        mixture = noise(48_000)
        source = write(tmp_path / "a.wav", mixture, 48_000)
        video = tmp_path / "clip 1: ü.mkv"
        run_ffmpeg(
            "-i", source, "-f", "lavfi", "-i", "color=size=16x16:rate=1:duration=1", "-c:a", "pcm_f32le",
            "-metadata", "title=A film", "-metadata", "track=7", video,
        )  # fmt: skip
        result = separate_file(video, tmp_path, model=KnownShares(), options=FileOptions(("mixture",)))
        assert np.array_equal(read_all(result)["mixture"], mixture)
        with soundfile.SoundFile(result.files["mixture"]) as file:
            assert (file.title, file.tracknumber) == ("A film (mixture)", "7")

    def test_downmix_folds_by_the_channels_places(self, tmp_path: Path) -> None:
        mixture = noise(1_000, 6)
        source = tmp_path / "a.wav"
        run_ffmpeg(
            "-i",
            write(tmp_path / "b.wav", mixture),
            "-af",
            "channelmap=channel_layout=5.1",
            "-c:a",
            "pcm_f32le",
            source,
        )
        options = FileOptions(("mixture",), many_channels="downmix")
        folded = read_all(separate_file(source, tmp_path, model=KnownShares(), options=options))["mixture"]
        # front, centre and surround of each side; the low-frequency channel is dropped (ITU-R BS.775)
        half = np.sqrt(0.5)
        expected = np.stack(
            [mixture[:, side] + half * (mixture[:, 2] + mixture[:, 4 + side]) for side in (0, 1)], 1
        )
        assert np.abs(folded - expected).max() < 1e-6

    def test_no_audio_at_all(self, tmp_path: Path) -> None:
        video = tmp_path / "a.mkv"
        run_ffmpeg("-f", "lavfi", "-i", "color=size=16x16:rate=1:duration=1", video)
        with pytest.raises(UnreadableAudio, match="no audio"):
            separate_file(video, tmp_path, model=KnownShares())


@pytest.mark.skipif(os.name == "nt", reason="there, every name is UTF-16")
@pytest.mark.parametrize(
    "name", [b"latin\xe9.wav", b"new\nline.wav", "🎸".encode() + b".wav", b"x" * 251 + b".wav"]
)
@pytest.mark.parametrize("format", list(FORMATS))
def test_any_name_that_a_file_has_will_do(tmp_path: Path, name: bytes, format: str) -> None:
    source = tmp_path / os.fsdecode(name)
    source.write_bytes(write(tmp_path / "a.wav", noise(1_000)).read_bytes())
    options = FileOptions(("mixture",), format, template="{track}/{stem}.{ext}", resume=True)
    for skipped in (False, True):
        result = separate_file(source, tmp_path / "out", model=KnownShares(), options=options)
        assert result.skipped == skipped
    assert everything_in(tmp_path / "out") == [
        ".separated.jsonl",
        source.stem,
        f"{source.stem}/mixture.{format}",
    ]


def run_ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", *map(str, arguments)], check=True)


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    source, out = write(tmp_path / "a.wav", noise(1_000)), tmp_path / "out"
    (out / "a").mkdir(parents=True)
    (out / "a" / "drums.wav").write_text("mine")
    with pytest.raises(OutputExists, match=r"drums.wav already exists; --overwrite replaces it"):
        separate_file(source, out, model=KnownShares())
    assert everything_in(out) == ["a", "a/drums.wav"]
    result = separate_file(source, out, model=KnownShares(), options=FileOptions(overwrite=True))
    assert read_all(result)["drums"].shape == (1_000, 2)


class Stops(KnownShares):
    """Ends with an error in the middle of a recording."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(block_samples=400)
        self._error = error

    def stream(self, read: Any, samples: int, progress: Any = None) -> Any:
        yield from list(super().stream(read, samples))[:1]
        raise self._error


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()])
def test_what_is_interrupted_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    source = write(tmp_path / "a.wav", noise(1_000))
    with pytest.raises(type(error)):
        separate_file(source, tmp_path / "x" / "out", model=Stops(error))
    assert everything_in(tmp_path) == ["a.wav"]


def test_a_disk_without_room_is_noticed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    model = KnownShares()
    with pytest.raises(OutputFailed, match=r"4 files need 1\d.\d MB, 1.0 MB are free"):
        separate_file(write(tmp_path / "a.wav", noise(400_000)), tmp_path / "out", model=model)
    assert model.calls == 0
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputFailed, match="the folder cannot be created"):
        separate_file(write(tmp_path / "a.wav", noise(100)), tmp_path / "file" / "x", model=KnownShares())


def test_mp3_has_no_high_rates(tmp_path: Path) -> None:
    source = write(tmp_path / "a.wav", noise(100), 96_000)
    with pytest.raises(OutputFailed, match="mp3 does not support 96000 Hz"):
        separate_file(source, tmp_path, model=KnownShares(), options=FileOptions(format="mp3"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "wma"}, "format: expected one of wav, flac, mp3, ogg, opus, m4a, found 'wma'"),
        ({"format": "flac", "bits": "32f"}, "bits: found '32f'; flac has: 24, 16"),
        ({"format": "mp3", "bits": "16"}, "mp3 has: none, it is lossy"),
        ({"clipping": "wrap"}, "clipping: expected one of error, clip, scale, found 'wrap'"),
        ({"template": "{track}.{ext}"}, "expected {stem} somewhere"),
        ({"template": "{stem}/{track}"}, "expected {stem} somewhere and .{ext} at the end"),
        ({"template": "{artist}/{stem}.{ext}"}, "found {artist}; allowed: {track}"),
        ({"template": "../{stem}.{ext}"}, "inside the output folder"),
        ({"template": "/x/{stem}.{ext}"}, "inside the output folder"),
        ({"template": "{stem.{ext}"}, "template"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FileOptions(**options)


def test_the_length_in_blocks_changes_nothing(tmp_path: Path) -> None:
    source = write(tmp_path / "a.wav", noise(20_000), 22_050)
    stems = [
        read_all(separate_file(source, tmp_path / str(block), model=KnownShares(block)))
        for block in (777, 39_000, 100_000)
    ]
    for other in stems[1:]:
        assert all(np.array_equal(stems[0][stem], other[stem]) for stem in SHARES)


def test_a_wav_beyond_4_gib_is_rf64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "_LARGEST_WAV", 10_000)
    mixture = noise(5_000)
    result = separate_file(write(tmp_path / "a.wav", mixture), tmp_path, model=KnownShares())
    assert soundfile.info(result.files["bass"]).format == "RF64"
    assert torch.equal(torch.from_numpy(read_all(result)["bass"]), torch.from_numpy(0.5 * mixture))
