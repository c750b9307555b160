"""What this process's control groups allow it: of versions 1 and 2, also in a container."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


def group_folders(root: Path, controller: str) -> list[Path]:
    """The folders of this process's control groups that may limit "memory" or "cpu"; the innermost first.

    In a container the path may be the host's, of which only the last group is visible, as the root.
    root: of the files that say it, for the tests.
    """
    try:
        lines = (root / "proc" / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return []
    top = root / "sys" / "fs" / "cgroup"
    folders: list[Path] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        tops = (top / controllers, top / controller) if controllers else (top, top / "unified")
        for base in dict.fromkeys(tops):
            innermost = base / path.lstrip("/")
            folders += [innermost, *(parent for parent in innermost.parents if parent.is_relative_to(base))]
    return folders


def quota_cores(root: Path = Path("/")) -> float | None:
    """How many cores' time the tightest of this process's control groups allows; None if none of them limits it."""
    return min((cores for folder in group_folders(root, "cpu") for cores in _quotas(folder)), default=None)


def _quotas(folder: Path) -> Iterator[float]:
    """A group's limit in cores, if it has one: microseconds of computing in each period, over the period."""
    for quota_name, period_name in (("cpu.max", "cpu.max"), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        with contextlib.suppress(OSError, ValueError, IndexError, ZeroDivisionError):  # not there; "max"
            quota = int((folder / quota_name).read_text().split()[0])
            period = int((folder / period_name).read_text().split()[-1])
            if quota > 0:  # -1 is none
                yield quota / period
