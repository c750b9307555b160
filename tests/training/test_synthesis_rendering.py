"""Rendering with the real tools: skipped, with the packages' names, where they are not installed."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from evaluator.datasets.mixing import loudness
from sdx.engines import address, making
from sdx.engines.address import Address
from sdx.engines.engine import EngineError, Worker
from sdx.engines.held import UnfitError
from tests.sdx.engines.test_making import Seen, does
from tests.sdx.engines.test_work import MadeEngine
from training.synthesis import dataset, dsp, singing, tools
from training.synthesis.__main__ import main
from training.synthesis.catalogue import Voice, held_out_palette, training_palette
from training.synthesis.composer import SungNote
from training.synthesis.dataset import (
    CINEMATIC,
    DEMO_SEED,
    MUSIC,
    Kind,
    Plan,
    Rendered,
    demo_files,
    demo_stems,
    named,
    render,
)
from training.synthesis.dsp import RATE
from training.synthesis.midi import Note, Part, Program

DEMO = Path(__file__).parents[2] / "local_data" / "demo"
MISSING = tools.missing_packages(held_out=True)
needs_tools = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {' '.join(MISSING)}")


@needs_tools
def test_playing_is_exact_in_length_and_the_same_again_and_in_tune() -> None:
    part = Part(Program(tools.DEMO_FONT, 80), (Note(0.0, 5.0, 69, 100),))  # held beyond the end
    first, again = tools.play((part,), 1.3), tools.play((part,), 1.3)
    assert first.shape == (2, round(1.3 * RATE))
    assert (first == again).all()
    spectrum = np.abs(np.fft.rfft(first[0, 8820:] * np.hanning(first.shape[1] - 8820)))
    peak = spectrum.argmax() * RATE / (first.shape[1] - 8820)
    assert min(abs(peak - 440 * harmonic) for harmonic in (1, 2, 3)) < 4


@needs_tools
def test_a_word_is_sung_on_its_note() -> None:
    word = singing.analysed("moon", Voice("en-us+f4", 1.1, 0.1, 55))
    notes = (SungNote(0.5, 1.0, 64, "moon", False),)
    audio = singing.sing(np.random.default_rng(0), notes, {"moon": word}, 2.0)
    assert audio.shape == (2 * RATE,)
    assert dsp.level(audio[: RATE // 3]) < dsp.level(audio) - 30
    middle = audio[round(0.8 * RATE) : round(1.3 * RATE)].astype(np.float64)
    lags = np.correlate(middle, middle[: RATE // 5], "valid")
    period = 60 + int(lags[60:400].argmax())
    assert 12 * np.log2(RATE / period / 440.0) + 69 == pytest.approx(64, abs=0.7)


def short(kind: Kind, number: int) -> Rendered:
    return render(kind, (99, number), 4.0, held_out=True)


@pytest.mark.thorough
@needs_tools
@pytest.mark.parametrize(
    "kind", [pytest.param(MUSIC, marks=pytest.mark.slow), CINEMATIC], ids=["music", "cinematic"]
)
def test_one_seed_renders_the_same_again_and_every_stem_sounds(kind: Kind) -> None:
    first, again = short(kind, 1), short(kind, 1)
    assert first.description == again.description
    assert (first.stems == again.stems).all()
    assert first.stems.shape == (len(kind.stems), 2, 4 * RATE)
    assert all(dsp.level(stem) > -60 for stem in first.stems)
    mixture = first.stems.sum(axis=0)
    assert np.abs(mixture).max() < 10 ** (-1.0 / 20)
    if kind is CINEMATIC:
        assert -30 < loudness(mixture) < -24
    assert short(kind, 2).description != first.description


def test_a_worker_with_other_programs_renders_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(CINEMATIC, tmp_path, 4.0, 2)
    monkeypatch.setattr(dataset, "require_tools", lambda held_out: None)
    monkeypatch.setattr(dataset, "versions", lambda: "espeak-ng 1.51")
    with pytest.raises(UnfitError, match=r"found espeak-ng 1.51, expected espeak-ng 1.52"):
        dataset.render_on_worker(plan, 1, "espeak-ng 1.52")
    assert not list(tmp_path.iterdir())


def test_programs_that_change_meanwhile_are_no_fault_of_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = iter(["espeak-ng 1.51"])
    monkeypatch.setattr(dataset, "require_tools", lambda held_out: None)
    monkeypatch.setattr(dataset, "versions", lambda: next(installed, "espeak-ng 1.52"))
    monkeypatch.setattr(making, "open_engine", lambda *given: MadeEngine(does, [Worker("w1", "one")]))
    seen = Seen()
    dataset.render_over(address.parse("local"), Plan(CINEMATIC, tmp_path, 4.0, 2), [1, 2], seen)
    assert list(seen.failures) == ["cinematic 00001", "cinematic 00002"]
    for reason in seen.failures.values():
        assert reason == "the programs have changed since the run began: espeak-ng 1.52, were espeak-ng 1.51"
    assert seen.notices == []


def test_the_command_goes_to_the_engine_with_the_certificates_that_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Address] = []

    def refuse(where: Address, *given: object) -> None:
        asked.append(where)
        raise EngineError("nobody answers")

    for module in ("training.synthesis.__main__", "training.synthesis.dataset"):
        monkeypatch.setattr(f"{module}.require_tools", lambda held_out: None)
    monkeypatch.setattr(dataset, "versions", lambda: "")
    monkeypatch.setattr(making, "open_engine", refuse)
    files = [tmp_path / name for name in ("ca", "cert", "key")]
    words = ["training", "cinematic", "--count", "1", "--root", str(tmp_path / "out")]
    for file in files:
        file.touch()
        words += [f"--tls-{file.name}", str(file)]
    assert main([*words, "--engine", "dask+tls://host:1"]) == 2
    assert "nobody answers" in capsys.readouterr().err
    assert asked == [address.parse("dask+tls://host:1", *files)]


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--step 0", "a whole number from 1"),
        ("--count 0", "a whole number from 1"),
        ("--valid-every 0", "a whole number from 1"),
        ("--first -1", "a whole number from 0"),
        ("--seconds 0", "a number above 0"),
        ("--seconds nan", "a number above 0"),
    ],
)
def test_numbers_that_make_no_set_are_refused(
    option: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["training", "music", *option.split()])
    assert ended.value.code == 2
    name, number = option.split()
    assert f"argument {name}: {number}: expected {expected}" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(bool(tools.missing_packages(held_out=False)), reason="not all programs are installed")
def test_workers_render_what_one_machine_renders(tmp_path: Path) -> None:
    words = ["training", "cinematic", "--count", "2", "--seconds", "4", "--valid-every", "2"]
    assert main([*words, "--root", str(tmp_path / "here")]) == 0
    assert main([*words, "--root", str(tmp_path / "there"), "--engine", "local?workers=2"]) == 0
    found = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "here", tmp_path / "there")
    ]
    assert found[0] == found[1]
    assert len(found[0]) == 12


@needs_tools
def test_every_voice_of_the_catalogue_is_one_of_espeaks_own() -> None:
    """espeak-ng speaks with another voice, without an error, where it does not know the one asked for."""
    listed = subprocess.run(
        ["espeak-ng", "--voices=variant"], capture_output=True, text=True, check=True
    ).stdout
    variants = {line.split("!v/")[1].split()[0] for line in listed.splitlines() if "!v/" in line}
    listed = subprocess.run(["espeak-ng", "--voices=en"], capture_output=True, text=True, check=True).stdout
    accents = {line.split()[1] for line in listed.splitlines()[1:]}
    for palette in (training_palette(), held_out_palette()):
        assert {name for name, _ in palette.voices} <= variants
        assert set(palette.accents) <= accents


def test_missing_tools_are_named_with_their_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["demo", "--root", str(tmp_path)]) == 2
    assert "apt-get install fluidsynth espeak-ng" in capsys.readouterr().err


@pytest.mark.slow
@needs_tools
def test_training_audio_appears_in_its_splits_and_is_not_made_twice(tmp_path: Path) -> None:
    if tools.missing_packages(held_out=False):
        pytest.skip(f"not installed: {' '.join(tools.missing_packages(held_out=False))}")
    command = [
        "training",
        "music",
        "--root",
        str(tmp_path),
        "--count",
        "2",
        "--seconds",
        "4",
        "--valid-every",
        "2",
    ]
    assert main(command) == 0
    folders = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*"))
    assert folders == ["train/00001", "train/00001a", "train/00001b", "valid/00000"]
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.wav")}
    assert len(made) == 4 * len(folders)
    assert main(command) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.wav")} == made


@pytest.mark.thorough
def test_the_demo_tracks_are_the_listed_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sums", "--root", str(DEMO)]) == 0
    (tmp_path / "SHA256SUMS").write_text((DEMO / "SHA256SUMS").read_text())
    capsys.readouterr()
    assert main(["sums", "--root", str(tmp_path)]) == 1
    assert "music/song_1/bass.flac: not the audio listed" in capsys.readouterr().out


@pytest.mark.thorough
def test_the_demo_tracks_are_small_whole_and_sound() -> None:
    assert sum(path.stat().st_size for path in DEMO.rglob("*.flac")) < 25e6
    for kind in (MUSIC, CINEMATIC):
        folders = sorted((DEMO / kind.name).iterdir())
        assert len(folders) == 6
        for folder in folders:
            audio = {
                path.stem: soundfile.read(path, dtype="int16", always_2d=True)[0].T
                for path in folder.glob("*")
            }
            mixtures = sorted(name for name in audio if "mixture" in name)
            mixture = np.concatenate([audio.pop(name) for name in mixtures])
            stems = np.stack(list(audio.values())).astype(int)
            assert len(stems) == len(kind.stems)
            assert (stems.sum(axis=0) == mixture).all()
            assert np.abs(mixture.astype(int)).max() < 32768 * 10 ** (-1.0 / 20)
            assert 10 * RATE <= mixture.shape[1] <= 15 * RATE
            assert all(dsp.level(stem / 32768) > -50 for stem in stems)


@pytest.mark.slow
@needs_tools
@pytest.mark.parametrize("kind", [MUSIC, CINEMATIC], ids=lambda kind: kind.name)
def test_the_demo_tracks_can_be_rendered_again(kind: Kind) -> None:
    """To 60 dB, so that another version of a library may differ in the last bits."""
    name = "song_1" if kind is MUSIC else "scene_1"
    made = render(kind, (DEMO_SEED, 1), 10.5, held_out=True)
    for file, audio in demo_files(kind, name, named(kind, demo_stems(kind, made.stems))).items():
        committed, _ = soundfile.read(DEMO / kind.name / name / f"{file}.flac", dtype="int16", always_2d=True)
        error = audio.T.astype(float) - committed
        assert dsp.level(error / 32768) < dsp.level(committed / 32768) - 60
