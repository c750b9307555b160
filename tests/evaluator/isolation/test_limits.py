"""What is in force and what is not, in words: one phrase for each, and none for what is held."""

from dataclasses import fields, replace
from typing import Any

import pytest

from evaluator.isolation import machine
from evaluator.isolation.limits import Isolation, Limits

pytestmark = pytest.mark.quick

HELD = Isolation(
    runner="process",
    network_off=True,
    references_hidden=True,
    process_namespace=True,
    orphans_ended=True,
    memory="cgroup v2",
    cpus=4,
    process_limit=4096,
    unprivileged=True,
    calls_filtered=True,
    frozen=True,
    cpu_quota=True,
    disk="capped",
)
UNLIMITED = Limits(time_factor=None, setup_seconds=None, cpus=None, memory_bytes=None, scratch_bytes=None)
LESS: list[tuple[dict[str, Any], str]] = [
    ({"network_off": False}, "the network could not be cut off"),
    ({"references_hidden": False}, "the references could not be hidden from the file system"),
    ({"unprivileged": False}, "the submission runs with the rights of the user who evaluates it"),
    ({"calls_filtered": False}, "system calls are not filtered"),
    ({"orphans_ended": False}, "descendants that leave the worker's session may outlive it"),
    ({"frozen": False}, "the submission is not stopped between tracks"),
    ({"memory": None}, "memory is not capped"),
    ({"memory": "watched"}, "memory is watched rather than capped by the kernel"),
    ({"cpu_quota": False, "cpus": None}, "cores are limited by thread settings only"),
    ({"cpu_quota": False}, "cores are limited in a way that the submission can undo"),
    ({"disk": None}, "the size of its files is not limited"),
    ({"disk": "watched"}, "the size of its files is watched rather than capped by the kernel"),
    ({"process_limit": None}, "the number of processes is not capped"),
]


@pytest.fixture(autouse=True)
def large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has what the organisers' has."""
    monkeypatch.setattr(machine, "memory_bytes", lambda: 1 << 40)
    monkeypatch.setattr("os.cpu_count", lambda: 64)


def test_where_all_is_held_nothing_is_said() -> None:
    assert HELD.gaps(Limits()) == ()


@pytest.mark.parametrize(("change", "phrase"), LESS)
def test_each_thing_that_is_not_held_is_said_in_its_own_words(change: dict[str, Any], phrase: str) -> None:
    assert replace(HELD, **change).gaps(Limits()) == (phrase,)


def test_nothing_that_is_in_force_or_not_goes_unsaid() -> None:
    """But the process namespace, which is how other promises are kept."""
    said = {name for change, _ in LESS for name in change}
    assert said | {"runner", "process_namespace", "not_in_force"} == {
        field.name for field in fields(Isolation)
    }


def test_what_is_not_limited_need_not_be_held() -> None:
    nothing = replace(HELD, memory=None, cpus=None, cpu_quota=False)
    assert nothing.gaps(UNLIMITED) == ()


def test_walls_are_asked_for_whatever_the_limits_are() -> None:
    walls = {phrase for change, phrase in LESS[:6]}
    assert set(Isolation("process", False, False, False, False, None, None, None).open_promises()) == walls
    assert HELD.open_promises() == ()


def test_a_machine_that_is_too_small_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "memory_bytes", lambda: 8 << 30)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert HELD.gaps(Limits()) == (
        "this machine has memory for 7.2 GiB of the 16 GiB",
        "this machine has 2 of the 4 cores",
    )
