"""Building data sets: exact sums, the same again from the same seed, going on after a stop, DnR's loudness."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from evaluator.__main__ import main
from evaluator.challenge import of_stems
from evaluator.datasets import builder, library, mixing, tracks
from evaluator.datasets.library import Library
from evaluator.datasets.mixing import RATE_HZ
from evaluator.datasets.tracks import Plan
from evaluator.running import dataset
from evaluator.running.dataset import DataError
from tests.thinned import one_in

STEMS = ("bass", "drums", "other")


def quiet(name: str) -> None:
    """Progress that nobody watches."""


def write(
    path: Path, seconds: float, rate: int = RATE_HZ, channels: int = 2, level: float = 0.1, seed: int = 0
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).standard_normal((round(seconds * rate), channels)) * level
    soundfile.write(path, samples, rate)


@pytest.fixture
def vocals(tmp_path: Path) -> Path:
    root = tmp_path / "vocals"
    write(root / "long.flac", 4.0, seed=1)
    write(root / "mono at 22 kHz.ogg", 3.0, rate=22050, channels=1, seed=2)
    write(root / "short.wav", 0.3, rate=48000, seed=3)
    return root


@pytest.fixture
def instrumentals(tmp_path: Path) -> Path:
    root = tmp_path / "instrumentals"
    for song in ("a", "b"):
        for index, stem in enumerate(STEMS):
            write(root / song / f"{stem}.wav", 3.0, seed=index + 10 * ord(song))
    return root


@pytest.fixture
def scene_folders(tmp_path: Path) -> dict[str, Path]:
    roots = {stem: tmp_path / "scene" / stem for stem in tracks.LOUDNESS}
    for index, root in enumerate(roots.values()):
        for number, seconds in enumerate((1.0, 2.5, 20.0)):
            write(root / f"{number}.wav", seconds, level=0.01 * 3**number, seed=number + 5 * index)
    return roots


def synth(vocals: Path, instrumentals: Path, plan: Plan) -> int:
    libraries = (
        library.find(vocals, "vocals"),
        library.find(instrumentals, "instrumental", STEMS),
    )
    return builder.build(builder.synth(*libraries, plan), quiet)


def scenes(roots: dict[str, Path]) -> dict[str, Library]:
    return {stem: library.find(root, stem) for stem, root in roots.items()}


def read(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    assert rate == RATE_HZ
    return np.asarray(samples)


def hashes(root: Path) -> dict[str, str]:
    """Of every file of every track."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.parent != root)
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize(("suffix", "seconds"), one_in(3, [(".wav", 2.0), (".wav", 5.0), (".flac", 5.0)]))
def test_synth_mixtures_are_the_exact_sum_of_stems_of_exact_length(
    tmp_path: Path, vocals: Path, instrumentals: Path, suffix: str, seconds: float
) -> None:
    plan = Plan(tmp_path / "out", tracks=2, seconds=seconds, seed=1, suffix=suffix)
    assert synth(vocals, instrumentals, plan) == 2
    for folder in sorted(plan.out.glob("synth_*")):
        stems = [read(folder / f"{stem}{suffix}").astype(int) for stem in ("vocals", *STEMS)]
        mixture = read(folder / f"mixture{suffix}")
        assert mixture.shape == (seconds * RATE_HZ, 2)
        assert np.array_equal(np.sum(stems, axis=0), mixture)
        assert all(stem.any() for stem in stems)
        assert np.abs(mixture).max() <= round(32768 * mixing.gain(tracks.PEAK_DB)) + 4


@pytest.mark.thorough
def test_the_evaluator_takes_what_is_built(
    tmp_path: Path, vocals: Path, instrumentals: Path, scene_folders: dict[str, Path]
) -> None:
    synth(vocals, instrumentals, Plan(tmp_path / "music", 2, 2.0, 0))
    builder.build(builder.cinematic(scenes(scene_folders), Plan(tmp_path / "cinema", 2, 4.0, 0)), quiet)
    music, cinema = dataset.load(tmp_path / "music"), dataset.load(tmp_path / "cinema")
    assert (music.challenge.name, len(music.tracks)) == ("music", 2)
    assert (cinema.challenge.name, len(cinema.tracks)) == ("cinematic", 2)
    assert {track.frames for track in cinema.tracks} == {4 * RATE_HZ}


