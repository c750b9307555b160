"""`run_eval.py --check`, `--report` and the recording of runs, as a user meets them."""

import subprocess
from pathlib import Path

import pytest

from evaluator import __main__
from evaluator.runs import results
from evaluator.runs.leaderboard import Store
from tests.evaluator import audio
from tests.evaluator.run_eval_here import run_eval_here
from tests.evaluator.submissions import TRAP_FRAMES, write_submission

FRAMES = {"one": TRAP_FRAMES, "two": 26000}  # "scaled_mixture" is half of what it should be on the first


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return audio.write_music(tmp_path / "data", FRAMES)


def evaluate(tmp_path: Path, data: Path, name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """The finished command, with the submission `name` of submissions.py."""
    if not (tmp_path / name).exists():
        write_submission(tmp_path, name)
    arguments = ["--submission", str(tmp_path / name), "--data", str(data), "--out", str(tmp_path / "out")]
    return run_eval_here([*arguments, "--time-factor", "60", *options])


def save_baseline(tmp_path: Path) -> Path:
    file = tmp_path / "baseline.json"
    assert __main__.main(["baseline", "save", str(tmp_path / "out"), str(file)]) == 0
    return file


@pytest.mark.thorough
def test_a_run_is_recorded_and_passes_its_own_baseline(tmp_path: Path, data: Path) -> None:
    first = evaluate(tmp_path, data, "perfect", "--report")
    assert first.returncode == 0, first.stderr
    page = tmp_path / "out" / "report.html"
    assert f"Report: {page}" in first.stdout
    assert page.read_text().count('type="application/json"') == 2
    checked = evaluate(tmp_path, data, "perfect", "--check", str(save_baseline(tmp_path)))
    assert checked.returncode == 0, checked.stderr
    assert "No regression against" in checked.stdout
    entries = Store().entries()
    assert len(entries) == 2
    assert entries[1].result == results.read(tmp_path / "out" / "result.json")
    assert f"Recorded as run {entries[1].short_id}" in checked.stderr


@pytest.mark.thorough
def test_a_worse_run_is_stopped_and_a_better_one_praised(tmp_path: Path, data: Path) -> None:
    assert evaluate(tmp_path, data, "perfect").returncode == 0
    high = save_baseline(tmp_path).rename(tmp_path / "high.json")
    worse = evaluate(tmp_path, data, "scaled_mixture", "--check", str(high))
    assert worse.returncode == 1
    assert "REGRESSION against" in worse.stdout
    assert "one         bass" in worse.stdout
    assert "two" not in worse.stdout.partition("Scores that fell")[2]
    better = evaluate(tmp_path, data, "perfect", "--check", str(save_baseline(tmp_path)))
    assert better.returncode == 0
    assert "Scores that rose" in better.stdout


@pytest.mark.thorough
def test_a_baseline_of_other_data_is_refused_before_anything_runs(tmp_path: Path, data: Path) -> None:
    assert evaluate(tmp_path, data, "perfect").returncode == 0
    file = save_baseline(tmp_path)
    other = audio.write_music(tmp_path / "other", {"one": 25000, "two": 26000})
    refused = evaluate(tmp_path, other, "perfect", "--check", str(file))
    assert refused.returncode == 2
    assert "different data" in refused.stderr
    assert len(Store().entries()) == 1


@pytest.mark.thorough
def test_a_store_that_cannot_be_written_does_not_lose_the_run(
    tmp_path: Path, data: Path, leaderboard_file: Path
) -> None:
    leaderboard_file.write_text("not a database" * 100)
    done = evaluate(tmp_path, data, "perfect")
    assert done.returncode == 0
    assert "would have passed" in done.stdout or "score" in done.stdout
    assert "leaderboard import" in done.stderr
