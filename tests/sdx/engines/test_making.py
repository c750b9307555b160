"""Files that workers make in one shared folder: complete, once, and by those alone who see it."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdx.engines import address, making
from sdx.engines.dispatcher import Piece
from sdx.engines.engine import EngineError, Refused, Worker
from sdx.engines.held import UnfitError
from sdx.engines.making import Failed, Watcher
from sdx.engines.work import MOST_ATTEMPTS, NobodyLeftError, Task
from tests.sdx.engines.test_work import MadeEngine

pytestmark = pytest.mark.quick

HERE = address.parse("local?workers=1")


class Seen(Watcher):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.results: dict[str, Any] = {}
        self.failures: dict[str, str] = {}
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def began(self, key: str) -> None:
        self.begun.append(key)

    def made(self, key: str, value: Any) -> None:
        assert key not in self.results
        self.results[key] = value

    def failed(self, key: str, reason: str) -> None:
        self.failures[key] = reason


def does(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
    """What a worker does that sees the folder."""
    try:
        outcome = piece.function(*piece.arguments)
    except Exception as error:
        outcome = error
    engine._done(worker.name, piece, outcome)


def make_all(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    function: Callable[[str], Any],
    fate: Callable[[MadeEngine, Worker, Piece], None] = does,
    workers: tuple[Worker, ...] = (Worker("w1", "one"), Worker("w2", "two")),
) -> Seen:
    monkeypatch.setattr(making, "open_engine", lambda *given: MadeEngine(fate, workers))
    monkeypatch.setattr("sdx.engines.work.LOOK_SECONDS", 0.0)
    monkeypatch.setattr("sdx.engines.work.NEWCOMER_SECONDS", 0.0)
    seen = Seen()
    making.make_all(HERE, folder, function, [Task(key, (key,)) for key in "abc"], seen)
    return seen


def test_every_piece_is_made_or_has_failed_and_the_folder_is_left_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(key: str) -> str | Failed:
        if key == "b":
            return Failed("b cannot be read")
        (tmp_path / key).touch()
        return key.upper()

    seen = make_all(monkeypatch, tmp_path, make)
    assert seen.results == {"a": "A", "c": "C"}
    assert seen.failures == {"b": "b cannot be read"}
    assert sorted(seen.begun) == ["a", "b", "c"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c"]


def test_what_raises_everywhere_is_given_up_and_its_reason_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(key: str) -> str:
        if key == "b":
            raise ValueError("no such thing")
        return key

    seen = make_all(monkeypatch, tmp_path, make)
    assert sorted(seen.results) == ["a", "c"]
    assert f"{MOST_ATTEMPTS} attempts" in seen.failures["b"]
    assert "ValueError: no such thing" in seen.failures["b"]
    assert "ended" not in seen.failures["b"], "no worker did"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "full"), "has a full disk"),
        (PermissionError(errno.EACCES, "no", "place"), "has no permission: place"),
        (UnfitError("has another recording"), "has another recording"),
    ],
)
def test_a_worker_that_cannot_do_any_is_set_aside_and_the_others_go_on(
    error: Exception, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fate(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        if worker.name == "w1":
            mark, _, arguments = piece.arguments

            def fails(key: str) -> None:
                raise error

            found = making._in_folder(mark, fails, arguments)
            assert isinstance(found, Refused)
            engine._done(worker.name, piece, found)
        else:
            does(engine, worker, piece)

    seen = make_all(monkeypatch, tmp_path, str.upper, fate)
    assert sorted(seen.results) == ["a", "b", "c"]
    assert any(f"one {words}" in notice for notice in seen.notices)


def test_a_worker_that_does_not_see_the_folder_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def fate(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        _, function, arguments = piece.arguments
        elsewhere = tmp_path / "elsewhere" / "mark"
        engine._done(worker.name, piece, making._in_folder(str(elsewhere), function, arguments))

    with pytest.raises(NobodyLeftError, match="choose a folder that all machines share"):
        make_all(monkeypatch, tmp_path, made.append, fate, (Worker("w1", "one"),))
    assert not made
    assert not list(tmp_path.iterdir())


def test_without_work_no_engine_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise EngineError("nobody answers")

    monkeypatch.setattr(making, "open_engine", refuse)
    making.make_all(HERE, tmp_path, str.upper, [], Seen())
    with pytest.raises(EngineError):
        making.make_all(HERE, tmp_path, str.upper, [Task("a", ("a",))], Seen())
