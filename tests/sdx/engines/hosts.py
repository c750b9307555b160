"""Another host, in a network namespace: its workers share our files, and nothing else but a cable."""

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

AGAIN = ["sh", "-c", 'while :; do "$@"; sleep 1; done', "-"]
"""Runs the rest of a command again whenever it ends, as docs/clusters.md has it."""


def has_network_namespaces() -> bool:
    """Whether we may make them."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare"))):
        return False
    name = f"sdx-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    return made


OTHER = "other"
NUMBERS = itertools.count()


class OtherHost:
    """A network namespace with one cable to ours, which can be pulled.

    Its names and addresses are those of no other test that runs at the same time.
    """

    def __init__(self) -> None:
        number = (4 * os.getpid() + next(NUMBERS)) % (64 * 256)
        self.name = f"sdx-{number}"
        self.here, self.there = f"sdx{number}a", f"sdx{number}b"
        net = f"10.{192 + number // 256}.{number % 256}"
        self.ours, self.theirs = f"{net}.1", f"{net}.2"

    def __enter__(self) -> "OtherHost":
        inside = f"ip -n {self.name}"
        for command in (
            f"ip netns add {self.name}",
            f"ip link add {self.here} type veth peer name {self.there} netns {self.name}",
            f"ip address add {self.ours}/24 dev {self.here}",
            f"ip link set {self.here} up",
            f"{inside} address add {self.theirs}/24 dev {self.there}",
            f"{inside} link set {self.there} up",
            f"{inside} link set lo up",
        ):
            subprocess.run(command.split(), check=True)
        return self

    def __exit__(self, *exception: object) -> None:
        subprocess.run(["ip", "link", "delete", self.here], check=False)
        subprocess.run(["ip", "netns", "delete", self.name], check=False)

    def cable(self, state: str) -> None:
        subprocess.run(["ip", "link", "set", self.here, state], check=True)

    @property
    def command(self) -> list[str]:
        """What runs the rest of a command there, on a machine called OTHER."""
        return [
            "ip",
            "netns",
            "exec",
            self.name,
            "unshare",
            "--uts",
            "sh",
            "-c",
            f'hostname {OTHER}; exec "$@"',
            "-",
        ]


@contextmanager
def other_host() -> Iterator[OtherHost]:
    if not has_network_namespaces():
        pytest.skip("network namespaces take root, ip and unshare")
    with OtherHost() as host:
        yield host
