"""The demo's scores are those of the committed baselines: no change moves them unseen, up or down."""

import subprocess
import sys
from pathlib import Path

import pytest

from evaluator import baseline

ROOT = Path(__file__).parents[2]
TOLERANCE_DB = 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("track", "preset"), [("music", "mdx-demo"), ("cinematic", "cdx-demo")])
def test_demo_scores_are_those_of_the_baseline(track: str, preset: str, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    command = [sys.executable, "run_eval.py", "--track", track, "--preset", preset, "--json", str(result)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    expected, found = (
        baseline.read(ROOT / "evaluator" / "baselines" / f"{preset}.json"),
        baseline.read(result),
    )
    assert found.data_hash == expected.data_hash
    assert found.tracks.keys() == expected.tracks.keys()
    for name, scores in expected.tracks.items():
        for stem, value in scores.sdr.items():
            assert found.tracks[name].sdr[stem] == pytest.approx(value, abs=TOLERANCE_DB), f"{name}, {stem}"
