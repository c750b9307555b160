"""Linux namespaces by system call: no network, processes that cannot be missed, folders out of sight.

Only the supervisor uses this module. Everything runs between fork and exec, so it imports the standard library only.
"""

import ctypes
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18

PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 24, 36, 38
CAP_DAC_OVERRIDE, LAST_CAPABILITY = 1, 63
CAPABILITY_VERSION_3 = 0x20080522

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


@dataclass(frozen=True)
class Facilities:
    """What this system lets us do: a namespace for processes and mounts, one for the network; both possibly
    only inside a namespace of users."""

    processes: bool = False
    network: bool = False
    users: bool = False


def _check(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: int) -> None:
    """prctl(2); OSError if the kernel refuses."""
    _check(_libc().prctl(option, value, 0, 0, 0), f"prctl({option})")


def unshare(flags: int) -> None:
    """unshare(2); in a new user namespace the ids stay what they are. OSError if the kernel refuses."""
    uid, gid = os.getuid(), os.getgid()
    _check(_libc().unshare(flags), "unshare")
    if flags & CLONE_NEWUSER:
        Path("/proc/self/setgroups").write_text("deny")  # without which the kernel allows no gid_map
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """mount(2); OSError if the kernel refuses."""
    encoded = [None if text is None else text.encode() for text in (source, target, kind, options)]
    result = _libc().mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])
    _check(result, f"mount {target}")


def mount_own_proc() -> None:
    """Keep mounts from spreading to the rest of the system and show only this namespace's processes."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def hide(path: str) -> None:
    """Mount something empty and read-only over a file or folder."""
    if os.path.isdir(path):
        mount("none", path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV, "size=4k,mode=555")
    else:
        mount("/dev/null", path, None, MS_BIND)


def bind(path: str, read_only: bool) -> None:
    """Mount a folder onto itself, writable or not, so that it no longer depends on the folders above it."""
    mount(path, path, None, MS_BIND)
    flags = MS_RDONLY if read_only else 0
    mount("none", path, None, MS_BIND | MS_REMOUNT | flags | _locked_flags(path))


def _locked_flags(path: str) -> int:
    """Flags of the mount that holds `path` which an ordinary user must keep when mounting it again."""
    present = os.statvfs(path).f_flag
    return present & (MS_NOSUID | MS_NODEV | MS_NOEXEC)


def raise_loopback() -> None:
    """Bring up the loopback interface of a new network namespace, as a container without network has it."""
    import fcntl  # not there on Windows, where this function is never reached

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def drop_privileges() -> None:
    """Give up every capability for good, also across exec, except that root may still read any file."""
    kept = {CAP_DAC_OVERRIDE} if os.geteuid() == 0 else set()
    for capability in range(LAST_CAPABILITY + 1):
        if capability not in kept:
            try:
                prctl(PR_CAPBSET_DROP, capability)
            except OSError:
                break  # beyond the last capability this kernel knows, or none to drop
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    low = sum(1 << capability for capability in kept)
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    data = struct.pack("6I", low, low, 0, 0, 0, 0)
    _check(_libc().capset(header, data), "capset")


def probe() -> Facilities:
    """Try in throw-away children what this system allows, first as we are, then in a namespace of users."""
    if not sys.platform.startswith("linux"):
        return Facilities()
    for users in (False, True):
        flags = CLONE_NEWUSER if users else 0
        processes = _succeeds(lambda flags=flags: _try_processes(flags))  # type: ignore[misc]
        network = _succeeds(lambda flags=flags: _try_network(flags))  # type: ignore[misc]
        if processes or network:
            return Facilities(processes, network, users)
    return Facilities()


def _try_processes(flags: int) -> None:
    unshare(flags | CLONE_NEWPID)
    if not _succeeds(_try_mounts):
        raise OSError("mounts are refused in the new namespace")


def _try_mounts() -> None:
    unshare(CLONE_NEWNS)
    mount_own_proc()
    hide(str(Path(__file__).parent.parent))


def _try_network(flags: int) -> None:
    unshare(flags | CLONE_NEWNET)
    raise_loopback()


def _succeeds(attempt: Callable[[], None]) -> bool:
    """Whether `attempt` raises no OSError, tried in a forked child so that it changes nothing here."""
    child = os.fork()
    if child == 0:
        try:
            attempt()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that forked it ends."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def arrange_mounts(hidden: Sequence[str], read_only: Sequence[str], writable: Sequence[str]) -> None:
    """Lay out what a submission sees, in a new mount namespace: its own processes, nothing at `hidden`."""
    mount_own_proc()
    for path in read_only:
        bind(path, read_only=True)
    for path in writable:
        bind(path, read_only=False)
    for path in hidden:
        hide(path)
