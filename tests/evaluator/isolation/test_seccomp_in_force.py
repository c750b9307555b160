"""The filter of system calls in force: what the kernel of this machine answers to a process that has it."""

import json
import subprocess
import sys

import pytest

from evaluator.isolation import seccomp
from evaluator.locations import REPOSITORY

CHILD = """
import ctypes, errno, json, os, socket, subprocess, sys, threading
from evaluator.isolation import namespaces, seccomp

namespaces.prctl(namespaces.PR_SET_NO_NEW_PRIVS, 1)
seccomp.install()
column = seccomp.MACHINES[os.uname().machine][0]
libc = ctypes.CDLL(None, use_errno=True)

def call(number, *arguments):
    ctypes.set_errno(0)
    libc.syscall(number, *arguments)
    return errno.errorcode.get(ctypes.get_errno(), "allowed")

def family(number):
    try:
        socket.socket(number, socket.SOCK_STREAM).close()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "allowed"

said = {name: call(numbers[column], 0, 0, 0, 0, 0) for name, numbers in seccomp.REFUSED.items()
        if numbers[column] is not None and name not in ("reboot", "kexec_load", "vhangup")}
said["clone of a user's namespace"] = call(seccomp.CLONE[column], 0x10000000 | 17, 0, 0, 0, 0)
said["clone3"] = call(seccomp.CLONE3[column], 0, 0)
for number in (38, 40, 31):  # ALG, VSOCK, BLUETOOTH
    said[f"family {number}"] = family(number)
allowed = {str(number): family(number) for number in (socket.AF_UNIX, socket.AF_INET)}
allowed["a thread"] = "no"
thread = threading.Thread(target=lambda: allowed.update({"a thread": "allowed"}))
thread.start()
thread.join()
code = "import ctypes; print(ctypes.CDLL(None, use_errno=True).unshare(0x10000000), ctypes.get_errno())"
child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
print(json.dumps([said, allowed, child.stdout]))
"""


@pytest.mark.skipif(not seccomp.is_known_machine(), reason="there is no filter for this processor")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
def test_the_kernel_of_this_machine_does_the_same() -> None:
    """Also in what the filtered process starts."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said, allowed, child = json.loads(done.stdout)
    assert said.pop("clone3") == "ENOSYS"
    families = {name: said.pop(name) for name in list(said) if name.startswith("family")}
    assert set(families.values()) == {"EAFNOSUPPORT"}
    assert set(said.values()) == {"EPERM"}, said
    assert set(allowed.values()) == {"allowed"}
    assert child.startswith("-1 ")