@pytest.mark.thorough
def test_loud_sources_are_lowered_together(tmp_path: Path, vocals: Path, instrumentals: Path) -> None:
    write(vocals / "long.flac", 4.0, level=0.5)
    plan = Plan(tmp_path / "out", 4, 1.0, 0)
    synth(vocals, instrumentals, plan)  # would raise if anything clipped
    assert len(list(plan.out.glob("synth_*"))) == 4


@pytest.mark.thorough
def test_an_instrumental_that_is_one_file_is_one_stem(tmp_path: Path, vocals: Path) -> None:
    write(tmp_path / "whole" / "a.wav", 3.0, seed=9)
    plan = Plan(tmp_path / "out", 1, 2.0, 0)
    synth(vocals, tmp_path / "whole", plan)
    folder = plan.out / "synth_0000"
    assert sorted(path.name for path in folder.glob("*.wav")) == [
        "instrumental.wav",
        "mixture.wav",
        "vocals.wav",
    ]
    total = read(folder / "vocals.wav").astype(int) + read(folder / "instrumental.wav")
    assert (total == read(folder / "mixture.wav")).all()


@pytest.mark.thorough
def test_instrumentals_of_two_kinds_are_refused(tmp_path: Path, vocals: Path, instrumentals: Path) -> None:
    write(instrumentals / "whole.wav", 3.0)
    with pytest.raises(DataError, match="some recordings are in stems and some are not"):
        synth(vocals, instrumentals, Plan(tmp_path / "out", 1, 1.0, 0))


@pytest.mark.slow
def test_the_seed_decides_and_a_longer_set_begins_with_the_shorter(
    tmp_path: Path, vocals: Path, instrumentals: Path
) -> None:
    sets = {
        name: Plan(tmp_path / name, tracks, 1.0, seed)
        for name, tracks, seed in (("one", 2, 5), ("again", 2, 5), ("longer", 3, 5), ("other", 2, 6))
    }
    for plan in sets.values():
        synth(vocals, instrumentals, plan)
    found = {name: hashes(plan.out) for name, plan in sets.items()}
    assert found["one"] == found["again"]
    assert found["one"].items() < found["longer"].items()
    assert not set(found["one"].values()) & set(found["other"].values())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["synth", "cinematic"])
def test_a_build_that_was_stopped_goes_on_as_if_it_had_not_been(
    tmp_path: Path, vocals: Path, instrumentals: Path, scene_folders: dict[str, Path], kind: str
) -> None:
    def build(out: Path, progress: Callable[[str], None] = quiet) -> int:
        plan = Plan(out, 3, 2.0, 7)
        if kind == "synth":
            libraries = (
                library.find(vocals, "vocals"),
                library.find(instrumentals, "instrumental", STEMS),
            )
            return builder.build(builder.synth(*libraries, plan), progress)
        return builder.build(builder.cinematic(scenes(scene_folders), plan), progress)

    def stop(name: str) -> None:
        if name.endswith("0001"):
            raise KeyboardInterrupt

    build(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "stopped", stop)
    partial = tmp_path / "stopped" / f".{kind}_0002.0a.partial"
    partial.mkdir()
    (partial / "rest.wav").touch()
    shutil.rmtree(tmp_path / "stopped" / f"{kind}_0000")
    assert build(tmp_path / "stopped") == 2
    assert hashes(tmp_path / "stopped") == hashes(tmp_path / "whole")
    assert build(tmp_path / "stopped") == 0


