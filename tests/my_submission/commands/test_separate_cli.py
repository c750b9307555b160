"""The command: which recordings are meant, what it prints, exit codes, interrupts. A child process costs seconds."""

import contextlib
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from my_submission.__main__ import main
from my_submission.commands import separate as cli
from my_submission.files import separate, workers
from my_submission.files.bars import Pace, duration_text
from my_submission.files.encode import temporary_path
from my_submission.files.inputs import Recording, check_collisions, find_recordings, targets
from my_submission.files.separate import FileOptions, ModelChoice, StreamingModel
from tests.my_submission.files_model import write_tiny_preset


def write_noise(path: Path, seconds: float = 0.5, rate: int = 44_100, channels: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = 0.1 * np.random.default_rng(0).standard_normal((round(seconds * rate), channels))
    soundfile.write(path, array, rate, subtype="FLOAT")
    return path


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_preset(tmp_path_factory.mktemp("preset"))


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


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

    def test_collisions(self) -> None:
        one, other = Recording(Path("a.wav")), Recording(Path("a.mp3"))
        files = {"bass": Path("out/a/bass.wav")}
        with pytest.raises(
            ValueError, match=r"a.wav and a.mp3 would both become out/a/bass.wav; .*--template"
        ):
            check_collisions([(one, files), (other, files)])
        with pytest.raises(ValueError, match="would be overwritten"):
            check_collisions([(one, {"bass": Path("./a.wav")})])


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (245, "4:05"), (3_723, "1:02:03")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_time_left_of_steady_work() -> None:
    pace = Pace()
    assert pace.seconds_left(0.0, 3.0) is None
    assert Pace().seconds_left(0.25, 10.0) == 30.0
    assert Pace().seconds_left(1.0, 10.0) == 0.0


@pytest.mark.parametrize("start_seconds", [0.0, 2.0, 8.0])
@pytest.mark.parametrize("step", [0.001, 0.02, 0.05])
def test_time_left_is_right_after_a_tenth_whatever_the_start_took(start_seconds: float, step: float) -> None:
    """100 s of steady work after a start in which nothing is told."""
    pace = Pace()
    for i in range(1, round(1 / step) + 1):
        fraction = i * step
        left = pace.seconds_left(fraction, start_seconds + 100 * fraction)
        if fraction >= 0.1:
            assert left == pytest.approx(100 * (1 - fraction), rel=0.25, abs=1e-6)


@pytest.mark.parametrize("processes", [2, 3, 64])
def test_every_process_has_cores_of_its_own_as_far_as_there_are(processes: int) -> None:
    shares = workers.share_cores(processes)
    assert len(shares) == processes
    assert all(shares)
    assert {core for share in shares for core in share} == os.sched_getaffinity(0)
    assert workers.share_cores(1) == [()]


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
        (["{here}/sub/a.mp3"], 2, "would both become"),
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


def test_a_dry_run_writes_nothing_and_predicts_the_time(
    preset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_noise(tmp_path / "a.wav", 90, 8_000, 1)
    (tmp_path / "b.wav").touch()
    arguments = ["separate", str(tmp_path), "-o", str(tmp_path / "out"), "--preset", str(preset), "--dry-run"]
    assert main([*arguments, "--stems", "vocals"]) == 1
    said = capsys.readouterr()
    assert f"a.wav (1:30, 8000 Hz, mono, libsndfile)\n  -> {tmp_path}/out/a/vocals.wav" in said.out
    assert re.search(r"1 to separate, 1:30 of audio: about \d+:\d\d on this machine", said.out)
    assert "would fail: " in said.err
    assert names(tmp_path) == ["a.wav", "b.wav"]


def test_fast_and_wanted_stems_decide_which_models_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_noise(tmp_path / "a.wav")
    chosen: list[ModelChoice] = []

    def spied(choice: ModelChoice) -> StreamingModel:
        chosen.append(choice)
        return separate.open_model(choice)

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
    seconds = [separate.open_model(choice).work(44_100) for choice in chosen]
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


def test_a_model_that_cannot_be_made_ends_the_run(
    preset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_noise(tmp_path / "a.wav")
    out = tmp_path / "out"
    arguments = ["separate", str(source), "-o", str(out), "--preset", str(preset), "--device", "cuda:9"]
    assert main(arguments) == 1
    assert "found 'cuda:9'" in capsys.readouterr().err
    assert not out.exists()


def wait_for(condition: str, process: "subprocess.Popen[str]", folder: Path) -> None:
    deadline = time.monotonic() + 120
    while not any(folder.rglob(condition)):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


def running_in_group(group: int) -> list[str]:
    """The processes of a group that are no zombies, by /proc (man 5 proc: state and group follow the name)."""
    running = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, _, found = path.read_text().rpartition(")")[2].split()[:3]
            if int(found) == group and state != "Z":
                running.append(path.parent.name)
    return running


@pytest.mark.slow
def test_ctrl_c_stops_at_once_and_leaves_finished_files_only(preset: Path, tmp_path: Path) -> None:
    recordings = [write_noise(tmp_path / "a.wav", 0.2), write_noise(tmp_path / "b.wav", 3_600.0, 8_000, 1)]
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "my_submission", "separate", *recordings, "-o", out, "--preset", preset],
        start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for("b/.bass.wav.*.part", process, out)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert time.monotonic() - began < 20  # milliseconds, but for a machine that is busy
    assert process.returncode == 130
    assert error.splitlines()[-1] == "interrupted; finished files are kept, and --resume continues from here"
    assert names(out) == [
        ".separated.jsonl",
        *(f"a/{stem}.wav" for stem in ("bass", "drums", "other", "vocals")),
    ]
    assert not (out / "b").exists()
    while running_in_group(process.pid):  # multiprocessing's own helper leaves a moment later
        assert time.monotonic() - began < 60
        time.sleep(0.05)


@pytest.mark.slow
def test_a_child_that_dies_fails_its_recording_only(preset: Path, tmp_path: Path) -> None:
    long, short = (
        write_noise(tmp_path / "long.wav", 600.0, 8_000, 1),
        write_noise(tmp_path / "short.wav", 0.2),
    )
    settings = workers.RunSettings(
        ModelChoice(str(preset), "cpu"), FileOptions(("bass",)), ("bass",), tmp_path
    )
    outcomes = []
    for event in workers.separate_all([Recording(long), Recording(short)], settings, 1):
        if isinstance(event, workers.Started) and event.recording.source == long:
            (child,) = multiprocessing.active_children()
            part = temporary_path(tmp_path / "long" / "bass.wav", str(child.pid))
            while not part.exists():
                time.sleep(0.02)
            child.kill()
        elif isinstance(event, workers.Finished | workers.Failed):
            outcomes.append(event)
    failed, finished = outcomes
    assert isinstance(failed, workers.Failed)
    assert "was killed by the system, probably because memory ran out" in failed.reason
    assert isinstance(finished, workers.Finished)
    assert names(tmp_path) == [".separated.jsonl", "long.wav", "short.wav", "short/bass.wav"]
    assert not (tmp_path / "long").exists()


def test_a_memory_budget_is_for_all_jobs_together(
    preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[workers.RunSettings] = []

    def no_events(
        recordings: object, settings: workers.RunSettings, processes: int
    ) -> Generator[workers.Event]:
        given.append(settings)
        yield from ()

    monkeypatch.setattr(cli, "separate_all", no_events)
    song = write_noise(tmp_path / "song.wav")
    command = ["separate", "--preset", str(preset), str(song), "-o", str(tmp_path / "stems")]
    main([*command, "--memory-budget", "3", "--jobs", "2"])
    assert [settings.model.memory_budget for settings in given] == [3 << 29]


@pytest.mark.parametrize("size", ["0", "-1", "much", "inf", "nan"])
def test_a_memory_budget_is_a_number_of_gibibytes(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["separate", "song.wav", f"--memory-budget={size}"])
    assert f"expected a number of GiB, for example 4, found '{size}'" in capsys.readouterr().err


def test_too_small_a_memory_budget_is_one_sentence(preset: Path) -> None:
    """Which the command prints as it does whatever else keeps a model from being made."""
    with pytest.raises(ValueError, match=r"^memory_budget: expected at least .* GiB .*$"):
        separate.open_model(ModelChoice(str(preset), "cpu", memory_budget=10 << 20))
