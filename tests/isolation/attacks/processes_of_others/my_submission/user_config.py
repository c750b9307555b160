"""Promises 2 and 5: no other process can be read, traced or borrowed from.

Root, working folder, descriptors, memory, environment and mapped files of every process that is there, by /proc and
by system call.
"""

import ctypes
import os

from my_submission.attack import Model, attempt, in_child, read, syscall, write

LINKS = ("root", "cwd", "exe")
FILES = (
    "mem",
    "environ",
    "maps",
    "smaps",
    "stack",
    "syscall",
    "auxv",
    "pagemap",
    "io",
    "mountstats",
    "personality",
)
ATTACH, SEIZE, TRACE_ME = 16, 0x4206, 0


class MySeparationModel(Model):
    def attack(self) -> None:
        own = {str(os.getpid()), "self", "thread-self"}
        others = [name for name in os.listdir("/proc") if name.isdigit() and name not in own]
        for pid in {*others, "1", "2", str(os.getppid())} - own:
            self.by_proc(pid)
            self.by_call(int(pid))
        attempt("children of init", lambda: _foreign(read("/proc/1/task/1/children")))

    def by_proc(self, pid: str) -> None:
        for name in LINKS:
            attempt(f"link {pid}/{name}", lambda path=f"/proc/{pid}/{name}": os.readlink(path))
            attempt(f"list {pid}/{name}", lambda path=f"/proc/{pid}/{name}/": os.listdir(path))
        for name in FILES:
            attempt(f"read {pid}/{name}", lambda path=f"/proc/{pid}/{name}": read(path))
            attempt(f"read {pid}/task/{name}", lambda path=f"/proc/{pid}/task/{pid}/{name}": read(path))
        for folder in ("fd", "fdinfo", "map_files", "ns"):
            attempt(f"list {pid}/{folder}", lambda path=f"/proc/{pid}/{folder}": _readable(path))
        for number in range(64):
            attempt(
                f"open {pid}/fd/{number}", lambda path=f"/proc/{pid}/fd/{number}": os.open(path, os.O_RDONLY)
            )
        for name, content in (
            ("oom_score_adj", "1000"),
            ("coredump_filter", "0"),
            ("clear_refs", "1"),
            ("comm", "x"),
        ):
            attempt(f"write {pid}/{name}", lambda path=f"/proc/{pid}/{name}", text=content: write(path, text))

    def by_call(self, pid: int) -> None:
        attempt(f"attach to {pid}", lambda: in_child(lambda: syscall("ptrace", ATTACH, pid, 0, 0) == 0))
        attempt(f"seize {pid}", lambda: in_child(lambda: syscall("ptrace", SEIZE, pid, 0, 0) == 0))
        buffer = ctypes.create_string_buffer(64)
        local = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 64)
        for address in (0x400000, 0x555555554000, id(buffer)):
            remote = (ctypes.c_void_p * 2)(address, 64)
            for call in ("process_vm_readv", "process_vm_writev"):
                attempt(
                    f"{call} {pid}", lambda name=call, there=remote: syscall(name, pid, local, 1, there, 1, 0)
                )
        attempt(f"kcmp {pid}", lambda: syscall("kcmp", os.getpid(), pid, 0, 0, 0) >= 0)

        def borrow() -> object:
            handle = syscall("pidfd_open", pid, 0)
            return [syscall("pidfd_getfd", handle, number, 0) for number in range(8)]

        attempt(f"borrow of {pid}", borrow)
        for kind in ("mnt", "net", "pid", "user", "ipc", "cgroup", "uts"):
            attempt(
                f"enter {kind} of {pid}",
                lambda name=kind: syscall("setns", os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY), 0) == 0,
            )


def _readable(path: str) -> object:
    return [os.readlink(f"{path}/{name}") for name in os.listdir(path)]


def _foreign(children: str | None) -> object:
    return [child for child in (children or "").split() if int(child) != os.getpid()]
