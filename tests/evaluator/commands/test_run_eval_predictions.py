"""`run_eval.py --predictions`: estimates that are there already, from the files to the leaderboard."""

import json
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from evaluator import __main__ as evaluator_main
from evaluator.commands import evaluate
from evaluator.measures.catalogue import MEASURES
from evaluator.runs import results
from evaluator.runs.leaderboard import Store
from tests.evaluator import audio
from tests.evaluator.run_eval_here import run_eval_here
from tests.evaluator.submissions import write_submission

FRAMES = {"a": 20000, "b": 30000}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return audio.write_music(tmp_path / "data", FRAMES)


def write_flat(folder: Path, error: float = 0.01, stems: tuple[str, ...] = ("bass", "vocals")) -> Path:
    """Files of `stems` side by side, as far from their references as the level of `error` says."""
    folder.mkdir()
    for seed, (track, frames) in enumerate(FRAMES.items()):
        for stem in stems:
            estimate = audio.noise(frames, seed=seed) + audio.noise(frames, seed=9, level=error)
            soundfile.write(folder / f"{track}_{stem}.wav", estimate, 44100)
    return folder


def score(given: Path, data: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return run_eval_here(["--predictions", str(given), "--data", str(data), "--out", str(out), *options])


def result_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "result.json").read_text())
    return found


@pytest.mark.thorough
def test_estimates_score_as_those_of_the_run_that_made_them(data: Path, tmp_path: Path) -> None:
    submission = write_submission(tmp_path, "scaled_mixture")
    made, again = tmp_path / "made", tmp_path / "again"
    (tmp_path / "data" / "a").rename(tmp_path / "data" / "trap")
    arguments = ["--submission", str(submission), "--data", str(data), "--out", str(made)]
    assert run_eval_here([*arguments, "--time-factor", "600"]).returncode == 0
    done = score(made, data, again)
    assert done.returncode == 0, done.stderr
    before, after = result_of(made), result_of(again)
    assert after["score"] == before["score"]
    assert [track["sdr"] for track in after["tracks"]] == [track["sdr"] for track in before["tracks"]]
    assert after["data"] == before["data"]


def test_the_record_says_that_nothing_ran(data: Path, tmp_path: Path) -> None:
    done = score(write_flat(tmp_path / "given"), data, tmp_path / "out", "--json", str(tmp_path / "x.json"))
    assert done.returncode == 0, done.stderr
    found = result_of(tmp_path / "out")
    assert json.loads((tmp_path / "x.json").read_text()) == found
    assert (found["status"], found["track"], found["runner"]) == ("ok", "bass,vocals", "none")
    assert found["submission"] is found["isolation"] is found["setup"] is None
    assert found["predictions"]["path"] == str(tmp_path / "given")
    assert {found["limits"][name] for name in ("time_factor", "setup_seconds", "cpus", "memory_bytes")} == {
        None
    }
    for track in found["tracks"]:
        assert track["seconds"] is track["limit_seconds"] is track["peak_memory_bytes"] is None
    assert results.read(tmp_path / "out" / "result.json").to_json() == found
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["track", "status", "seconds", "allowed", "bass", "vocals", "mean"]
    assert lines[2].split()[:4] == ["a", "ok", "-", "-"]
    assert lines[-1].endswith("estimates were given, so there is nothing to pass.")


