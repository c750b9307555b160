"""The command as a user starts it: output, exit codes, interruption at any moment, resuming."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluator.commands import evaluate
from evaluator.locations import REPOSITORY
from evaluator.running.preparation import WITHOUT_VARIABLE
from evaluator.runs import results
from tests import thinned
from tests.evaluator import audio, processes
from tests.evaluator.run_eval_here import run_eval_here
from tests.evaluator.submissions import write_submission

TIMES = {"start", "duration_seconds", "seconds", "peak_memory_bytes"}
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


def command(tmp_path: Path, name: str, *options: str) -> list[str]:
    """run_eval.py with the submission `name` on the music data of the tests."""
    if not (tmp_path / "data").exists():
        audio.write_music(tmp_path / "data", {"a": 20000, "trap": 22050, "well": 30000})
    if not (tmp_path / name).exists():
        write_submission(tmp_path, name)
    return [
        sys.executable,
        str(REPOSITORY / "run_eval.py"),
        *("--submission", str(tmp_path / name), "--data", str(tmp_path / "data")),
        *("--out", str(tmp_path / "out"), "--time-factor", "600", *options),
    ]


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """The finished command, in a process of its own."""
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=300)


def run_here(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """The finished command, in this process."""
    return run_eval_here(arguments[2:])


def wait_for_tracks(path: Path, number: int = 1) -> None:
    """Return when that many tracks are recorded in the result file; scoring may lag behind separation."""
    deadline = time.monotonic() + 90
    while len(json.loads(path.read_text())["tracks"]) < number and time.monotonic() < deadline:
        time.sleep(0.02)


def without_times(item: Any) -> Any:
    """A result without what differs between two runs of the same."""
    if isinstance(item, dict):
        return {key: without_times(value) for key, value in item.items() if key not in TIMES}
    return [without_times(value) for value in item] if isinstance(item, list) else item


def test_a_submission_that_passes(tmp_path: Path) -> None:
    done = run(
        command(tmp_path, "perfect", "--json", str(tmp_path / "result.json"), "--metrics", "sdr,si_sdr")
    )
    result = json.loads((tmp_path / "result.json").read_text())
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    columns = "track, status, seconds, allowed, bass, drums, other, vocals, mean, si_sdr, mean"
    assert lines[0].split() == columns.split(", ")
    assert [line.split()[:2] for line in lines[2:5]] == [["a", "ok"], ["trap", "ok"], ["well", "ok"]]
    assert "looser limits" in lines[-1]  # so that a busy machine fails no test
    assert lines[-1].endswith(f" {result['score']['mean']:.3f} dB.")
    assert (result["schema_version"], result["status"], result["track"]) == (1, "ok", "music")
    assert result["worked"] == {"tracks": 3, **result["score"]}
    assert result["tracks"][1]["limit_seconds"] == 300
    assert result["setup"]["wrapper"] == "evaluator"
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == result


def test_a_submission_that_fails(tmp_path: Path) -> None:
    done = run_here(command(tmp_path, "raises"))
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert done.returncode == 1
    assert result["score"] is None
    assert result["worked"]["tracks"] == 2
    assert "\nmean of 2 of 3 " in done.stdout
    assert done.stdout.splitlines()[-1] == (
        "This submission would NOT have passed: 1 of 3 tracks failed: trap (crashed)."
    )
    assert "trap: crashed, RuntimeError: no such luck" in done.stderr
    assert ", in separate_music_file" in done.stderr


@linux
def test_a_folder_whose_name_is_no_text_is_one_sentence(tmp_path: Path) -> None:
    done = run_here(command(tmp_path, "perfect", "--out", str(tmp_path / "caf\udce9")))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("\\udce9, which no name may have; name another folder")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--submission", "/nowhere"], "/nowhere/my_submission/user_config.py: not found"),
        (["--data", "/nowhere"], "/nowhere: not a folder"),
        (["--only", "z*"], "no track matches --only 'z*'"),
        (["--track", "cinematic"], "--challenge cinematic, but"),
        (["--memory", "much"], "much: expected a size such as 512m or 16g"),
        (["--time-factor", "0"], "0: expected a number above 0"),
        (["--cpus", "0"], "0: expected a whole number from 1"),
        (["--metrics", "sdr,pesq"], "pesq: expected one of sdr, si_sdr, bss_eval"),
    ],
)
def test_wrong_usage(
    tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = evaluate.main([*command(tmp_path, "perfect")[2:], *options])
    except SystemExit as exit_of_argparse:
        code = int(str(exit_of_argparse.code))
    assert code == 2
    assert message in capsys.readouterr().err


def test_unusable_data(tmp_path: Path) -> None:
    arguments = command(tmp_path, "perfect")
    (tmp_path / "data" / "a" / "bass.wav").unlink()
    (tmp_path / "data" / "well" / "drums.wav").write_bytes(b"")
    done = run_here(arguments)
    assert done.returncode == 2
    assert "data/a/bass.wav: missing" in done.stderr
    assert "data/well/drums.wav: cannot be read" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words",
    thinned.one_in(
        5,
        [
            ["run_eval.py"],
            ["-m", "my_submission", "separate", "song.wav"],
            ["-m", "evaluator", "leaderboard"],
            ["-m", "training", "fit"],
            ["-m", "sdx", "eval"],
        ],
    ),
)
def test_outside_the_environment_two_lines_say_what_to_do(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-E", *words], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    missing, advice = done.stderr.splitlines()
    assert re.fullmatch(r"error: the package \w+ is missing.", missing)
    assert "`make eval`" in advice
    assert advice.endswith(f"{sys.executable} -m pip install -r {REPOSITORY / 'requirements.txt'}")


@pytest.mark.thorough
def test_no_limits(tmp_path: Path) -> None:
    done = run_here(command(tmp_path, "perfect", "--no-limits"))
    assert done.returncode == 0
    assert "looser limits than the organisers', so this does not show" in done.stdout
    assert json.loads((tmp_path / "out" / "result.json").read_text())["limits"]["time_factor"] is None


@pytest.mark.slow
@linux
@pytest.mark.parametrize(
    ("number", "without"),
    [
        (signal.SIGINT, ""),
        (signal.SIGTERM, "namespaces"),
        (signal.SIGKILL, ""),
        (signal.SIGKILL, "namespaces,cgroup"),
    ],
)
def test_ending_the_evaluator_ends_everything_and_keeps_what_is_done(
    tmp_path: Path, number: int, without: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = f"3601.{os.getpid()}{number}{len(without)}"
    monkeypatch.setenv("SDX_TEST_MARKER", marker)
    monkeypatch.setenv(WITHOUT_VARIABLE, without)
    arguments = command(tmp_path, "sleeps_in_a_grandchild")
    with subprocess.Popen(
        arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as evaluator:
        assert processes.wait_until(marker, present=True)
        wait_for_tracks(tmp_path / "out" / "result.json")
        evaluator.send_signal(number)
        _, errors = evaluator.communicate(timeout=120)
    assert processes.wait_until(marker, present=False)
    assert processes.wait_until(str(tmp_path / "sleeps_in_a_grandchild"), present=False)
    if number != signal.SIGKILL:
        assert evaluator.returncode == 130
        assert "finished tracks are kept" in errors
    kept = json.loads((tmp_path / "out" / "result.json").read_text())
    assert kept["status"] == "incomplete"
    assert [track["name"] for track in kept["tracks"]] == ["a"]


@pytest.mark.slow
def test_several_tracks_at_a_time_give_the_same_result(tmp_path: Path) -> None:
    arguments = command(tmp_path, "raises")
    alone = run_here(arguments)
    whole = json.loads((tmp_path / "out" / "result.json").read_text())
    together = run_here([*arguments, "--jobs", "2"])
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (alone.returncode, together.returncode) == (1, 1)
    failed = "1 of 3 tracks failed: trap (crashed)."
    assert alone.stdout.splitlines()[-1] == f"This submission would NOT have passed: {failed}"
    assert together.stdout.splitlines()[-1] == (
        f"This does not show whether the submission would pass under the organisers' own limits: {failed} "
        f"2 tracks at a time shared the machine and so its limits: confirm the times with --jobs 1."
    )
    assert (whole["jobs"], result["jobs"]) == (1, 2)
    for item in (whole, result):
        del item["jobs"], item["isolation"]
    assert without_times(result) == without_times(whole)
    assert sorted(os.listdir(tmp_path / "out" / "logs")) == ["a.log", "trap.log", "well.log"]


@pytest.mark.slow
@linux
def test_an_interruption_ends_all_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = f"3602.{os.getpid()}"
    monkeypatch.setenv("SDX_TEST_MARKER", marker)
    arguments = [*command(tmp_path, "sleeps_in_a_grandchild"), "--jobs", "2"]
    shutil.copytree(tmp_path / "data" / "trap", tmp_path / "data" / "also a trap")
    with subprocess.Popen(
        arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as evaluator:
        assert processes.wait_until(marker, present=True)
        wait_for_tracks(tmp_path / "out" / "result.json")
        evaluator.send_signal(signal.SIGINT)
        _, errors = evaluator.communicate(timeout=120)
    assert evaluator.returncode == 130, errors
    assert processes.wait_until(marker, present=False)
    assert processes.wait_until(str(tmp_path / "sleeps_in_a_grandchild"), present=False)
    kept = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (kept["status"], [track["name"] for track in kept["tracks"]]) == ("incomplete", ["a"])


@pytest.mark.thorough
def test_a_run_is_not_resumed_with_other_code(tmp_path: Path) -> None:
    arguments = command(tmp_path, "perfect", "--only", "a")
    run_here(arguments)
    config = tmp_path / "perfect" / "my_submission" / "user_config.py"
    config.write_text(config.read_text().replace("/ 4", "/ 5"))
    refused = run_here([*arguments, "--resume"])
    assert refused.returncode == 2
    assert "cannot be resumed, it was made with other settings (submission.files_sha256" in refused.stderr


@pytest.mark.thorough
def test_resuming_gives_the_same_result_as_an_uninterrupted_run(tmp_path: Path) -> None:
    arguments = command(tmp_path, "raises", "--metrics", "sdr,si_sdr")
    out = tmp_path / "out"
    run_here(arguments)
    whole = json.loads((out / "result.json").read_text())
    run = results.read(out / "result.json")
    results.write(out / "result.json", replace(run, tracks=run.tracks[:1]).to_json())
    shutil.rmtree(out / "estimates" / "well")
    resumed = run_here([*arguments, "--resume"])
    again = json.loads((out / "result.json").read_text())
    assert resumed.returncode == 1
    assert without_times(again) == without_times(whole)
    assert again["start"] == whole["start"]
    assert again["tracks"][0] == whole["tracks"][0]  # not run again


@pytest.mark.thorough
def test_a_new_run_replaces_what_an_earlier_one_left(tmp_path: Path) -> None:
    arguments = command(tmp_path, "perfect")
    run_here(arguments)
    before = (tmp_path / "out" / "result.json").stat().st_mtime_ns
    time.sleep(0.01)
    assert run_here([*arguments, "--only", "a"]).returncode == 0
    assert (tmp_path / "out" / "result.json").stat().st_mtime_ns > before
    assert os.listdir(tmp_path / "out" / "estimates") == ["a"]
    assert os.listdir(tmp_path / "out" / "logs") == ["a.log"]


REFUSES = """\
class AIcrowdWrapper:
    def __init__(self, dataset_dir, predictions_dir):
        raise AssertionError("bass, drums, other, vocals, or not at all")