@pytest.mark.slow
def test_going_on_with_other_options_or_recordings_is_refused(
    tmp_path: Path, vocals: Path, instrumentals: Path
) -> None:
    out = tmp_path / "out"
    synth(vocals, instrumentals, Plan(out, 1, 1.0, 0))
    with pytest.raises(DataError, match=r"seed was 0, now 1; continue as before or choose a new folder"):
        synth(vocals, instrumentals, Plan(out, 1, 1.0, 1))
    write(vocals / "new.wav", 1.0)
    with pytest.raises(DataError, match="recordings was"):
        synth(vocals, instrumentals, Plan(out, 1, 1.0, 0))


@pytest.mark.thorough
def test_a_folder_with_other_things_is_left_alone(tmp_path: Path, vocals: Path, instrumentals: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").touch()
    with pytest.raises(DataError, match="not empty and not begun by this command"):
        synth(vocals, instrumentals, Plan(tmp_path / "out", 1, 1.0, 0))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


@pytest.mark.thorough
def test_the_set_is_not_written_among_its_own_recordings_or_over_a_file(
    tmp_path: Path, vocals: Path, instrumentals: Path
) -> None:
    with pytest.raises(DataError, match="choose a folder outside"):
        synth(vocals, instrumentals, Plan(vocals / "out", 1, 1.0, 0))
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file: not a folder"):
        synth(vocals, instrumentals, Plan(tmp_path / "file", 1, 1.0, 0))


@pytest.mark.slow
def test_excerpts_in_which_every_stem_is_heard_are_preferred(tmp_path: Path) -> None:
    for song, level in (("a", 0.0), ("b", 0.1)):
        for stem in STEMS:
            write(tmp_path / "songs" / song / f"{stem}.wav", 2.0, level=level if stem == "bass" else 0.1)
    source = library.find(tmp_path / "songs", "instrumental", STEMS)
    for seed in range(8):
        assert library.excerpt(np.random.default_rng(seed), source, 1.0).source == "b"
    shutil.rmtree(tmp_path / "songs" / "b")
    source = library.find(tmp_path / "songs", "instrumental", STEMS)
    assert library.excerpt(np.random.default_rng(0), source, 1.0).source == "a"


@pytest.mark.thorough
def test_what_cannot_be_used_is_left_out_and_said(vocals: Path) -> None:
    write(vocals / "silent.wav", 40.0, level=0.0)
    write(vocals / "tiny.wav", 0.05)
    (vocals / "junk.wav").write_text("junk")
    found = library.find(vocals, "vocals")
    assert len(found.items) == 3
    reasons = "\n".join(found.left_out)
    for words in ("silent.wav: silent", r"tiny.wav: 0.05 s long, expected at least 0.1 s", "junk.wav: "):
        assert words in reasons


@pytest.mark.thorough
def test_a_recording_that_begins_with_a_minute_of_silence_is_used(tmp_path: Path) -> None:
    audio = np.zeros((70 * 8000, 1))
    audio[-8000:] = 0.1
    (tmp_path / "late").mkdir()
    soundfile.write(tmp_path / "late" / "a.wav", audio, 8000)
    assert not library.find(tmp_path / "late", "vocals").left_out


def test_folders_without_recordings_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a folder"):
        library.find(tmp_path / "nowhere", "vocals")
    with pytest.raises(DataError, match="no usable recording"):
        library.find(tmp_path, "vocals")


@pytest.mark.thorough
def test_stems_of_unequal_length_are_left_out(tmp_path: Path, instrumentals: Path) -> None:
    write(instrumentals / "a" / "bass.wav", 1.0)
    found = library.find(instrumentals, "instrumental", STEMS)
    assert len(found.items) == 1
    assert "stems of 1.0 to 3.0 s, expected equal lengths" in found.left_out[0]


@pytest.mark.parametrize("seed", range(5))
def test_clips_are_placed_in_order_without_overlap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = [int(n) for n in rng.integers(1, 100, 7)]
    for samples in (sum(lengths), sum(lengths) + 1, 5000):
        starts = tracks.spread_out(rng, lengths, samples)
        ends = [start + length for start, length in zip(starts, lengths, strict=True)]
        assert starts[0] >= 0
        assert ends[-1] <= samples
        assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))
    with pytest.raises(ValueError, match="do not fit"):
        tracks.spread_out(rng, lengths, sum(lengths) - 1)


