"""The filter of system calls, run by an interpreter of the kernel's classic BPF."""

import errno
import functools
import socket
import struct

import pytest

from evaluator.isolation import seccomp
from evaluator.isolation.seccomp import ALLOW, ALONE, FAIL, MACHINES, REFUSED
from tests.thinned import one_in

LONGEST = 4096  # BPF_MAXINSNS
MOST_STEPS = 4096
NAMESPACES = {
    "NEWTIME": 0x00000080, "NEWNS": 0x00020000, "NEWCGROUP": 0x02000000, "NEWUTS": 0x04000000,
    "NEWIPC": 0x08000000, "NEWUSER": 0x10000000, "NEWPID": 0x20000000, "NEWNET": 0x40000000,
}  # fmt: skip
# What Python, numpy and torch cannot do without, by the kernel's own headers: (x86_64, aarch64).
NEEDED = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "mmap": (9, 222), "mprotect": (10, 226),
    "munmap": (11, 215), "brk": (12, 214), "ioctl": (16, 29), "execve": (59, 221), "exit_group": (231, 94),
    "futex": (202, 98), "openat": (257, 56), "newfstatat": (262, 79), "getrandom": (318, 278),
    "sched_setaffinity": (203, 122), "kill": (62, 129), "prctl": (157, 167), "statx": (332, 291),
    "rseq": (334, 293), "memfd_create": (319, 279), "ptrace": (101, 117), "pidfd_open": (434, 434),
}  # fmt: skip
pytestmark = pytest.mark.quick
machines = pytest.mark.parametrize("machine", MACHINES)


@functools.cache
def program(machine: str, alone: bool) -> list[tuple[int, int, int, int]]:
    """The steps of a filter: operation, jump if so, jump if not, value."""
    steps = seccomp.program(*MACHINES[machine], ALONE if alone else REFUSED)
    return [struct.unpack("=HBBI", step) for step in steps]


def run(
    machine: str, number: int, *arguments: int, architecture: int | None = None, alone: bool = False
) -> int:
    """What the filter answers to a system call, as the kernel would run it: raises if it is not valid."""
    _, own = MACHINES[machine]
    code = program(machine, alone)
    given = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack(
        "<iIQ6Q", number - (1 << 32 if number >= 1 << 31 else 0), architecture or own, 0, *given
    )
    loaded, place = 0, 0
    for _ in range(MOST_STEPS):
        operation, then, otherwise, value = code[place]
        place += 1
        match operation:
            case 0x20:  # load a word
                assert value % 4 == 0
                (loaded,) = struct.unpack_from("<I", data, value)
            case 0x15:  # jump if equal
                place += then if loaded == value else otherwise
            case 0x35:  # jump if at least
                place += then if loaded >= value else otherwise
            case 0x45:  # jump if any bit is set
                place += then if loaded & value else otherwise
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(f"the kernel does not allow {operation:#x}")
    raise AssertionError("it does not end")


def answer(
    machine: str, number: int, *arguments: int, architecture: int | None = None, alone: bool = False
) -> str:
    """The answer in words."""
    value = run(machine, number, *arguments, architecture=architecture, alone=alone)
    if value == ALLOW:
        return "allowed"
    assert value & 0xFFFF0000 == FAIL
    return errno.errorcode[value & 0xFFFF]


@machines
def test_the_program_is_one_that_the_kernel_takes(machine: str) -> None:
    code = [struct.unpack("=HBBI", step) for step in seccomp.program(*MACHINES[machine])]
    assert len(code) < LONGEST
    assert all(len(step) == 8 for step in seccomp.program(*MACHINES[machine]))
    for place, (operation, then, otherwise, _) in enumerate(code):
        assert operation in (0x20, 0x15, 0x35, 0x45, 0x06)
        if operation in (0x15, 0x35, 0x45):  # forward, and to a step that is there
            assert place + 1 + max(then, otherwise) < len(code)
    assert code[-1][0] == 0x06


@machines
@pytest.mark.parametrize("name", one_in(4, REFUSED))
def test_what_is_refused_is_refused_whatever_is_asked_of_it(machine: str, name: str) -> None:
    number = REFUSED[name][MACHINES[machine][0]]
    if number is None:
        return  # there is no such call
    for arguments in ((), (0,), (1, 2, 3), (0xFFFFFFFF, 0xFFFFFFFF), ((1 << 64) - 1,) * 6):
        assert answer(machine, number, *arguments) == "EPERM"


