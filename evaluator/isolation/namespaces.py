"""Linux by system call: namespaces, mounts, rights, and which of them this system lets us have.

The supervisor, its children and the decoder do everything here between fork and exec, so it imports the standard
library only. Everybody else may ask for no more than what the system has.
"""

import ctypes
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
KINDS = (
    CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET
)  # of what init enters for itself and the worker

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = (
    1,
    4,
    24,
    36,
    38,
)
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
LAST_CAPABILITY = 63
CAPABILITY_VERSION_3 = 0x20080522
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
SYS_OPEN_TREE, SYS_MOVE_MOUNT, SYS_MOUNT_SETATTR = 428, 429, 442  # the same on all machines
OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC, MOVE_MOUNT_F_EMPTY_PATH = 1, 0o2000000, 4
MOUNT_ATTR_IDMAP = 1 << 20
AT_FDCWD, AT_RECURSIVE, AT_EMPTY_PATH = -100, 0x8000, 0x1000

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1

USER = 1001
"""Id of the user and the group that a submission runs as, as on the organisers' machine."""


@dataclass(frozen=True)
class Facilities:
    """What this system lets us do.

    own_root: namespaces of every kind, and a root of our own in them.
    as_root: we have root's rights, so that the submission can have another user's; else only we are its user.
    users: a namespace for users, too, which an ordinary user needs for all others.
    groups: a namespace for control groups.
    """

    own_root: bool = False
    as_root: bool = False
    users: bool = False
    groups: bool = False


def _check(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int, second: int = 0) -> None:
    """prctl(2); OSError if the kernel refuses."""
    _check(_libc().prctl(option, value, second, 0, 0), f"prctl({option})")


def unshare(flags: int) -> None:
    """unshare(2); OSError if the kernel refuses. A new namespace of users has no users yet: see `map_user`."""
    _check(_libc().unshare(flags), "unshare")


