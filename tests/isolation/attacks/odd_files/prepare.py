"""What lies in the folder. SDX_PRESET is looked for in every module."""

import os
import socket
from pathlib import Path

from tests.isolation.world import World


def prepare(world: World) -> None:
    package = world.submission / "my_submission"
    os.mkfifo(package / "pipe.py")
    os.mkfifo(world.submission / "pipe.yaml")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(package)  # the path of a socket is short
        listener.bind("socket.py")
        os.chdir(here)
    for name, target in (
        ("zero.py", "/dev/zero"),
        ("random.py", "/dev/urandom"),
        ("stdin.py", "/dev/stdin"),
        ("kmsg.py", "/proc/kmsg"),
        ("round.py", "round.py"),
        ("nothing.py", "/nowhere"),
        ("up", ".."),
        ("everything", "/"),
        ("data", str(world.data)),
        ("memory.py", "/proc/self/mem"),
    ):
        (package / name).symlink_to(target)
    (world.submission / "\x1b[2J\x1b]0;owned\x07\n99.000").symlink_to(world.data)
    (world.submission / "\u202e99.000").symlink_to(world.home)
    with open(package / "large.py", "wb") as file:
        file.truncate(1 << 40)
    for name in (b"\xff\xfe.py", b"\x1b[31m.py", b"new\nline.py", "\u2028.py".encode()):
        Path(os.fsdecode(os.path.join(os.fsencode(package), name))).write_text("# SDX_PRESET")
    os.makedirs(package / "folder.py")
    deep = package
    for _ in range(90):
        deep = deep / "d"
    os.makedirs(deep)
    (world.submission / "aicrowd.json").write_text("[" * 100_000)
    if (requirements := world.submission / "requirements.txt").is_file():  # an image is built from it
        (world.submission / ".dockerignore").write_text("my_submission/large.py\n")  # too large for one
    else:
        requirements.symlink_to("/dev/zero")
