"""What the commands print of names that others gave: none of it acts on a terminal."""

from pathlib import Path

import pytest

from evaluator import __main__
from evaluator.commands import evaluate
from tests.evaluator import audio
from tests.evaluator.submissions import write_submission

EVIL = "\x1b[31m\u202e"
SHOWN = "\\x1b[31m\\u202e"


def test_problems_of_data_with_odd_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audio.write_music(tmp_path / "data", {f"track{EVIL}": 1000, f"other{EVIL}": 1000})
    audio.write_music(tmp_path / "data", {"plain": 1000})
    (tmp_path / "data" / "plain" / "bass.wav").unlink()
    submission = write_submission(tmp_path, "perfect")
    arguments = ["--submission", str(submission), "--data", str(tmp_path / "data"), "--track", "music"]
    assert evaluate.main(arguments) == 2
    said = capsys.readouterr().err
    assert not {c for c in said if not c.isprintable()} - {"\n"}
    assert f"other{SHOWN}: found the character \\x1b, which no name may have" in said
    assert f"track{SHOWN}: found" in said
    assert "plain/bass.wav: missing" in said


def test_errors_that_quote_a_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = tmp_path / f"{EVIL}.json"
    odd.write_text("{")
    assert __main__.main(["leaderboard", "import", str(odd)]) == 2
    said = capsys.readouterr().err
    assert f"{SHOWN}.json: not readable as JSON" in said
    assert not {c for c in said if not c.isprintable()} - {"\n"}