"""


@pytest.mark.slow
def test_stems_of_no_challenge_from_start_to_end(tmp_path: Path) -> None:
    """Each estimate is half of its reference, which is 6.02 dB; the organisers' wrapper would refuse such stems."""
    submission = write_submission(tmp_path, "perfect") / "my_submission"
    config = submission / "user_config.py"
    config.write_text(
        config.read_text().replace('["bass", "drums", "other", "vocals"]', '["vocals", "instrumental"]')
    )
    (submission / "aicrowd_wrapper.py").write_text(REFUSES)
    audio.write_stems(tmp_path / "data", ("instrumental", "vocals"))
    arguments = command(tmp_path, "perfect", "--stems", "vocals,instrumental", "--report")
    done = run(arguments)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (result["track"], result["setup"]["wrapper"]) == ("instrumental,vocals", "evaluator")
    assert result["score"] == pytest.approx(
        {"mean": 6.0206, "instrumental": 6.0206, "vocals": 6.0206}, abs=1e-2
    )
    assert "All tracks were scored: 6.0" in done.stdout
    assert "these stems are no challenge's, so there is nothing to pass" in done.stdout
    page = (tmp_path / "out" / "report.html").read_text()
    assert "stems instrumental, vocals" in page
    assert "Published" not in page
    wrong = run([*arguments, "--stems", "vocals"])
    assert wrong.returncode == 1
    assert "instruments: expected ['vocals'], found ['vocals', 'instrumental']" in wrong.stderr
