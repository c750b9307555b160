"""The engine of this machine, with real children; and a kit without the extra `cluster`."""

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from evaluator.locations import REPOSITORY
from sdx.engines import address, work
from sdx.engines.engine import EngineError, Needs
from sdx.engines.local import LocalEngine
from sdx.engines.opening import open_engine
from tests.sdx.engines.functions import fail_oddly, hold, return_oddly, square_or_die
from tests.sdx.engines.test_work import Notes
from tests.waiting import WAIT_SECONDS, wait_for


def test_children_that_die_are_replaced_and_the_task_that_killed_them_is_named() -> None:
    engine = LocalEngine(1)
    notes = Notes()
    tasks = [work.Task("poison", (-1,)), *(work.Task(f"k{number}", (number,)) for number in range(3))]
    try:
        work.complete(engine, square_or_die, tasks, notes, Needs())
    finally:
        engine.close()
    assert sorted(notes.answers) == [("k0", 0), ("k1", 1), ("k2", 4)]
    assert list(notes.given_up) == ["poison"]


def test_what_cannot_travel_is_named_and_the_child_goes_on() -> None:
    engine = LocalEngine(1)
    try:
        failed = engine.submit(fail_oddly, key="a", needs=Needs())
        unsent, unread = (engine.submit(return_oddly, each, key="b", needs=Needs()) for each in (False, True))
        last = engine.submit(square_or_die, 3, key="c", needs=Needs())
        assert str(failed.exception(WAIT_SECONDS)) == "OddError: no: reason"
        assert "cannot be sent" in str(unsent.exception(WAIT_SECONDS))
        assert isinstance(unread.exception(WAIT_SECONDS), TypeError)
        assert last.result(WAIT_SECONDS).value == 9
    finally:
        engine.close()


@pytest.mark.skipif(sys.platform == "win32", reason="a process that is ended there has no time for anything")
def test_what_is_ended_puts_away_what_it_has_in_hand(tmp_path: Path) -> None:
    file = tmp_path / "held"
    engine = LocalEngine(1)
    try:
        engine.submit(hold, str(file), key="k", needs=Needs())
        wait_for(file.exists, "the file")
    finally:
        engine.close()
    assert not file.exists()


WITHOUT = """
    import importlib.abc, sys

    class Absent(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in ("distributed", "dask", "submitit"):
                raise ModuleNotFoundError(name)

    sys.meta_path.insert(0, Absent())
    sys.path.insert(0, sys.argv.pop(1))
    from evaluator.commands import evaluate
    sys.exit(evaluate.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("engine", "package"), [("dask://127.0.0.1:1", "distributed"), ("slurm://local", "submitit")]
)
def test_without_the_extra_one_sentence_says_what_to_install(
    engine: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"sdx.engines.{engine.split(':')[0]}", raising=False)
    with pytest.raises(EngineError, match=f"{package} is not installed; pip install"):
        open_engine(address.parse(engine), tmp_path, print)


@pytest.mark.slow
def test_everything_of_this_machine_runs_without_the_extra(tmp_path: Path) -> None:
    """In a process that could not import it."""
    command = [sys.executable, "-c", dedent(WITHOUT), str(REPOSITORY), "--engine", "local?workers=1"]
    data = REPOSITORY / "local_data" / "demo" / "music"
    done = subprocess.run(
        [*command, "--data", data, "--only", sorted(each.name for each in data.iterdir())[0], "--no-limits"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "All tracks were scored" in done.stdout
