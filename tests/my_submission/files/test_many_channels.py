"""Recordings with more than two channels: which are separated together, and that nothing of them is lost."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from my_submission import FileOptions, MusicSeparationModel, separate_file
from my_submission.__main__ import main
from my_submission.files import OutputFailed, channels
from my_submission.files.decode import probe
from my_submission.files.options import SeparatedFile
from tests.my_submission.files_model import SHARES, KnownShares, write_tiny_preset

Array = Any
PAIRS = FileOptions(many_channels="pairs")
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")


def noise(samples: int, channels: int) -> Array:
    return np.random.default_rng(channels).uniform(-0.4, 0.4, (samples, channels)).astype(np.float32)


def write(path: Path, array: Array, rate: int = 44_100, format: str = "WAV") -> Path:
    soundfile.write(path, array, rate, subtype="FLOAT", format=format)
    return path


def read_all(result: SeparatedFile) -> dict[str, Array]:
    return {
        stem: soundfile.read(path, dtype="float32", always_2d=True)[0] for stem, path in result.files.items()
    }


@pytest.mark.parametrize(
    ("count", "groups"), [(1, "1"), (2, "1+2"), (3, "1+2, 3"), (4, "1+2, 3+4"), (5, "1+2, 3+4, 5")]
)
def test_neighbours_are_pairs_where_no_places_are_known(count: int, groups: str) -> None:
    assert channels.groups_text(channels.groups_in_order(count)) == groups


@pytest.mark.parametrize(
    ("places", "groups"),
    [
        ("FL FR FC LFE BL BR", "1+2, 3, 4, 5+6"),
        ("FL FR FC LFE BL BR SL SR", "1+2, 3, 4, 5+6, 7+8"),
        ("FL FR LFE FLC FRC SL SR", "1+2, 3, 4+5, 6+7"),
        ("FL FC FR", "1+3, 2"),
        ("FR FL BL", "2+1, 3"),
        ("TFL TFC TFR BR", "1+3, 2, 4"),
    ],
)
def test_left_goes_with_right_where_places_are_known(places: str, groups: str) -> None:
    found = channels.groups_by_place(places.split())
    assert channels.groups_text(found) == groups
    assert sorted(channel for group in found for channel in group) == list(range(len(places.split())))


@pytest.mark.parametrize(
    ("format", "groups"), [("WAVEX", "1+2, 3, 4, 5+6"), ("WAV", "1+2, 3+4, 5+6")], ids=["places", "no places"]
)
def test_six_channels_of_a_file(tmp_path: Path, format: str, groups: str) -> None:
    mixture = noise(5_000, 6)
    source = write(tmp_path / "a.wav", mixture, format=format)
    result = separate_file(source, tmp_path, model=KnownShares(999), options=PAIRS)
    assert channels.groups_text(result.groups) == groups
    for stem, share in SHARES.items():
        assert np.array_equal(read_all(result)[stem], np.float32(share) * mixture)


@needs_ffmpeg
def test_film_sound_is_in_the_order_of_its_places(tmp_path: Path) -> None:
    mixture = noise(4_800, 6)
    film = tmp_path / "a.mkv"
    source = write(tmp_path / "a.wav", mixture, 48_000, "WAVEX")
    subprocess.run(["ffmpeg", "-v", "error", "-i", source, "-c:a", "flac", film], check=True)
    result = separate_file(film, tmp_path, model=KnownShares(), options=PAIRS)
    assert (result.channels, result.samples) == (6, 4_800)
    assert np.abs(sum(read_all(result).values()) - mixture).max() < 1e-4  # 16 or 24 bits in the film


@pytest.mark.parametrize("rate", [44_100, 48_000])
@pytest.mark.parametrize("count", [3, 4, 7])
def test_stems_add_up_where_no_places_are_known(tmp_path: Path, rate: int, count: int) -> None:
    mixture = noise(rate // 2 + 1, count)
    source = write(tmp_path / "a.wav", mixture, rate)
    result = separate_file(source, tmp_path, model=KnownShares(7_001), options=PAIRS)
    assert result.groups == channels.groups_in_order(count)
    stems = read_all(result)
    assert all(stem.shape == mixture.shape for stem in stems.values())
    assert np.abs(sum(stems.values()) - mixture).max() < 1e-6


@pytest.mark.slow
def test_a_pair_is_separated_as_if_it_were_alone(tmp_path: Path) -> None:
    model = MusicSeparationModel(preset=write_tiny_preset(tmp_path), device="cpu")
    mixture = noise(30_000, 3)
    result = separate_file(write(tmp_path / "a.wav", mixture), tmp_path, model=model, options=PAIRS)
    stems = read_all(result)
    for group in ([0, 1], [2]):
        alone, _ = model.separate_music_file(mixture[:, group], 44_100)
        for stem, array in alone.items():
            assert np.array_equal(stems[stem][:, group], array)


def test_silent_groups_are_not_computed_and_progress_is_of_all(tmp_path: Path) -> None:
    mixture = noise(60_000, 6)
    mixture[:, 2:4] = 0
    model, heard = KnownShares(30_000), list[float]()
    source = write(tmp_path / "a.wav", mixture)
    options = FileOptions(("instrumental",), many_channels="pairs")
    result = separate_file(
        source, tmp_path, model=model, options=options, progress=lambda d, t: heard.append(d / t)
    )
    assert model.calls == 2
    assert heard == [0.25, 0.5, 0.75, 1.0]
    assert np.abs(read_all(result)["instrumental"] - 2.75 * mixture).max() < 1e-6


@pytest.mark.parametrize(("format", "count", "message"), [("mp3", 3, "at most 2"), ("flac", 9, "at most 8")])
def test_formats_with_fewer_channels(tmp_path: Path, format: str, count: int, message: str) -> None:
    source = write(tmp_path / "a.wav", noise(100, count))
    options = FileOptions(format=format, many_channels="pairs")
    with pytest.raises(OutputFailed, match=message):
        separate_file(source, tmp_path / "out", model=KnownShares(), options=options)
    assert not (tmp_path / "out").exists()


def test_a_later_run_skips_what_its_choices_would_not_change(tmp_path: Path) -> None:
    stereo, many = write(tmp_path / "a.wav", noise(500, 2)), write(tmp_path / "b.wav", noise(500, 4))
    model = KnownShares()

    def skipped(source: Path, **options: Any) -> bool:
        chosen = FileOptions(overwrite=True, resume=True, **options)
        return separate_file(source, tmp_path / "out", model=model, options=chosen).skipped

    assert not skipped(stereo)
    assert skipped(stereo, many_channels="pairs")
    assert skipped(stereo, many_channels="downmix")
    assert not skipped(many, many_channels="pairs")
    assert skipped(many, many_channels="pairs")
    assert not skipped(stereo, bits="24")
    assert skipped(stereo, bits="24", clipping="scale")
    (tmp_path / "a.wav").write_bytes(write(tmp_path / "c.wav", 2 * noise(500, 2)).read_bytes())
    assert not skipped(stereo, bits="24", clipping="scale")  # it scales this one
    assert skipped(stereo, bits="24", clipping="scale")
    assert not skipped(stereo, bits="24", clipping="clip")


def test_a_folded_recording_is_not_taken_for_a_stereo_one(tmp_path: Path) -> None:
    source = write(tmp_path / "a.wav", noise(500, 4))
    assert probe(source, "downmix").downmixed
    folded = FileOptions(many_channels="downmix", resume=True)
    assert not separate_file(source, tmp_path / "out", model=KnownShares(), options=folded).skipped
    assert separate_file(source, tmp_path / "out", model=KnownShares(), options=folded).skipped


def test_an_unknown_choice() -> None:
    with pytest.raises(ValueError, match="many_channels: expected one of error, pairs, downmix"):
        FileOptions(many_channels="both")  # type: ignore[arg-type]


def test_the_command_line_offers_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "a.wav", noise(100, 6))
    command = ["separate", str(source), "-o", str(tmp_path / "out")]
    assert main(command) == 1
    assert "found 6; --pairs separates left and right in pairs, and --downmix" in capsys.readouterr().err
    assert main([*command, "--pairs", "--format", "mp3"]) == 1
    assert "mp3 allows at most 2 channels" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "--pairs", "--downmix"])
