"""Have a command run by an ordinary user, although the tests may be root's.

Root's interpreter often lies where nobody else may go (/root). So the command has mounts of its own, in which the
folders that are closed hold nothing but what it needs.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from evaluator.isolation import namespaces
from evaluator.locations import REPOSITORY

USER = 65534
OUT_OF_REACH = 77  # exit code


def run(
    arguments: Sequence[str | Path], environment: Mapping[str, str] = os.environ
) -> "subprocess.CompletedProcess[str]":
    """The finished command of Python's `arguments`; the test is skipped where nobody else can reach Python."""
    command = [sys.executable, *map(str, arguments)]
    if os.geteuid() == 0:
        command = [sys.executable, "-m", __name__, *command]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode == OUT_OF_REACH:
        pytest.skip(done.stderr)
    return done


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder that everybody may reach and write to; pytest's are closed."""
    made = Path(tempfile.mkdtemp(prefix="sdx-test-"))
    made.chmod(0o777)
    try:
        yield made
    finally:
        shutil.rmtree(made)


def main(command: list[str]) -> None:
    """Become an ordinary user, and then the command; root only."""
    needed = [Path(sys.prefix), Path(sys.base_prefix), REPOSITORY]
    namespaces.unshare(namespaces.CLONE_NEWNS)
    namespaces.mount("none", "/", None, namespaces.MS_REC | namespaces.MS_PRIVATE)
    closed = {parent for path in needed for parent in path.parents if not parent.stat().st_mode & 0o001}
    for place in sorted(closed):
        opened = {path: os.open(path, os.O_PATH) for path in needed if path.is_relative_to(place)}
        namespaces.mount("tmpfs", str(place), "tmpfs", 0, "mode=755")
        for path, descriptor in opened.items():
            path.mkdir(parents=True, exist_ok=True)
            namespaces.mount(f"/proc/self/fd/{descriptor}", str(path), None, namespaces.MS_BIND)
    namespaces.become_user(USER, USER)
    for path in needed:
        if not os.access(path, os.R_OK | os.X_OK):
            print(f"an ordinary user cannot reach {path}", file=sys.stderr)
            sys.exit(OUT_OF_REACH)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