@pytest.mark.slow
def test_every_measure_is_in_json_table_and_page(data: Path, tmp_path: Path) -> None:
    names = [name for name in MEASURES if not name.startswith("bss_eval")]
    done = score(
        write_flat(tmp_path / "given"), data, tmp_path / "out", "--metrics", ",".join(names), "--report"
    )
    assert done.returncode == 0, done.stderr
    assert "SDR in dB, higher is better (the challenge's global SDR)." in done.stdout
    found = result_of(tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert found["metrics"] == [name for name in MEASURES if name in names]
    for name in names:
        assert all(track[name].keys() == {"bass", "vocals"} for track in found["tracks"])
        unit, better = MEASURES[name].unit, MEASURES[name].better
        if name != "sdr":
            assert re.search(rf"^{name} +{unit} +{better} +[\d.]+ +[\d.]+ +[\d.]+$", done.stdout, re.M)
        assert name in page
        assert MEASURES[name].words in page


def test_nothing_is_scored_where_anything_does_not_fit(data: Path, tmp_path: Path) -> None:
    given = write_flat(tmp_path / "given")
    soundfile.write(given / "a_bass.wav", audio.noise(20001), 44100)
    (given / "b_vocals.wav").unlink()
    done = score(given, data, tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: the estimates cannot be used:",
        "  a_bass.wav: length in samples 20001, expected 20000",
        "  b_vocals.wav: missing (or the same as .flac)",
    ]
    assert not (tmp_path / "out").exists()


def test_a_track_with_samples_that_are_none_fails_alone(data: Path, tmp_path: Path) -> None:
    given = write_flat(tmp_path / "given")
    broken = audio.noise(20000)
    broken[7, 1] = np.nan
    soundfile.write(given / "a_bass.wav", broken, 44100, subtype="FLOAT")
    done = score(given, data, tmp_path / "out")
    assert done.returncode == 1
    assert "a: invalid_output, bass: NaN or infinite samples" in done.stderr
    assert [track["status"] for track in result_of(tmp_path / "out")["tracks"]] == ["invalid_output", "ok"]
    assert done.stdout.splitlines()[-1] == "1 of 2 tracks failed: a (invalid_output)."


def test_the_files_stay_and_copies_are_kept_with_out_alone(data: Path, tmp_path: Path) -> None:
    given = write_flat(tmp_path / "given")
    before = {path: path.read_bytes() for path in given.iterdir()}
    score(given, data, tmp_path / "out")
    assert {path: path.read_bytes() for path in given.iterdir()} == before
    assert sorted(os.listdir(tmp_path / "out" / "estimates" / "a")) == ["bass.wav", "vocals.wav"]


@pytest.mark.parametrize("inside", ["", "estimates", "estimates/a"])
def test_copies_never_replace_what_they_are_made_of(data: Path, tmp_path: Path, inside: str) -> None:
    out = tmp_path / "out"
    score(write_flat(tmp_path / "given"), data, out)
    done = score(out / inside, data, out)
    assert done.returncode == 2
    assert inside == "estimates/a" or "name another folder" in done.stderr
    assert (out / "estimates" / "a" / "bass.wav").exists()


def test_resuming_asks_for_the_same_files(data: Path, tmp_path: Path) -> None:
    given, out = write_flat(tmp_path / "given"), tmp_path / "out"
    score(given, data, out)
    whole = result_of(out)
    run = results.read(out / "result.json")
    results.write(out / "result.json", replace(run, tracks=run.tracks[:1]).to_json())
    assert score(given, data, out, "--resume").returncode == 0
    assert result_of(out)["tracks"] == whole["tracks"]
    soundfile.write(given / "b_bass.wav", audio.noise(30000, seed=5), 44100)
    refused = score(given, data, out, "--resume")
    assert refused.returncode == 2
    assert "made with other settings (predictions.files_sha256: " in refused.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "mdx-demo"], "--predictions runs nothing, so --preset cannot be given with it"),
        (["--fit", "--jobs", "2"], "--predictions runs nothing, so --fit, --jobs cannot be given with it"),
        (["--submission", "x"], "not allowed with argument"),
        (["--stems", "guitar"], "--stems guitar, but"),
        (["--only", "z*"], "no track matches --only 'z*'"),
        (["--data", "/nowhere"], "/nowhere: not a folder"),
        (["--predictions", "/nowhere"], "/nowhere: not a folder"),
    ],
)
def test_wrong_usage(
    data: Path, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = write_flat(tmp_path / "given")
    try:
        code = evaluate.main(["--predictions", str(given), "--data", str(data), *options])
    except SystemExit as exit_of_argparse:
        code = int(str(exit_of_argparse.code))
    assert code == 2
    assert message in capsys.readouterr().err


def test_the_demo_is_the_data_where_none_is_named(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    for name, stems in (("song_1", ("vocals",)), ("scene_1", ("dialog",))):
        for stem in stems:
            soundfile.write(given / f"{name}_{stem}.wav", np.zeros((10, 2)), 44100)
        done = run_eval_here(["--predictions", str(given), "--only", name])
        assert f"{name}_{stems[0]}.wav: length in samples 10, expected" in done.stderr, done.stderr
        (given / f"{name}_{stem}.wav").unlink()


def evaluator_says(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert evaluator_main.main(list(arguments)) == 0
    return capsys.readouterr().out


def test_compare_baseline_gate_and_leaderboard_take_such_runs(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    better, worse = write_flat(tmp_path / "better", 0.005), write_flat(tmp_path / "worse", 0.01)
    for given in (better, worse):
        score(given, data, tmp_path / f"out-{given.name}")
    ids = {entry.result.name: entry.short_id for entry in Store().entries()}
    file = tmp_path / "baseline.json"
    assert "B - A" in evaluator_says(capsys, "compare", ids["worse"], ids["better"])
    evaluator_says(capsys, "baseline", "save", ids["better"], str(file))
    assert "estimates better" in evaluator_says(capsys, "baseline", "show", str(file))
    assert str(tmp_path) not in file.read_text()
    assert score(better, data, tmp_path / "x", "--check", str(file)).returncode == 0
    fallen = score(worse, data, tmp_path / "x", "--check", str(file))
    assert fallen.returncode == 1
    assert "REGRESSION" in fallen.stdout
    board = evaluator_says(capsys, "leaderboard", "--stems", "bass,vocals")
    assert board.index(" better ") < board.index(" worse ")
    shown = evaluator_says(capsys, "leaderboard", "show", ids["better"])
    assert f"--predictions {better} --stems bass,vocals" in shown
    assert "would pass" not in shown
    for form in ("--csv", "--json", "--html"):
        assert "better" in evaluator_says(capsys, "leaderboard", form)
    export = tmp_path / "export.json"
    evaluator_says(capsys, "leaderboard", "export", str(export))
    assert "there already" in evaluator_says(capsys, "leaderboard", "import", str(export))
