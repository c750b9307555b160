"""Promise 5: it is another user without capabilities, and no system call or program gives it any.

Identities, capabilities, namespaces of every kind by every call, mounts, other roots, keyrings, set-user-id
programs, 32-bit and x32 numbers of the same calls.
"""

import ctypes
import os
import subprocess
from pathlib import Path

from my_submission.attack import LIBC, WORLD, Model, attempt, in_child, syscall, write

NAMESPACES = {"mnt": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000, "user": 0x10000000,
              "pid": 0x20000000, "net": 0x40000000, "time": 0x80}  # fmt: skip
PROGRAMS = ("su", "sudo", "mount", "umount", "newgrp", "passwd", "chsh", "gpasswd", "newuidmap", "fusermount3", "pkexec",
            "ping", "ssh-agent", "dbus-daemon-launch-helper", "bwrap", "nsenter", "unshare", "chroot", "setpriv")  # fmt: skip
PR_SET_SECUREBITS, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_SET_MM, PR_SET_PTRACER = 28, 38, 47, 35, 0x59616D61
X32 = 0x40000000
SIGCHLD = 17


class MySeparationModel(Model):
    def attack(self) -> None:
        self.identity()
        self.namespaces()
        self.roots()
        self.kernel()
        self.programs()
        attempt("capabilities", _capabilities)
        attempt("new privileges", lambda: not _status("NoNewPrivs"))

    def identity(self) -> None:
        attempt("root's user", lambda: 0 in os.getresuid())
        attempt("root's group", lambda: 0 in (*os.getresgid(), *os.getgroups()))
        for number in (0, 1, 65534, 1000):
            if number not in os.getresuid():
                attempt(f"be user {number}", lambda to=number: in_child(lambda: os.setuid(to) or "became"))
                attempt(f"be group {number}", lambda to=number: in_child(lambda: os.setgid(to) or "became"))
        attempt("groups", lambda: in_child(lambda: os.setgroups([0]) or "set"))
        everything = (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        attempt("capabilities", lambda: syscall("capset", header, everything) == 0)
        attempt("secure bits", lambda: LIBC.prctl(PR_SET_SECUREBITS, 0, 0, 0, 0) == 0 and _status("CapEff"))
        attempt("no new privileges, undone", lambda: LIBC.prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0)
        for capability in range(41):
            attempt(
                f"ambient {capability}", lambda of=capability: LIBC.prctl(PR_CAP_AMBIENT, 2, of, 0, 0) == 0
            )
        attempt("another program's name", lambda: LIBC.prctl(PR_SET_MM, 13, -1, 0, 0) == 0)
        for name in ("uid_map", "gid_map", "setgroups"):
            attempt(f"own {name}", lambda of=name: write(f"/proc/self/{of}", "0 0 4294967295"))

    def namespaces(self) -> None:
        for name, flag in NAMESPACES.items():
            attempt(f"unshare {name}", lambda of=flag: in_child(lambda: syscall("unshare", of) == 0))
            attempt(
                f"unshare user and {name}",
                lambda of=flag: in_child(lambda: syscall("unshare", of | 0x10000000) == 0),
            )
            if flag > 0xFF:  # else it is the number of a signal there
                attempt(f"clone {name}", lambda of=flag: _clone(of | SIGCHLD))
            attempt(f"clone3 {name}", lambda of=flag: _clone3(of))
            for pid in ("self", "1", str(os.getppid())):
                attempt(f"enter {name} of {pid}", lambda of=name, at=pid: _enter(at, of))
        attempt(
            "x32 unshare", lambda: in_child(lambda: LIBC.syscall(ctypes.c_long(X32 | 272), 0x10000000) == 0)
        )
        attempt("32-bit unshare", lambda: in_child(_compat_unshare))

    def roots(self) -> None:
        for name in ("chroot", "umount2"):
            attempt(name, lambda of=name: in_child(lambda: syscall(of, b"/tmp\0", 0) == 0))
        attempt("pivot_root", lambda: in_child(lambda: syscall("pivot_root", b"/tmp\0", b"/tmp\0") == 0))
        for kind in (
            b"tmpfs\0",
            b"proc\0",
            b"sysfs\0",
            b"overlay\0",
            b"devtmpfs\0",
            b"cgroup\0",
            b"cgroup2\0",
            b"ext4\0",
        ):
            attempt(f"mount {kind!r}", lambda of=kind: syscall("mount", b"none\0", b"/tmp\0", of, 0, 0) == 0)
            attempt(f"fsopen {kind!r}", lambda of=kind: syscall("fsopen", of, 0))
        attempt("bind", lambda: syscall("mount", b"/\0", b"/tmp\0", 0, 4096, 0) == 0)
        attempt("open_tree", lambda: syscall("open_tree", -100, b"/\0", 1))
        attempt("open_tree without cloning", lambda: syscall("open_tree", -100, b"/\0", 0))
        attempt("fspick", lambda: syscall("fspick", -100, b"/\0", 0))
        attributes = (ctypes.c_uint64 * 4)(0, 1, 0, 0)
        attempt("mount_setattr", lambda: syscall("mount_setattr", -100, b"/usr\0", 0, attributes, 32) == 0)
        handle = ctypes.create_string_buffer(b"\x80\0\0\0" + bytes(140))
        mount = ctypes.create_string_buffer(8)
        attempt(
            "name_to_handle_at", lambda: syscall("name_to_handle_at", -100, b"/usr\0", handle, mount, 0) == 0
        )
        for inode in (2, 11, 12):
            made = (
                (8).to_bytes(4, "little") + (1).to_bytes(4, "little") + inode.to_bytes(4, "little") + bytes(4)
            )
            at = os.open("/usr", os.O_RDONLY)
            attempt(
                f"inode {inode} by handle",
                lambda of=made, to=at: syscall("open_by_handle_at", to, of, os.O_RDONLY),
            )

    def kernel(self) -> None:
        for name in ("add_key", "request_key"):
            attempt(name, lambda of=name: syscall(of, b"user\0", b"evil\0", b"secret\0", 6, -4))
        for operation in (0, 1, 2, 6, 11):
            attempt(f"keyctl {operation}", lambda of=operation: syscall("keyctl", of, -4, 1, 0, 0))
        zeros = ctypes.create_string_buffer(512)
        for name in ("bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "init_module", "kexec_load", "swapon",
                     "acct", "quotactl", "fanotify_init", "settimeofday", "clock_settime", "sethostname", "setdomainname"):  # fmt: skip
            attempt(name, lambda of=name: syscall(of, 0, zeros, 0, 0, 0))
            attempt(name, lambda of=name: syscall(of, zeros, 4, 0, 0, 0))
        attempt("the clock", lambda: syscall("adjtimex", (ctypes.c_uint32 * 64)(1, 0)) >= 0)
        attempt("the kernel's log", lambda: syscall("syslog", 3, zeros, 512))
        attempt("restart", lambda: syscall("reboot", 0xFEE1DEAD, 672274793, 0, 0) == 0)
        attempt("ports", lambda: syscall("iopl", 3) == 0)

    def programs(self) -> None:
        for program in PROGRAMS:
            for folder in ("/usr/bin", "/usr/sbin", "/bin", "/usr/lib/dbus-1.0"):
                path = f"{folder}/{program}"
                if os.path.exists(path):
                    attempt(path, lambda at=path: _root_by(at))
        for path in Path("/usr").glob("bin/*"):
            if (
                path.is_file() and path.stat().st_mode & 0o6000 and WORLD["system"] != "docker"
            ):  # nothing new is enough
                attempt(f"{path} keeps its rights", lambda at=path: not os.statvfs(at).f_flag & os.ST_NOSUID)


def _root_by(path: str) -> object:
    options = {"su": ["-c", "id -u"], "unshare": ["-Ur", "id", "-u"], "bwrap": ["--ro-bind", "/", "/", "--uid", "0", "id", "-u"],
               "chroot": ["/", "id", "-u"], "nsenter": ["-t", "1", "-m", "id", "-u"], "sudo": ["-n", "id", "-u"],
               "setpriv": ["--reuid=0", "id", "-u"]}  # fmt: skip
    arguments = options.get(path.rpartition("/")[2], ["--version"])
    ran = subprocess.run(
        [path, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=5
    )
    return ran.stdout.strip() == "0"


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith(f"{name}:"))


def _capabilities() -> object:
    return [name for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb") if _status(name)]


def _enter(pid: str, kind: str) -> object:
    return in_child(lambda: syscall("setns", os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY), 0) == 0)


def _clone(flags: int) -> object:
    child = syscall("clone", flags, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def _clone3(flags: int) -> object:
    child = syscall("clone3", (ctypes.c_uint64 * 8)(flags, 0, 0, 0, SIGCHLD, 0, 0, 0), 64)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def _compat_unshare() -> object:
    """unshare(CLONE_NEWUSER) as a 32-bit program calls it: int 0x80."""
    import mmap

    code = bytes.fromhex("53b836010000bb00000010cd805bc3")
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return ctypes.CFUNCTYPE(ctypes.c_int)(address)() == 0
