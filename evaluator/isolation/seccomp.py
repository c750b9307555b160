"""A filter of system calls: what a submission has no use for, and what others have broken out with.

New namespaces (in one of its own a process has every capability), mounts, the kernel's keyrings (they belong to a
user, not to a namespace), tracing of the kernel, sockets of families that network namespaces do not hold (VSOCK
reaches the host of a virtual machine), and of netlink all but the one that lists interfaces: others tell of the
whole machine's devices and processes, or are large. And what has the kernel send SIGCONT later, by which a stopped
submission would go on: timers with a signal of one's choice, and that choice for descriptors (F_SETSIG), where the
evaluator's own reading of the estimates could be the event. The list is shorter than Docker's default, which also
protects other users of the machine from a container's root; ours is no root. Standard library only.
"""

import ctypes
import errno
import platform
import struct
import sys
from collections.abc import Mapping

PR_GET_SECCOMP, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 21, 22, 2
ALLOW, FAIL = 0x7FFF0000, 0x00050000  # or-ed with an error number
# Offsets in struct seccomp_data; of an argument, its low half.
NUMBER, ARCHITECTURE, FIRST_ARGUMENT, SECOND_ARGUMENT, THIRD_ARGUMENT = 0, 4, 16, 24, 32
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06

NEW_NAMESPACES = 0x7E020000  # CLONE_NEW* of clone(2)
FAMILIES = (1, 2, 10)  # UNIX, INET, INET6: these belong to the network namespace
NETLINK, NETLINK_ROUTE = 16, 0  # of the kernel's many services there, the one that lists interfaces
F_SETSIG = 10
X32_BIT = 0x40000000

# name: (x86_64, aarch64); None where the call does not exist
REFUSED: dict[str, tuple[int, int | None]] = {
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442), "open_tree_attr": (467, 467),
    "unshare": (272, 97), "setns": (308, 268),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "reboot": (169, 142), "acct": (163, 89),
    "swapon": (167, 224), "swapoff": (168, 225), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    "syslog": (103, 116), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "timer_create": (222, 107), "mq_notify": (244, 184),
    "iopl": (172, None), "ioperm": (173, None), "vhangup": (153, 58),
}  # fmt: skip
CLONE, CLONE3, SOCKET, SOCKETPAIR, FCNTL = (56, 220), (435, 435), (41, 198), (53, 199), (72, 25)
PRLIMIT = (302, 261)
ALONE = REFUSED | {
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "process_madvise": (440, 440), "process_mrelease": (448, 448),
    "kcmp": (312, 272), "setpriority": (141, 140), "ioprio_set": (251, 30), "migrate_pages": (256, 238),
    "move_pages": (279, 239), "sched_setaffinity": (203, 122), "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None),
    "clone": CLONE, "clone3": CLONE3, "socket": SOCKET, "socketpair": SOCKETPAIR,
}  # fmt: skip
"""For a process that has no namespace of processes of its own: also whatever starts one, or reaches another."""
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column of the table, AUDIT_ARCH_*


class _Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def is_known_machine() -> bool:
    """Whether there is a filter for this processor, a Python of its word size, and a kernel that takes filters."""
    known = sys.platform.startswith("linux") and platform.machine() in MACHINES and struct.calcsize("P") == 8
    if not known:
        return False
    return bool(ctypes.CDLL(None).prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0)


def install(refused: Mapping[str, tuple[int, int | None]] = REFUSED) -> None:
    """Filter the calls of this process and its descendants, for good; needs no_new_privs. OSError if refused."""
    code = b"".join(program(*MACHINES[platform.machine()], refused))
    described = _Program(len(code) // 8, code)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(described), 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, "the filter of system calls was refused")


def program(
    column: int, architecture: int, refused: Mapping[str, tuple[int, int | None]] = REFUSED
) -> list[bytes]:
    """The filter in the kernel's classic BPF, one instruction of eight bytes each.

    Calls of another architecture (32-bit ones on a 64-bit kernel) have other numbers, so all of them are refused.
    """
    refuse, missing = FAIL | errno.EPERM, FAIL | errno.ENOSYS
    code = [_load(ARCHITECTURE), *_unless_equal(architecture, refuse), _load(NUMBER)]
    if column == 0:
        code += [_instruction(AT_LEAST, X32_BIT, 0, 1), _return(missing)]
    for numbers in refused.values():
        number = numbers[column]
        if number is not None:
            code += _if_equal(number, [_return(refuse)])
    # Its flags are behind a pointer, which a filter cannot follow; the C library then takes clone.
    code += _if_equal(CLONE3[column], [_return(missing)])
    bits = [
        _load(FIRST_ARGUMENT),
        _instruction(ANY_BIT, NEW_NAMESPACES, 0, 1),
        _return(refuse),
        _return(ALLOW),
    ]
    code += _if_equal(CLONE[column], bits)
    commands = [*_if_equal(F_SETSIG, [_return(refuse)]), _return(ALLOW)]
    code += _if_equal(FCNTL[column], [_load(SECOND_ARGUMENT), *commands])
    # Limits of this process only: in a container, and for an ordinary user, ours has the same user.
    own = [*_if_equal(0, [_return(ALLOW)]), _return(refuse)]
    code += _if_equal(PRLIMIT[column], [_load(FIRST_ARGUMENT), *own])
    unknown = _return(FAIL | errno.EAFNOSUPPORT)
    allowed = [step for family in FAMILIES for step in _if_equal(family, [_return(ALLOW)])]
    route = [_load(THIRD_ARGUMENT), *_if_equal(NETLINK_ROUTE, [_return(ALLOW)]), unknown]
    family = [_load(FIRST_ARGUMENT), *allowed, *_if_equal(NETLINK, route), unknown]
    for number in (SOCKET[column], SOCKETPAIR[column]):
        code += _if_equal(number, family)
    return [*code, _return(ALLOW)]


def _instruction(operation: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", operation, then, otherwise, value)


def _load(offset: int) -> bytes:
    return _instruction(LOAD, offset)


def _return(value: int) -> bytes:
    return _instruction(RETURN, value)


def _if_equal(value: int, steps: list[bytes]) -> list[bytes]:
    """These steps where the loaded number is `value`; they must end in a return."""
    return [_instruction(EQUAL, value, 0, len(steps)), *steps]


def _unless_equal(value: int, answer: int) -> list[bytes]:
    return [_instruction(EQUAL, value, 1, 0), _return(answer)]
