"""What the supervisor takes for the worker's answer to a request."""

import os
import queue
import threading
from collections.abc import Iterator

import pytest

from evaluator.isolation.supervisor import CAN_WAIT, LINE_BYTES, Heard, Inbox
from tests.thinned import one_in
from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(not CAN_WAIT, reason="nobody can see there whether a pipe is empty")


@pytest.fixture
def heard() -> Iterator[tuple[int, Heard, Inbox]]:
    """The end of a pipe that a worker would write to, and who listens."""
    read, write = os.pipe()
    inbox: Inbox = queue.SimpleQueue()
    listener = Heard(read, inbox)
    thread = threading.Thread(target=listener.read)
    thread.start()
    yield write, listener, inbox
    os.close(write)
    thread.join()
    os.close(read)


@pytest.mark.parametrize("turns", one_in(2, [40, 200]))
def test_what_was_said_before_a_request_is_no_part_of_its_answer(
    heard: tuple[int, Heard, Inbox], turns: int
) -> None:
    """Neither lines that were not looked at, nor those in the pipe, nor half of one."""
    write, listener, inbox = heard
    for turn in range(1, turns):
        os.write(write, b"old\n" * 1000 + b"half of a line")
        if turn % 10 == 0:  # it was all read, too
            wait_for(lambda: listener._unended == b"half of a line")
        listener.drop()
        assert listener.turn == turn
        os.write(write, b"new\n")
        said = []
        while b"new\n" not in said:
            of, line = inbox.get(timeout=60)
            if of == turn:
                said.append(line)
        assert said == [b"new\n"]


def test_lines_are_whole_and_what_is_longer_comes_in_pieces(heard: tuple[int, Heard, Inbox]) -> None:
    write, _, inbox = heard
    lines = [b"\n", b"x" * (LINE_BYTES - 1) + b"\n", b"a\n", b"y" * (2 * LINE_BYTES + 5) + b"\n", b"b\n"]
    writing = threading.Thread(target=lambda: [os.write(write, line) for line in lines])
    writing.start()
    found = [inbox.get(timeout=60)[1] for _ in range(7)]
    writing.join()
    assert found == [*lines[:3], b"y" * LINE_BYTES, b"y" * LINE_BYTES, b"y" * 5 + b"\n", b"b\n"]
