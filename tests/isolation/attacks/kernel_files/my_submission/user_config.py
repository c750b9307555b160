"""Promises 2, 3 and 5: what the kernel shows of the machine in /proc and /sys is neither secret nor writable.

In a container both are what the engine shows: lists of modules, devices and interrupts among it, of nobody's work.
"""

import os
import stat
from pathlib import Path

from my_submission.attack import Model, attempt, read, write

SECRET = ("kcore", "keys", "key-users", "timer_list", "sched_debug", "kmsg", "kpagecount", "kpageflags", "vmallocinfo",
          "slabinfo", "interrupts", "latency_stats", "iomem_raw", "mtrr", "kpagecgroup", "allocinfo", "buddyinfo_raw")  # fmt: skip
WRITTEN = {"sys/kernel/core_pattern": "|/tmp/evil", "sys/kernel/modprobe": "/tmp/evil", "sys/kernel/hotplug": "/tmp/evil",
           "sys/vm/drop_caches": "3", "sys/kernel/hostname": "evil", "sys/vm/overcommit_memory": "1",
           "sys/kernel/randomize_va_space": "0", "sys/fs/suid_dumpable": "1", "sys/kernel/yama/ptrace_scope": "0",
           "sys/net/ipv4/ip_forward": "1", "sys/fs/binfmt_misc/register": ":evil:M::evil::/tmp/evil:", "sys/kernel/panic": "1",
           "sys/fs/mqueue/msg_max": "100", "sys/kernel/shmmax": "1", "sys/user/max_user_namespaces": "100",
           "sysrq-trigger": "c", "irq/default_smp_affinity": "1", "mtrr": "x", "acpi/wakeup": "x"}  # fmt: skip
BELOW_SYS = ("kernel/uevent_helper", "kernel/mm/ksm/run", "power/state", "kernel/debug", "kernel/tracing", "fs/cgroup",
             "fs/bpf", "kernel/security", "firmware", "module", "class/net", "block", "fs/fuse", "kernel/config")  # fmt: skip
OWN = ("self", "thread-self")
TELLING_NOTHING = ("/proc/pressure",)  # load of the machine: a side channel
EXPECTED = {"writes": "ok", "reads": "ok"}
CONTAINED = ["writes"]


class MySeparationModel(Model):
    def reads(self) -> None:
        for name in SECRET:
            attempt(f"read /proc/{name}", lambda of=name: read(f"/proc/{of}"))
        for name in BELOW_SYS:
            attempt(f"list /sys/{name}", lambda of=name: os.listdir(f"/sys/{of}"))
            attempt(f"read /sys/{name}", lambda of=name: read(f"/sys/{of}"))
        attempt("open /dev/ptmx", lambda: os.open("/dev/ptmx", os.O_RDONLY | os.O_NONBLOCK))

    def writes(self) -> None:
        for name, content in WRITTEN.items():
            attempt(f"write /proc/{name}", lambda of=name, text=content: write(f"/proc/{of}", text))
        attempt("addresses of the kernel", _symbols)
        for top in ("/proc", "/sys"):
            for folder, names, files in os.walk(top):
                if folder == "/proc":
                    names[:] = [name for name in names if not name.isdigit() and name not in OWN]
                for name in files:
                    attempt(f"writable: {folder}/{name}", lambda path=f"{folder}/{name}": _is_writable(path))
        for node in ("mem", "kmem", "port", "kmsg", "fuse", "kvm", "tty", "console", "net/tun", "loop0", "vda", "sda",
                     "vsock", "vhost-vsock", "uinput", "mapper/control", "loop-control", "rtc", "hwrng", "snapshot"):  # fmt: skip
            attempt(
                f"open /dev/{node}", lambda path=f"/dev/{node}": os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            )
            attempt(
                f"make /dev/{node}",
                lambda path=f"/tmp/{node}": os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(254, 0)) or 1,
            )
        attempt("a core that is dumped", lambda: _dumped())


def _symbols() -> object:
    with open("/proc/kallsyms") as file:
        return [line for line, _ in zip(file, range(100), strict=False) if int(line.split()[0], 16)]


def _is_writable(path: str) -> object:
    if path.startswith(TELLING_NOTHING):
        return None
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    is_hidden = os.fstat(descriptor).st_rdev == os.stat("/dev/null").st_rdev
    os.close(descriptor)
    return not is_hidden


def _dumped() -> object:
    """The kernel may hand a core to a program outside, as core_pattern says: none may come to it."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return Path("/proc/sys/kernel/core_pattern").read_text()
