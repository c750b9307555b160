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
    (tmp_path / "result.json").write_text("{}")
    run_folder.clear(tmp_path)
    assert not list(tmp_path.iterdir())
