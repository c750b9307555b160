"""Workers of one machine: how many there are, and a GPU for each."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdx.engines.slots import GPU_VARIABLE, Slot

pytestmark = pytest.mark.quick


@pytest.fixture
def slots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Slot]]:
    """Three workers of a machine of their own, whose environment names no GPU."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv(GPU_VARIABLE, "to be put back")
    del os.environ[GPU_VARIABLE]
    made = [Slot() for _ in range(3)]
    yield made
    for slot in made:
        slot.close()


def gpu_of(slot: Slot, gpus: int) -> str | None:
    """What a worker in this slot is told of a machine with so many."""
    os.environ.pop(GPU_VARIABLE, None)
    slot.take_a_gpu(gpus)
    return os.environ.get(GPU_VARIABLE)


def test_each_worker_takes_a_gpu_and_they_share_where_there_are_fewer(slots: list[Slot]) -> None:
    assert [gpu_of(slot, 3) for slot in slots] == ["0", "1", "2"]
    assert [gpu_of(slot, 2) for slot in slots] == ["0", "1", "0"]
    assert [gpu_of(slot, gpus) for slot in slots for gpus in (0, 1)] == [None] * 6


def test_a_gpu_that_a_worker_was_started_with_stays(slots: list[Slot]) -> None:
    os.environ[GPU_VARIABLE] = "5"
    slots[1].take_a_gpu(4)
    assert os.environ[GPU_VARIABLE] == "5"


def test_a_number_that_is_let_go_is_taken_again_and_all_are_counted(slots: list[Slot]) -> None:
    assert [slot.number for slot in slots] == [0, 1, 2]
    assert {slot.side_by_side() for slot in slots} == {3}
    slots[1].close()
    assert slots[0].side_by_side() == 2
    slots[1] = Slot()
    assert slots[1].number == 1
