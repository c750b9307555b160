"""On the path of a process, this takes from it most of what Windows does not have."""

import multiprocessing.util  # noqa: F401 (what these two use of the system is their own affair)
import os
import select
import signal
import subprocess  # noqa: F401
import sys
from importlib import import_module

for name in os.environ.get("IMPORTED_WITH_POSIX", "").split():  # packages that have a part for each system
    import_module(name)
MISSING = {
    signal: ("SIGHUP", "SIGSTOP", "SIGPIPE", "SIGALRM", "SIGUSR1", "SIGQUIT", "pthread_sigmask", "SIG_BLOCK"),
    os: ("fork", "setsid", "killpg", "sched_getaffinity", "sched_setaffinity", "sysconf", "geteuid"),
    select: ("poll", "epoll"),
}
for module, names in MISSING.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
for name in ("fcntl", "resource", "termios", "pwd", "grp", "pty", "tty", "syslog"):
    sys.modules[name] = None  # type: ignore[assignment]
