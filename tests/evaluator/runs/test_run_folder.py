"""What a new run removes from the folder that it is kept in."""

from pathlib import Path

import pytest

from evaluator.runs import run_folder
from evaluator.runs.documents import ResultError


@pytest.mark.parametrize("name", ["estimates", "logs"])
def test_only_what_is_of_an_earlier_run_is_removed(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine").write_text("mine")
    with pytest.raises(ResultError, match=rf"{name}: is of no run"):
        run_folder.clear(tmp_path)
    assert (tmp_path / name / "mine").read_text() == "mine"
    (tmp_path / "result.json").write_text('{"schema_version": 0}')
    run_folder.clear(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["{}", "[1]", "not JSON", '{"schema'])
def test_somebody_elses_result_is_left_alone_with_what_is_beside_it(tmp_path: Path, content: str) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "mine").write_text("mine")
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(ResultError, match=r"result\.json: is of no run"):
        run_folder.clear(tmp_path)
    assert (tmp_path / "logs" / "mine").read_text() == "mine"
    assert (tmp_path / "result.json").read_text() == content


def test_a_folder_has_one_run_at_a_time(tmp_path: Path) -> None:
    first, second = run_folder.sole_run(tmp_path), run_folder.sole_run(tmp_path)
    with first, pytest.raises(ResultError, match="another run is writing to this folder"), second:
        pass
    with run_folder.sole_run(tmp_path):
        pass
    assert not list(tmp_path.iterdir())
