"""Promises 2 and 4: no Unix socket of the machine can be spoken to, neither one with a path nor an abstract one."""

import os
import socket
import stat

from my_submission.attack import WORLD, Model, attempt

USUAL = ("/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock", "/run/dbus/system_bus_socket",
         "/run/systemd/notify", "/run/systemd/private", "/run/user/1001/bus", "/dev/log", "/run/containerd/containerd.sock",
         "/tmp/.X11-unix/X0", "/run/nscd/socket", "/run/user/0/bus")  # fmt: skip


class MySeparationModel(Model):
    def attack(self) -> None:
        paths = [WORLD["socket"], f"/proc/self/root{WORLD['socket']}", *USUAL]
        for address in [*paths, f"\0{WORLD['abstract']}", "\0/tmp/.X11-unix/X0", "\0/tmp/dbus-test"]:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
                attempt(f"connect to {address!r}", lambda to=address, of=kind: _connect(to, of))
        with open("/proc/net/unix") as file:
            for line in file.read().splitlines()[1:]:
                for name in line.split(" ")[
                    7:
                ]:  # an end that is connected has a name, too, and is nobody's to take
                    attempt(f"connect to {name} of the table", lambda to=name: _connect_named(to))
        for top in ("/tmp", "/dev", "/run", "/var", "/sdx"):
            for folder, _, names in os.walk(top):
                for name in names:
                    attempt(f"a socket at {folder}/{name}", lambda path=f"{folder}/{name}": _is_socket(path))


def _connect(address: str, kind: int) -> object:
    with socket.socket(socket.AF_UNIX, kind) as link:
        link.settimeout(1.0)
        link.connect(address)
        link.sendall(b"hello\n")
        return link.recv(100) or "connected"


def _connect_named(name: str) -> object:
    return _connect("\0" + name[1:] if name.startswith("@") else name, socket.SOCK_STREAM)


def _is_socket(path: str) -> object:
    return stat.S_ISSOCK(os.lstat(path).st_mode)
