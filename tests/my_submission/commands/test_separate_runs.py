"""Separating many recordings: time left, cores, memory; what an interrupt or a killed child leaves behind."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from my_submission.__main__ import main
from my_submission.commands import separate as cli
from my_submission.files import workers
from my_submission.files.bars import Pace, duration_text
from my_submission.files.inputs import (
    Recording,
)
from my_submission.files.model import ModelChoice, open_model
from my_submission.files.options import FileOptions
from my_submission.files.placing import temporary_path
from tests.my_submission.commands.recordings import names, write_noise
from tests.my_submission.files_model import write_tiny_preset


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_preset(tmp_path_factory.mktemp("preset"))


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


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
    wait_for("b/.*.part", process, out)
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
        open_model(ModelChoice(str(preset), "cpu", memory_budget=10 << 20))