@pytest.mark.thorough
@pytest.mark.parametrize("stem", tracks.LOUDNESS)
def test_every_clip_is_within_one_lu_of_its_class(
    scene_folders: dict[str, Path], tmp_path: Path, stem: str
) -> None:
    source = library.find(scene_folders[stem], stem)
    plan = Plan(tmp_path, 1, 30.0, 0)
    track, pieces = tracks.clip_track(np.random.default_rng(3), stem, source, plan, -20.0)
    covered = np.zeros(plan.samples, bool)
    for piece in pieces:
        place = slice(round(piece.start * RATE_HZ), round((piece.start + piece.seconds) * RATE_HZ))
        covered[place] = True
        assert -21.01 <= mixing.loudness(track[:, place]) <= -18.99
    assert not track[:, ~covered].any()
    assert 0.05 < covered.mean() <= 0.91


@pytest.mark.thorough
def test_scenes_keep_the_loudness_rules(scene_folders: dict[str, Path], tmp_path: Path) -> None:
    plan = Plan(tmp_path, 1, 12.0, 0)
    sources = scenes(scene_folders)
    for seed in range(2):
        stems = tracks.cinematic_track(np.random.default_rng(seed), sources, plan).stems
        mixture = np.asarray(sum(stems.values()))
        assert -29.01 <= mixing.loudness(mixture) <= -24.99
        for louder, softer, apart in (("dialog", "effect", 4.0), ("effect", "music", 3.0)):
            found = mixing.loudness(stems[louder]) - mixing.loudness(stems[softer])
            assert found == pytest.approx(apart, abs=2 * (2.0 + 1.0))


@pytest.mark.thorough
def test_scenes_too_short_to_hold_anything_are_refused(
    scene_folders: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"scenes of 0\.5 s: expected at least 2 s"):
        builder.cinematic(scenes(scene_folders), Plan(tmp_path / "out", 1, 0.5, 0))


@pytest.mark.thorough
def test_the_command_line_says_what_it_made_and_how_to_use_it(
    tmp_path: Path, vocals: Path, instrumentals: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["dataset", "synth", "--vocals", str(vocals), "--instrumentals", str(instrumentals)]
    command += ["--out", str(out), "--tracks", "1", "--seconds", "1"]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "1 track of 1 s, 1 made now" in printed.out
    assert f"run_eval.py --challenge music --data {out}" in printed.out
    assert "100%" in printed.err


@pytest.mark.thorough
def test_a_set_of_two_stems_says_which_presets_can_use_it(
    tmp_path: Path, vocals: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "whole" / "a.wav", 3.0, seed=9)
    out = tmp_path / "out"
    command = ["dataset", "synth", "--vocals", str(vocals), "--instrumentals", str(tmp_path / "whole")]
    assert main([*command, "--out", str(out), "--tracks", "1", "--seconds", "1"]) == 0
    printed = capsys.readouterr().out
    assert f"run_eval.py --preset PRESET --data {out}" in printed
    assert "where PRESET makes instrumental, vocals, or some of them" in printed
    for stems in (["vocals", "instrumental"], ["vocals"]):
        (track,) = dataset.load(out, wanted=of_stems(stems)).tracks
        assert set(track.references) == set(stems)


def test_the_command_line_names_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = str(tmp_path / "nowhere")
    command = ["dataset", "cinematic", "--dialog", nowhere, "--effect", nowhere, "--music", nowhere]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    assert f"{nowhere}: not a folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "--out", nowhere, "--seconds", "0"])
    assert "expected a number above 0" in capsys.readouterr().err
