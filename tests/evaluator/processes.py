"""Finding processes by what stands in their command line."""

import time
from pathlib import Path


def with_argument(argument: str) -> list[int]:
    """Ids of living processes that have `argument` among theirs."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                arguments = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if argument in arguments:
                found.append(int(folder.name))
    return found


def wait_until(argument: str, present: bool, timeout_seconds: float = 90.0) -> bool:
    """Whether processes with `argument` come to be there (or not there) in time."""
    deadline = time.monotonic() + timeout_seconds
    while bool(with_argument(argument)) is not present:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
