"""Children that start before there is work for them."""

import multiprocessing
import signal
import threading
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from my_submission.__main__ import main
from my_submission.files import children
from my_submission.files.asked import Asked
from my_submission.files.children import Child, one_ahead, take_child


@pytest.fixture
def torch_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has only just begun."""
    monkeypatch.setattr(children, "has_torch", lambda: False)


@pytest.mark.usefixtures("torch_is_not_here")
def test_the_child_that_went_ahead_is_the_first_to_be_taken() -> None:
    taken: list[Child] = []
    try:
        with one_ahead():
            (ahead,) = multiprocessing.active_children()
            taken += [take_child(), take_child()]
            assert taken[0].process is ahead
            assert taken[1].process is not ahead
        assert all(child.process.is_alive() for child in taken)
    finally:
        for child in taken:
            child.kill()
    assert multiprocessing.active_children() == []


@pytest.mark.usefixtures("torch_is_not_here")
def test_a_child_that_nobody_takes_ends_whatever_happens() -> None:
    def fail() -> None:
        with one_ahead():
            assert len(multiprocessing.active_children()) == 1
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert multiprocessing.active_children() == []


@pytest.mark.usefixtures("torch_is_not_here")
def test_an_interrupt_while_a_child_starts_comes_once_it_has_and_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also while the first one does, when multiprocessing starts its own process first, and unblocks signals."""
    start = SpawnProcess.start
    begun: list[int | None] = []

    def interrupted(process: SpawnProcess) -> None:
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        start(process)
        begun.append(process.pid)

    monkeypatch.setattr(SpawnProcess, "start", interrupted)
    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt), one_ahead():
        pytest.fail("it went on")
    assert len(begun) == 1
    assert multiprocessing.active_children() == []


def test_none_goes_ahead_where_there_is_nothing_to_gain() -> None:
    import torch  # noqa: F401  # so that it is here, whichever tests ran before

    with one_ahead():
        assert multiprocessing.active_children() == []


@pytest.mark.usefixtures("torch_is_not_here")
@pytest.mark.parametrize(
    ("words", "begun"),
    [
        pytest.param(["--list"], 0, marks=pytest.mark.thorough),
        (["absent.wav", "--dry-run"], 0),
        (["absent.wav", "--engine", "local?workers=1"], 0),
        (["absent.wav", "--preset", "no such preset"], 1),
    ],
    ids=str,
)
def test_only_what_separates_here_begins_one(
    words: list[str], begun: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Child] = []

    class Counted(Child):
        def __init__(self, asked: Asked | None = None) -> None:
            super().__init__(asked)
            started.append(self)

    monkeypatch.setattr(children, "Child", Counted)
    monkeypatch.chdir(tmp_path)
    main(["separate", *words])
    assert len(started) == begun
    assert multiprocessing.active_children() == []
