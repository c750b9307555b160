"""Promise 4: there is no network but a loopback of its own.

TCP and UDP, IPv4 and IPv6, names, raw and packet sockets, routes over netlink, and families that a network
namespace does not hold.
"""

import os
import socket
import struct

from my_submission.attack import WORLD, Model, attempt

OUTSIDE = (
    "1.1.1.1",
    "8.8.8.8",
    "169.254.169.254",
    "10.0.0.1",
    "192.168.0.1",
    "172.17.0.1",
    "2606:4700::1111",
)
FAMILIES = {"VSOCK": 40, "ALG": 38, "BLUETOOTH": 31, "TIPC": 30, "CAN": 29, "RDS": 21, "KEY": 15, "PACKET": 17,
            "IB": 27, "LLC": 26, "X25": 9, "AX25": 3, "QIPCRTR": 42, "XDP": 44, "PHONET": 35, "KCM": 41, "NFC": 39,
            "CAIF": 37, "APPLETALK": 5, "IPX": 4, "SMC": 43, "MCTP": 45}  # fmt: skip


class MySeparationModel(Model):
    def attack(self) -> None:
        ports = WORLD["ports"]
        for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "::ffff:127.0.0.1", socket.gethostname()):
            for port in (ports.get("tcp", 0), ports.get("tcp6", 0), 22, 80, 443, 2375, 6443):
                attempt(f"connect to {host}:{port}", lambda to=(host, port): _connect(to))
        for host in OUTSIDE:
            for port in (53, 80, 443):
                attempt(f"connect to {host}:{port}", lambda to=(host, port): _connect(to))
                attempt(f"send to {host}:{port}", lambda to=(host, port): _send(to))
        for name in (
            "example.org",
            "localhost.localdomain",
            "host.docker.internal",
            "metadata.google.internal",
        ):
            attempt(f"look up {name}", lambda of=name: socket.gethostbyname(of))
        _send(("127.0.0.1", ports["udp"]))  # to itself, if to anybody: the harness would see it
        for name, number in FAMILIES.items():
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
                attempt(f"a socket of {name}", lambda of=(number, kind): _opened(*of))
        attempt("a raw socket", lambda: _opened(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
        attempt("other interfaces", lambda: [name for _, name in socket.if_nameindex() if name != "lo"])
        attempt("routes", lambda: open("/proc/net/route").read().splitlines()[1:])
        attempt("connections of others", lambda: open("/proc/net/tcp").read().splitlines()[1:])
        attempt("an interface made", _made_interface)
        attempt("an audit socket", lambda: _audit())
        for service in range(1, 32):  # of which some tell of devices and processes of the whole machine
            attempt(
                f"netlink service {service}",
                lambda of=service: _opened(socket.AF_NETLINK, socket.SOCK_RAW, of),
            )


def _connect(address: tuple[str, int]) -> object:
    with socket.create_connection(address, 0.5) as link:
        link.settimeout(0.5)
        return link.recv(100) or "connected"


def _send(address: tuple[str, int]) -> object:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as link:
        link.settimeout(0.5)
        link.sendto(b"hello", address)
        return "sent" if not address[0].startswith("127.") else None


def _opened(family: int, kind: int, protocol: int = 0) -> object:
    socket.socket(family, kind, protocol).close()
    return "opened"


def _made_interface() -> object:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as link:
        link.bind((0, 0))
        name = struct.pack("HH8s", 12, 3, b"evil0")
        kind = struct.pack("HH", 16, 18 | 0x8000) + struct.pack("HH8s", 12, 1, b"dummy")
        body = struct.pack("BxHiII", 0, 0, 0, 0, 0) + name + kind
        link.send(struct.pack("IHHII", 16 + len(body), 16, 0x605, 1, os.getpid()) + body)
        link.settimeout(1.0)
        answer = link.recv(4096)
        return struct.unpack_from("i", answer, 16)[0] == 0


def _audit() -> object:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9) as link:
        body = b"user=root"
        link.send(struct.pack("IHHII", 16 + len(body), 1107, 1, 1, 0) + body)
        link.settimeout(0.5)
        answer = link.recv(4096)
        return struct.unpack_from("i", answer, 16)[0] >= 0 and struct.unpack_from("H", answer, 4)[0] != 2
