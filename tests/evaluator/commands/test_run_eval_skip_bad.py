"""`--skip-bad`: a track that cannot be used is named, and the score says that it is of fewer."""

import json
from pathlib import Path

import pytest
import soundfile

from evaluator.challenge import MUSIC
from evaluator.commands import evaluate
from evaluator.runs import results
from tests.evaluator import audio


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Three tracks, one of them damaged, and estimates of all."""
    monkeypatch.setenv("SDX_LEADERBOARD", str(tmp_path / "board.sqlite"))
    data = audio.write_music(tmp_path / "data", {"a": 3000, "b": 3000, "c": 3000})
    for track in "abc":
        stems = {stem: 0.9 * soundfile.read(data / track / f"{stem}.wav")[0] for stem in MUSIC.stems}
        audio.write_track(tmp_path / "given" / track, stems)
    (data / "b" / "drums.wav").write_bytes(b"no sound")
    return data, tmp_path / "given"


def test_without_it_nothing_runs_and_the_way_out_is_named(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data, given = folders
    assert evaluate.main(["--data", str(data), "--predictions", str(given)]) == 2
    said = capsys.readouterr().err
    assert "b/drums.wav: cannot be read as audio" in said
    assert "leave out 1 track with --skip-bad" in said


@pytest.mark.thorough
def test_the_score_is_marked_everywhere(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, given = folders
    out = tmp_path / "out"
    options = ["--data", str(data), "--predictions", str(given), "--skip-bad", "--out", str(out), "--report"]
    assert evaluate.main(options) == 0
    said = capsys.readouterr().out
    assert "score of 2 of 3" in said
    assert "1 of 3 tracks was left out, since it cannot be used: b (b/drums.wav: cannot be read" in said
    assert "compare the score with others of these tracks only" in said
    item = json.loads((out / "result.json").read_text())
    assert [each["name"] for each in item["data"]["left_out"]] == ["b"]
    assert item["data"]["number"] == 2
    assert set(item["data"]["tracks"]) == {"a", "c"}
    assert results.read(out / "result.json").to_json() == item
    page = (out / "report.html").read_text()
    assert "1 left out as unusable: b" in page
    assert "b/drums.wav: cannot be read as audio" in page


def test_it_changes_nothing_where_all_is_well(folders: tuple[Path, Path], tmp_path: Path) -> None:
    data, given = folders
    soundfile.write(data / "b" / "drums.wav", soundfile.read(data / "b" / "bass.wav")[0], 44100)
    hashes = []
    for options in ([], ["--skip-bad"]):
        out = tmp_path / f"out{len(options)}"
        assert (
            evaluate.main(["--data", str(data), "--predictions", str(given), "--out", str(out), *options])
            == 0
        )
        hashes.append(results.read(out / "result.json").plan.data)
    assert hashes[0] == hashes[1]
