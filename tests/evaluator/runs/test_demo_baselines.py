"""The demo's scores are those of the committed baselines: no change moves them unseen, up or down."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evaluator.runs import baseline, run_scores

ROOT = Path(__file__).parents[3]
TOLERANCE_DB = 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("track", "preset"), [("music", "mdx-demo"), ("cinematic", "cdx-demo")])
def test_demo_scores_are_those_of_the_baseline(track: str, preset: str, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    command = [sys.executable, "run_eval.py", "--track", track, "--preset", preset, "--json", str(result)]
    command += ["--time-factor", "20"]  # a busy machine moves no score
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    expected, found = (
        run_scores.of_result(baseline.read(ROOT / "evaluator" / "baselines" / f"{preset}.json"), "baseline"),
        run_scores.of_result(baseline.read(result), "this run"),
    )
    assert found.data_hash == expected.data_hash
    assert found.tracks.keys() == expected.tracks.keys()
    for name, scores in expected.tracks.items():
        for stem, value in scores.sdr.items():
            assert found.tracks[name].sdr[stem] == pytest.approx(value, abs=TOLERANCE_DB), f"{name}, {stem}"


@pytest.mark.parametrize("preset", ["mdx-demo", "cdx-demo"])
def test_the_demos_page_has_the_baselines_scores(preset: str) -> None:
    score = json.loads((ROOT / "evaluator" / "baselines" / f"{preset}.json").read_text())["score"]
    stems = sorted(stem for stem in score if stem != "mean")
    cells = [f"`{preset}`", *(f"{score[stem]:.2f}" for stem in [*stems, "mean"])]
    page = (ROOT / "local_data" / "demo" / "README.md").read_text(encoding="utf-8")
    assert f"| {' | '.join(cells)} |" in page


def fitted(factor: float, folder: Path) -> dict[str, Any]:
    """The result of a demo song under a time limit that the submission plans to fit."""
    result = folder / f"{factor}.json"
    command = [
        sys.executable, "run_eval.py", "--preset", "mdx-demo", "--only", "song_1", "--fit", "--time-factor",
        str(factor), "--json", str(result), "--out", str(folder / str(factor)),
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    item: dict[str, Any] = json.loads(result.read_text())
    return item


@pytest.mark.slow
def test_no_demo_track_is_late_unless_even_the_cheapest_plan_is(tmp_path: Path) -> None:
    """Limits from what the whole preset needs here and now with room to spare, to what nothing can keep."""
    generous = fitted(20.0, tmp_path)
    assert [track["economies"] for track in generous["tracks"]] == [[]]
    assert generous["status"] == "ok"
    need = max(track["seconds"] / track["audio_seconds"] for track in generous["tracks"])
    for share in (0.8, 0.5):
        item = fitted(round(share * need, 3), tmp_path)
        for track in item["tracks"]:
            in_time = (
                track["seconds"] <= track["limit_seconds"]
            )  # a machine that has become quicker needs none
            assert track["economies"] or in_time
            log = (tmp_path / f"{round(share * need, 3)}" / "logs" / f"{track['name']}.log").read_text()
            assert track["status"] == "ok" or "the limit may be missed" in log
    hopeless = fitted(round(0.001 * need, 5), tmp_path)
    assert {track["status"] for track in hopeless["tracks"]} == {"timeout"}
