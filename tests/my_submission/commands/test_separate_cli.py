"""The command: which recordings are meant, what it prints, exit codes, interrupts. A child process costs seconds."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from my_submission.__main__ import main
from my_submission.commands import separate as cli
from my_submission.ensemble.preset_reader import load_preset, preset_names
from my_submission.ensemble.systems import about_bytes, all_systems
from my_submission.files.lock import sole_run
from my_submission.files.model import ModelChoice, StreamingModel, open_model
from my_submission.locations import command
from my_submission.weights.required import locate, size_text
from tests.my_submission.commands.recordings import names, write_noise
from tests.my_submission.files_model import write_tiny_preset


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_preset(tmp_path_factory.mktemp("preset"))


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.thorough
def test_good_files_are_done_and_bad_ones_listed(
    preset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    album, out = tmp_path / "my album", tmp_path / "stems"
    write_noise(album / "é.wav")
    write_noise(album / "old.wav", 0.4, 8_000, 1)
    (album / "bad.wav").write_text("no audio")
    nan = write_noise(album / "nan.wav")
    soundfile.write(nan, np.full((10, 2), np.nan), 44_100, subtype="FLOAT")
    command = ["separate", "--preset", str(preset), str(album), str(tmp_path / "absent.mp3"), "-o", str(out)]
    assert main([*command, "--stems", "vocals,instrumental"]) == 1
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0] == "separating with preset tiny"
    assert "é.wav (0:00) -> " in said.out
    assert lines[-1].startswith("2 separated, 3 failed, in ")
    assert "bad.wav: " in said.err
    assert "nan.wav: expected finite samples, found nan at sample 0" in said.err
    assert "absent.mp3: no such file or folder" in said.err
    expected = [
        ".separated.jsonl", "old/instrumental.wav", "old/vocals.wav", "é/instrumental.wav", "é/vocals.wav",
    ]  # fmt: skip
    assert names(out) == expected
    assert soundfile.info(out / "old/vocals.wav").samplerate == 8_000


def test_a_second_run_into_a_folder_sees_the_first_before_it_computes(
    preset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "separate_all", None)
    source, out = write_noise(tmp_path / "a.wav"), tmp_path / "out"
    out.mkdir()
    with sole_run(out):
        assert main(["separate", "--preset", str(preset), str(source), "-o", str(out)]) == 1
    assert "out: another run is writing to this folder" in capsys.readouterr().err
    assert names(out) == []


@pytest.mark.slow
def test_what_is_done_is_not_done_again(
    preset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    album = tmp_path / "my album"
    write_noise(album / "a.wav")
    write_noise(album / "b.wav")
    command = ["separate", "--preset", str(preset), str(album), "-o", str(tmp_path / "stems")]
    assert main([*command, "--stems", "vocals,instrumental"]) == 0
    write_noise(album / "new.wav")
    capsys.readouterr()
    assert main([*command, "--stems", "vocals,instrumental", "--resume", "--jobs", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("1 separated, 2 already done, in ")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["--stems", "vocal"], 2, "did you mean 'vocals'"),
        (["--format", "flac", "--bits", "32f"], 2, "flac has: 24, 16"),
        (["--template", "{stem}"], 2, "template"),
        (["--preset", "none"], 1, "preset: found 'none'"),
        (["--preset", "mdxc"], 1, r"found 'mdxc' \(did you mean 'mdx-c'\?\); expected a YAML file or one of"),
        (["--downmix", "-o", "{here}/a.wav"], 1, "a.wav: .*folder cannot be created"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_done(
    preset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    exit_code: int,
    message: str,
) -> None:
    source = write_noise(tmp_path / "a.wav")
    write_noise(tmp_path / "sub" / "a.wav").rename(tmp_path / "sub" / "a.mp3")
    arguments = [argument.replace("{here}", str(tmp_path)) for argument in arguments]
    before = names(tmp_path)
    out = str(tmp_path / "out")
    assert main(["separate", "-o", out, "--preset", str(preset), *arguments, str(source)]) == exit_code
    assert re.search(message, capsys.readouterr().err)
    assert names(tmp_path) == before


@pytest.mark.thorough
def test_a_dry_run_writes_nothing_and_predicts_the_time(
    preset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_noise(tmp_path / "a.wav", 90, 8_000, 1)
    (tmp_path / "b.wav").touch()
    arguments = ["separate", str(tmp_path), "-o", str(tmp_path / "out"), "--preset", str(preset), "--dry-run"]
    assert main([*arguments, "--stems", "vocals"]) == 1
    said = capsys.readouterr()
    assert f"a.wav (1:30, 8000 Hz, mono, pcm_f32le)\n  -> {tmp_path}/out/a/vocals.wav" in said.out
    assert re.search(r"1 to separate, 1:30 of audio: about \d+:\d\d on this machine", said.out)
    assert "would fail: " in said.err
    assert names(tmp_path) == ["a.wav", "b.wav"]


@pytest.mark.thorough
def test_a_folder_keeps_its_tree_and_parts_have_names_of_their_own(
    preset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("cd1/intro.wav", "cd2/intro.wav", "hidden.wav"):
        write_noise(tmp_path / "album" / name, 0.1)
    command = ["separate", "--dry-run", "-o", "out", "--preset", str(preset), "--two-stems", "drums"]
    assert main([*command, "--preview", str(tmp_path / "album")]) == 0
    paths = re.findall(r"-> (.*)", capsys.readouterr().out)
    assert paths == [
        f"out/{track} (loudest 30s)/{stem}.wav"
        for track in ("cd1/intro", "cd2/intro", "hidden")
        for stem in ("drums", "no_drums")
    ]
    assert (
        main([*command, "--start", "0:00.05", "--duration", "1:00", str(tmp_path / "album" / "hidden.wav")])
        == 0
    )
    said = capsys.readouterr().out
    assert "hidden.wav (0:00, 44100 Hz" in said
    assert "out/hidden (0.05s to 1m00.05s)/drums.wav" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected files, folders or patterns to separate, found none"),
        (["a.wav", "--preview", "--start", "3"], "expected it alone, found --start or --duration, too"),
        (["a.wav", "--preview", "0"], "duration: expected more than 0 s, up to 10000000 s, found 0"),
        (["a.wav", "--duration", "0"], "duration: expected more than 0 s, up to 10000000 s, found 0"),
        (["a.wav", "--bitrate", "320"], "bitrate: wav has none, it is lossless"),
        (["a.wav", "--two-stems", "guitar"], "found 'guitar'"),
    ],
)
def test_options_that_cannot_be_are_one_sentence(
    preset: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["separate", *arguments, "--preset", str(preset)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.thorough
def test_the_list_names_every_preset_with_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["separate", "--list"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n  {name} " in said for name in preset_names())
    assert re.search(r"mdx-demo .*\[here, MIT\]", said)
    assert "vocals, instrumental (a voice and what accompanies it: karaoke" in said
    words = " ".join(said.split())
    for one in all_systems():
        if one.kind == "preset":
            _, missing = locate(one.files, None)
            files = f"{size_text(about_bytes(missing))} to fetch" if missing else "here"
            assert f"{load_preset(one.name).description} [{files}, " in words


def test_missing_weights_are_a_list_that_can_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"architecture": "htdemucs", "sources": ["vocals"], "licence": "MIT"}
    rows = {name: row | {"file": f"{name}.th"} for name in ("absent_1", "absent_2")}
    (tmp_path / "rows.yaml").write_text(yaml.safe_dump({"checkpoints": rows}))
    step = {
        "name": "all",
        "input": "mixture",
        "stems": ["vocals"],
        "members": [{"model": name} for name in rows],
    }
    preset = tmp_path / "mine.yaml"
    preset.write_text(yaml.safe_dump({"stems": ["vocals"], "manifest": "rows.yaml", "steps": [step]}))
    song = write_noise(tmp_path / "song.wav")
    assert main(["separate", "--dry-run", "--preset", str(preset), str(song)]) == 1
    title, first, second, advice = capsys.readouterr().err.splitlines()
    assert title.endswith("2 weights files are missing:")
    assert (first.split()[0], second.split()[0]) == (f"{tmp_path}/absent_1.th", f"{tmp_path}/absent_2.th")
    assert advice == "nothing is known to fetch absent_1, absent_2 from (no origins): put your own there"


def test_what_the_demo_advises_can_be_pasted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["separate", "--preset", "mdx-demo"]) == 2  # nothing to separate
    advised = re.findall("`(.*?)`", capsys.readouterr().out)
    assert advised == [command("weights fetch start"), command("separate --list")]


@pytest.mark.slow
def test_fast_and_wanted_stems_decide_which_models_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_noise(tmp_path / "a.wav")
    chosen: list[ModelChoice] = []

    def spied(choice: ModelChoice) -> StreamingModel:
        chosen.append(choice)
        return open_model(choice)

    monkeypatch.setattr(cli, "open_model", spied)
    command = [
        "separate",
        str(tmp_path / "a.wav"),
        "--preset",
        "mdx-demo",
        "--dry-run",
        "-o",
        str(tmp_path / "out"),
    ]
    assert main(command) == 0
    assert main([*command, "--fast", "--stems", "instrumental"]) == 0
    assert [(choice.fast, choice.stems) for choice in chosen] == [
        (False, ("bass", "drums", "other", "vocals")),
        (True, ("vocals",)),
    ]
    seconds = [open_model(choice).work(44_100) for choice in chosen]
    assert seconds[1] < seconds[0] / 3


def test_files_in_the_way_need_no_model(
    preset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_noise(tmp_path / "a.wav")
    write_noise(tmp_path / "out" / "a" / "bass.wav")
    assert main(["separate", str(source), "-o", str(tmp_path / "out"), "--preset", str(preset)]) == 1
    assert "bass.wav already exists; --overwrite replaces it, --resume skips what is done" in (
        capsys.readouterr().err
    )


@pytest.mark.thorough
def test_a_model_that_cannot_be_made_ends_the_run(
    preset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_noise(tmp_path / "a.wav")
    out = tmp_path / "out"
    arguments = ["separate", str(source), "-o", str(out), "--preset", str(preset), "--device", "cuda:9"]
    assert main(arguments) == 1
    assert "found 'cuda:9'" in capsys.readouterr().err
    assert not out.exists()
