"""Promises 2 and 11: the worker inherits nothing but its three streams, and two pipes to the evaluator.

A socket or a folder among the descriptors would lead out: the evaluator could be sent folders of the submission's
choice to write to.
"""

import array
import os
import socket

from my_submission.attack import Model, attempt

ALLOWED = ("pipe:", "/dev/null", "anon_inode:[eventfd]", "anon_inode:[eventpoll]", "/proc/")


class MySeparationModel(Model):
    def attack(self) -> None:
        for number in (*range(200), *range(990, 1030), *map(int, os.listdir("/proc/self/fd"))):
            attempt(f"descriptor {number}", lambda fd=number: _foreign(fd))
            attempt(f"folder {number}", lambda fd=number: os.listdir(fd))
            attempt(f"above {number}", lambda fd=number: os.open("..", os.O_RDONLY, dir_fd=fd))
            attempt(f"send folders through {number}", lambda fd=number: _send_folders(fd))
        for name in os.listdir("/proc/self/fd"):
            path = f"/proc/self/fd/{name}"
            attempt(f"link {path}", lambda link=path: _foreign_link(os.readlink(link)))
        attempt("a file that is mapped", _mapped)


def _foreign(number: int) -> object:
    os.fstat(number)
    return _foreign_link(os.readlink(f"/proc/self/fd/{number}"))


def _foreign_link(link: str) -> object:
    return None if link.startswith(ALLOWED) else link


def _send_folders(number: int) -> object:
    with socket.socket(fileno=os.dup(number)) as found:
        folders = array.array("i", [os.open("/tmp", os.O_RDONLY), os.open("/", os.O_RDONLY)])
        return found.sendmsg([b"!"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, folders)])


def _mapped() -> object:
    """Only programs, libraries and data of the interpreter and the system are mapped."""
    with open("/proc/self/maps") as file:
        paths = {line.split(None, 5)[5].strip() for line in file if len(line.split(None, 5)) == 6}
    return [path for path in paths if path.startswith(("/memfd", "/dev/shm", "/SYSV"))]
