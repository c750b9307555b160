"""Output of a submission: in order, cut in the middle, split by piece of work."""

import os
import threading

import pytest

from evaluator.isolation.output_log import HEAD_BYTES, TAIL_BYTES, OutputLog, last_lines


def test_output_is_split_where_it_is_taken() -> None:
    reading, writing = os.pipe()
    log = OutputLog(reading)
    os.write(writing, b"first\n")
    assert log.take() == "first\n"
    os.write(writing, b"second\n")
    os.close(writing)
    log.close()
    assert log.take() == "second\n"
    assert log.take() == ""


def test_nothing_that_was_printed_is_missed() -> None:
    """What is between the pipe and the log at the moment of `take` belongs to it, too."""
    reading, writing = os.pipe()
    log = OutputLog(reading)
    for number in range(300):
        os.write(writing, f"{number}\n".encode())
        assert log.take() == f"{number}\n"
    os.close(writing)


@pytest.mark.thorough
def test_the_beginning_and_the_end_of_much_output_are_kept() -> None:
    reading, writing = os.pipe()
    log = OutputLog(reading)

    def write() -> None:
        for number in range(200_000):
            os.write(writing, f"{number:07d}\n".encode())
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    writer.join()
    log.close()
    lines = log.take().splitlines()
    gap = next(index for index, line in enumerate(lines) if "bytes left out" in line)
    left_out = 200_000 * 8 - HEAD_BYTES - TAIL_BYTES
    assert lines[0] == "0000000"
    assert lines[gap] == f"[… {left_out} bytes left out …]"
    assert lines[gap - 2] == f"{HEAD_BYTES // 8 - 1:07d}"
    assert lines[-1] == "0199999"


def test_output_that_is_no_text_is_kept_readable() -> None:
    reading, writing = os.pipe()
    log = OutputLog(reading)
    os.write(writing, b"\xff\xfe ok")
    os.close(writing)
    log.close()
    assert log.take() == "\\xff\\xfe ok"


def test_last_lines_leave_out_empty_ones() -> None:
    assert last_lines("a\n\nb\nc\n\n", 2) == ["b", "c"]
    assert last_lines("", 2) == []