@machines
@pytest.mark.parametrize("name", one_in(4, ALONE))
def test_who_is_alone_reaches_and_starts_nobody(machine: str, name: str) -> None:
    number = ALONE[name][MACHINES[machine][0]]
    for arguments in ((), (17,), (1, 2, 3), ((1 << 64) - 1,) * 6):
        assert number is None or answer(machine, number, *arguments, alone=True) == "EPERM"


@machines
def test_all_other_calls_are_allowed(machine: str) -> None:
    column = MACHINES[machine][0]
    special = {
        seccomp.CLONE[column],
        seccomp.CLONE3[column],
        seccomp.SOCKET[column],
        seccomp.SOCKETPAIR[column],
    }
    refused = {numbers[column] for numbers in REFUSED.values()} | special
    for number in range(600):
        if number not in refused:
            assert answer(machine, number) == "allowed", number
    assert not {numbers[column] for numbers in NEEDED.values()} & refused


def test_no_number_stands_for_two_calls() -> None:
    for column in (0, 1):
        numbers = [
            *(numbers[column] for numbers in REFUSED.values() if numbers[column] is not None),
            *(call[column] for call in (seccomp.CLONE, seccomp.CLONE3, seccomp.SOCKET, seccomp.SOCKETPAIR)),
        ]
        assert len(set(numbers)) == len(numbers)


@machines
@pytest.mark.parametrize("flag", NAMESPACES.values(), ids=NAMESPACES)
def test_clone_starts_threads_and_processes_but_no_namespaces(machine: str, flag: int) -> None:
    clone = seccomp.CLONE[MACHINES[machine][0]]
    threads, fork = 0x3D0F00, 0x1200011
    for harmless in (threads, fork, 0, 17, 0x00004000 | 17):
        assert answer(machine, clone, harmless) == "allowed"
        if flag != NAMESPACES["NEWTIME"]:  # which is no flag of clone's but a signal's number
            assert answer(machine, clone, harmless | flag) == "EPERM"
            assert answer(machine, clone, harmless | flag | 0xFFFFFFFF << 32) == "EPERM"


@machines
def test_clone3_is_said_to_be_missing(machine: str) -> None:
    """The C library then takes clone, whose flags can be seen."""
    assert answer(machine, seccomp.CLONE3[MACHINES[machine][0]], 0x1000, 88) == "ENOSYS"


@machines
def test_sockets_are_of_families_that_a_network_namespace_holds(machine: str) -> None:
    for call in (seccomp.SOCKET, seccomp.SOCKETPAIR):
        number = call[MACHINES[machine][0]]
        for family in range(64):
            allowed = family in (socket.AF_UNIX, socket.AF_INET, 10, 16)
            assert answer(machine, number, family, 1, 0) == ("allowed" if allowed else "EAFNOSUPPORT"), family
        for service in range(1, 32):
            assert answer(machine, number, 16, 3, service) == "EAFNOSUPPORT", service
        # The kernel takes an int: what stands above 32 bits is cut off.
        assert answer(machine, number, (1 << 32) | 40) == "EAFNOSUPPORT"
        assert answer(machine, number, 0xFFFFFFFF) == "EAFNOSUPPORT"


@machines
def test_calls_of_another_architecture_are_refused(machine: str) -> None:
    """32-bit programs have other numbers, and this machine's own are others on the other one."""
    others = {0x40000003, 0x40000028, 0xC000003E, 0xC00000B7, 0x80000016, 0} - {MACHINES[machine][1]}
    for architecture in others:
        for number in (0, 1, 60, 165, 272, 310, 0x40000000):
            assert answer(machine, number, architecture=architecture or 1) == "EPERM"


def test_the_32_bit_numbers_of_x86_64_are_said_to_be_missing() -> None:
    """x32: the same architecture with a bit in the number, under which nothing would be refused."""
    for number in (0, 56, 165, 272, 435, 520, 0x3FFFFFFF):
        assert answer("x86_64", number | 0x40000000) == "ENOSYS"
    for number in (0x80000000 | 165, 0xFFFFFFFF, 0xC0000000 | 272):
        assert answer("x86_64", number) == "ENOSYS"
