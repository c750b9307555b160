"""A repository whose commit names a tree that unpacks to gigabytes, with a submodule that configures programs."""

import hashlib
import os
import subprocess
import zlib
from pathlib import Path

from tests.isolation.world import World

BLOCK, BLOCKS = 1 << 20, 4096


def prepare(world: World) -> None:
    folder = world.submission
    evil = folder / "evil.sh"
    evil.write_text(f'#!/bin/sh\nid >> "{world.root}/pwned-by-a-submodule"\n')
    evil.chmod(0o755)
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    for place in (folder / "sub", folder):
        place.mkdir(exist_ok=True)
        git = ["git", "-C", str(place), "-c", "user.name=a", "-c", "user.email=a@b"]
        for arguments in (
            ["init", "--quiet"],
            ["add", "."],
            ["commit", "--quiet", "--allow-empty", "--message=one"],
        ):
            subprocess.run([*git, *arguments], check=True, env=environment, capture_output=True)
    with (folder / "sub" / ".git" / "config").open("a") as file:
        file.write(f'[core]\n\tfsmonitor = {evil}\n\tpager = {evil}\n[filter "evil"]\n\tclean = {evil}\n')
    (folder / "sub" / ".gitattributes").write_text("* filter=evil\n")
    repository = folder / ".git"
    tree = _bomb(repository / "objects")
    commit = f"tree {tree}\nauthor a <a@b> 0 +0000\ncommitter a <a@b> 0 +0000\n\none\n".encode()
    (repository / "HEAD").write_text("ref: refs/heads/one\n")
    heads = repository / "refs" / "heads"
    (heads / "one").write_text("ref: refs/heads/two\n")
    (heads / "two").write_text(f"{_write(repository / 'objects', b'commit', commit)}\n")
    (heads / "round").symlink_to("round")
    with (repository / "packed-refs").open("wb") as file:
        file.truncate(1 << 40)


def _write(objects: Path, kind: bytes, content: bytes) -> str:
    whole = kind + b" " + str(len(content)).encode() + b"\0" + content
    name = hashlib.sha1(whole).hexdigest()
    target = objects / name[:2] / name[2:]
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(zlib.compress(whole))
    return name


def _bomb(objects: Path) -> str:
    """A tree of gigabytes of nothing, in a few megabytes, under a name that nobody has to believe."""
    name = "b0" + "0" * 38
    target = objects / name[:2] / name[2:]
    target.parent.mkdir(exist_ok=True)
    packer = zlib.compressobj(9)
    with target.open("wb") as file:
        file.write(packer.compress(b"tree " + str(BLOCK * BLOCKS).encode() + b"\0"))
        file.write(packer.compress(bytes(BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH))
        block = packer.compress(bytes(BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
        for _ in range(BLOCKS - 1):
            file.write(block)
    return name
