"""`run_eval.py --submissions`: one after the other, each a run of its own, whatever becomes of the others."""

import json
from pathlib import Path

import pytest

from evaluator.commands import evaluate_several
from evaluator.running.options import Options, UsageError
from evaluator.runs.labels import Label
from evaluator.runs.leaderboard import Store
from tests.evaluator import audio
from tests.evaluator.run_eval_here import run_eval_here
from tests.evaluator.submissions import TRAP_FRAMES, write_submission


def arguments(tmp_path: Path, *more: str) -> list[str]:
    return [
        *("--submissions", str(tmp_path / "class"), "--data", str(tmp_path / "data")),
        *("--out", str(tmp_path / "out"), "--time-factor", "600", *more),
    ]


@pytest.mark.slow
def test_each_is_a_run_of_its_own_and_a_failing_one_stops_nobody(tmp_path: Path) -> None:
    audio.write_music(tmp_path / "data", {"a": 20000, "trap": TRAP_FRAMES})
    for name in ("raises", "scaled_mixture", "perfect"):
        write_submission(tmp_path / "class", name)
    (tmp_path / "class" / "notes").mkdir()
    (tmp_path / "class" / ".git").mkdir()
    (tmp_path / "class" / "readme.txt").touch()
    before = {entry.id for entry in Store().entries()}
    done = run_eval_here(arguments(tmp_path))
    assert done.returncode == 1
    table = done.stdout.rpartition("\n\n")[2].splitlines()
    expected = [("perfect", "ok"), ("scaled_mixture", "ok"), ("notes", "not"), ("raises", "failed")]
    assert [tuple(line.split()[:2]) for line in table[1:]] == expected, "best first, then by name"
    assert "user_config.py: not found" in table[3]
    assert "1 of 2" in table[4]
    assert "trap: " in table[4]
    kept = {path.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("out/*/result.json")}
    assert {name: result["status"] for name, result in kept.items()} == {
        "perfect": "ok",
        "scaled_mixture": "ok",
        "raises": "failed",
    }
    assert f"{kept['perfect']['score']['mean']:.3f}" in table[1]
    assert (tmp_path / "out" / "perfect" / "estimates" / "a" / "bass.wav").is_file(), (
        "so that they can be sent on"
    )
    recorded = {entry.id for entry in Store().entries()}
    assert len(recorded - before) == 3

    again = run_eval_here(arguments(tmp_path, "--resume"))
    assert again.returncode == 1
    assert again.stdout.rpartition("\n\n")[2].splitlines() == table
    assert {entry.id for entry in Store().entries()} == recorded, "what was finished was not run again"


def test_an_interruption_stops_the_rest(tmp_path: Path) -> None:
    asked = []

    def one(options: Options) -> int:
        asked.append(options.submission.name)
        assert options.label == Label(options.submission.name, None, ("class of 2026",))  # as its folder
        return 130

    for name in ("b", "a"):
        (tmp_path / "class" / name).mkdir(parents=True)
    options = Options(tmp_path, out=tmp_path / "out", label=Label(tags=("class of 2026",)))
    code = evaluate_several.run(tmp_path / "class", options, one)
    assert (code, asked) == (130, ["a"])


@pytest.mark.parametrize(
    ("folder", "out", "expected"),
    [
        ("class", None, "needs --out DIR"),
        ("class", "class/out", "choose another"),
        ("empty", "out", "no folder in it"),
        ("nowhere", "out", "cannot be read"),
    ],
)
def test_what_cannot_be_begun(tmp_path: Path, folder: str, out: str | None, expected: str) -> None:
    (tmp_path / "class" / "a").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    options = Options(tmp_path, out=None if out is None else tmp_path / out)
    with pytest.raises(UsageError, match=expected):
        evaluate_several.run(tmp_path / folder, options, lambda each: 0)


def test_one_file_cannot_hold_several_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_eval_here(arguments(tmp_path, "--json", str(tmp_path / "result.json")))