def map_user(process: str, inside: int, user: int, group: int) -> None:
    """Have user and group of that id inside be these outside, in the namespace of `process` (an id, or "self")."""
    Path(f"/proc/{process}/setgroups").write_text("deny")  # without which the kernel allows no gid_map
    Path(f"/proc/{process}/uid_map").write_text(f"{inside} {user} 1")
    Path(f"/proc/{process}/gid_map").write_text(f"{inside} {group} 1")


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """mount(2); OSError if the kernel refuses."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    result = _libc().mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])
    _check(result, f"mount {target}")


class Owners:
    """Copies of mounts in which what the owner of their top has belongs to USER. Close it when they are made.

    Only root may make them, from Linux 5.12, in file systems that know how.
    """

    def __init__(self) -> None:
        self._users: dict[tuple[int, int], int] = {}  # open namespaces, by the owner's user and group

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        for users in self._users.values():
            os.close(users)

    def open_copy(self, path: str) -> int:
        """A copy of what is mounted at `path` and below it, open; OSError where it cannot be had."""
        found = os.stat(path)
        owner = found.st_uid, found.st_gid
        flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE
        tree = int(_libc().syscall(SYS_OPEN_TREE, AT_FDCWD, os.fsencode(path), ctypes.c_uint(flags)))
        _check(min(tree, 0), f"open_tree {path}")
        try:
            if owner not in self._users:
                self._users[owner] = _open_users(*owner)
            attributes = struct.pack("4Q", MOUNT_ATTR_IDMAP, 0, 0, self._users[owner])
            at, size = ctypes.c_uint(AT_EMPTY_PATH | AT_RECURSIVE), ctypes.c_size_t(len(attributes))
            result = _libc().syscall(SYS_MOUNT_SETATTR, tree, b"", at, attributes, size)
            _check(result, f"mount_setattr {path}")
        except OSError:
            os.close(tree)
            raise
        return tree


def can_copy_for_owner(path: str) -> bool:
    """Whether `Owners` works there."""
    with Owners() as owners:
        try:
            os.close(owners.open_copy(path))
        except OSError:
            return False
    return True


def attach(tree: int, target: str) -> None:
    """Mount an open copy at `target`, and close it."""
    try:
        flags = ctypes.c_uint(MOVE_MOUNT_F_EMPTY_PATH)
        moved = _libc().syscall(SYS_MOVE_MOUNT, tree, b"", AT_FDCWD, os.fsencode(target), flags)
        _check(moved, f"move_mount {target}")
    finally:
        os.close(tree)


def _open_users(user: int, group: int) -> int:
    """A namespace of users, open, which has USER for one user and one group. It lives while it is open."""
    entered, enter = os.pipe()
    parent, child = os.getpid(), os.fork()
    if child == 0:
        try:
            die_with_parent(parent)
            unshare(CLONE_NEWUSER)
            os.write(enter, b"!")
            signal.pause()
        finally:
            os._exit(1)
    os.close(enter)
    try:
        if not os.read(entered, 1):
            raise OSError("a namespace of users is refused")
        Path(f"/proc/{child}/uid_map").write_text(f"{user} {USER} 1")
        Path(f"/proc/{child}/gid_map").write_text(f"{group} {USER} 1")
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(entered)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def detach(path: str) -> None:
    """Take away the uppermost mount at `path`; what is still open in it lives until it is closed."""
    _check(_libc().umount2(os.fsencode(path), MNT_DETACH), f"umount {path}")


def pivot_root(new: str, old: str) -> None:
    """Make the mount `new` the root, and the present root appear at `old`, below it."""
    number = SYS_PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(f"pivot_root: unknown number on {os.uname().machine}")
    _check(_libc().syscall(number, os.fsencode(new), os.fsencode(old)), "pivot_root")


def raise_loopback() -> None:
    """Bring up the loopback interface of a new network namespace, as a container without network has it."""
    import fcntl  # not there on Windows, where this function is never reached

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def become_user(user: int, group: int) -> None:
    """Have root's process belong to another user, without any of root's groups."""
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)


def drop_privileges() -> None:
    """Give up every capability for good, also across exec, and any way to new ones."""
    for capability in range(LAST_CAPABILITY + 1):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            break  # beyond the last capability this kernel knows, or none to drop
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    _check(_libc().capset(header, struct.pack("6I", *[0] * 6)), "capset")


def die_with_parent(parent: int | None = None) -> None:
    """Have the kernel kill this process when the one that forked it ends.

    parent: its process id, taken before the fork: if it has ended since, this process ends now.
    """
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() not in (parent, 0):  # 0: it is outside of our process namespace
        os._exit(1)


def enter_empty_root() -> None:
    """Leave files, network and rights of other users behind: an empty root, as USER. OSError if that is refused."""
    user, group = os.geteuid(), os.getegid()
    unshare(KINDS if user == 0 else KINDS | CLONE_NEWUSER)
    if user != 0:
        map_user("self", USER, user, group)
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "size=64k")
    os.mkdir("/tmp/old")
    os.chdir("/tmp")
    pivot_root("/tmp", "/tmp/old")
    os.chdir("/")
    detach("/old")
    os.rmdir("/old")
    mount("none", "/", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)
    if user == 0:
        become_user(USER, USER)
        die_with_parent()


def probe() -> Facilities:
    """Try in throw-away children what this system allows: as root, else as the owner of a namespace of users."""
    if not sys.platform.startswith("linux"):
        return Facilities()
    groups = _succeeds(lambda: unshare(CLONE_NEWUSER | CLONE_NEWCGROUP)) or _succeeds(
        lambda: unshare(CLONE_NEWCGROUP)
    )
    users = _succeeds(lambda: unshare(CLONE_NEWUSER))
    if os.geteuid() == 0 and _succeeds(lambda: _try_own_root(0)):
        return Facilities(own_root=True, as_root=True, users=users, groups=groups)
    if users and _succeeds(lambda: _try_own_root(CLONE_NEWUSER)):
        return Facilities(own_root=True, users=True, groups=groups)
    return Facilities()


def _try_own_root(flags: int) -> None:
    """All that is needed for a root of our own, in a process namespace (hence one more fork)."""
    user, group = os.getuid(), os.getgid()
    unshare(flags | CLONE_NEWPID)
    if flags:
        map_user("self", USER, user, group)
    if not _succeeds(_try_mounts):
        raise OSError("mounts are refused in the new namespaces")


def _try_mounts() -> None:
    unshare(KINDS)
    raise_loopback()
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("tmpfs", "/tmp", "tmpfs", 0)
    os.mkdir("/tmp/old")
    os.mkdir("/tmp/proc")
    mount("proc", "/tmp/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    pivot_root("/tmp", "/tmp/old")


def _succeeds(attempt: Callable[[], None]) -> bool:
    """Whether `attempt` raises no OSError, tried in a forked child so that it changes nothing here."""
    parent, child = os.getpid(), os.fork()
    if child == 0:
        try:
            die_with_parent(parent)
            attempt()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0
