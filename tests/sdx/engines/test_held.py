"""What a worker keeps between pieces of work: one thing, and nothing after an error."""

import errno
from collections.abc import Callable

import pytest

from sdx.engines import held as held_module
from sdx.engines.engine import Refused
from sdx.engines.held import EndedError, Held, UnfitError, call_for, end_of

pytestmark = pytest.mark.quick


class Thing:
    """Notes what becomes of it."""

    def __init__(self) -> None:
        self.is_open, self.is_cancelled = True, False

    def cancel(self) -> None:
        self.is_cancelled = True

    def close(self) -> None:
        self.is_open = False


def raising(error: BaseException) -> Callable[[Thing], str]:
    """A piece of work that comes to this."""

    def work(thing: Thing) -> str:
        raise error

    return work


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    """That of a worker of its own."""
    monkeypatch.setattr(held_module, "HELD", Held())
    return held_module.HELD


def use(held: Held, key: object, seen: list[Thing], is_kept: bool = True) -> None:
    def work(thing: Thing) -> str:
        assert thing.is_open
        seen.append(thing)
        return "done"

    assert held.use(key, Thing, work, lambda answer: is_kept) == "done"


def test_the_same_work_finds_it_again_and_other_work_another() -> None:
    held, seen = Held(), list[Thing]()
    for key in ("a", "a", "b", "a"):
        use(held, key, seen)
    assert seen[0] is seen[1]
    assert [thing.is_open for thing in seen] == [False, False, False, True]
    held.let_go()
    assert not seen[3].is_open
    use(held, "a", seen, is_kept=False)
    assert not seen[-1].is_open


def test_after_an_error_nothing_is_kept() -> None:
    held, seen = Held(), list[Thing]()
    for error, words in (
        (UnfitError("has other data"), "has other data"),
        (OSError(errno.ENOSPC, "full", "/x"), "has a full disk at /x"),
    ):
        use(held, "a", seen)
        assert held.use("a", Thing, raising(error), lambda _: True) == Refused(words)
        assert not seen[-1].is_open
    use(held, "a", seen)
    with pytest.raises(OSError, match="denied"):
        held.use("a", Thing, raising(OSError(errno.EACCES, "denied")), lambda _: True)
    assert not seen[-1].is_open


def test_what_is_ended_while_it_is_made_does_not_begin(held: Held) -> None:
    made = list[Thing]()

    def make() -> Thing:
        end_of("ours")
        made.append(Thing())
        return made[-1]

    with pytest.raises(EndedError):
        call_for("ours", held.use, "a", make, raising(AssertionError("begun")), lambda _: True)
    assert not made[0].is_open
    call_for("another", use, held, "a", made)


def test_what_is_ended_before_it_comes_does_not_begin_and_others_work_does(held: Held) -> None:
    """The order to end it may be quicker than the work, which waits for others', or imports its modules."""
    seen = list[Thing]()
    end_of("ours")
    with pytest.raises(EndedError):
        call_for("ours", use, held, "a", seen)
    call_for("another", use, held, "a", seen)
    end_of("a third")
    call_for("another", use, held, "a", seen)
    assert seen[0] is seen[1]


def test_ending_reaches_what_is_at_work_for_that_client_alone(held: Held) -> None:
    seen = list[Thing]()

    def work(thing: Thing) -> bool:
        seen.append(thing)
        end_of("another")
        assert not thing.is_cancelled
        end_of("ours")
        held.let_go()  # is at work, so it stays
        return thing.is_cancelled and thing.is_open

    assert call_for("ours", held.use, "a", Thing, work, lambda _: True) is True
    assert not seen[0].is_open, "what was ended is not kept for others"
    call_for("a third", use, held, "a", seen)
