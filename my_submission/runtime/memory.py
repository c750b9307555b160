"""How much memory there is for computing: what the machine has left, within the process's own limits."""

import mmap
from pathlib import Path

import torch

from my_submission.runtime.control_groups import group_folders

_SHARE_OF_THE_FREE = 0.75
"""How much is used unless the user says otherwise; the rest is for signals under way and for other programs."""
_SIGNALS_BYTES = 400 << 20
"""For a block of a track in all stages of an ensemble; set aside from a budget."""
_GPU_BYTES = 8 << 30
"""The most that is used of a GPU unless the user says otherwise."""


def memory_for_chunks(device: torch.device, budget_bytes: int | None = None) -> int | None:
    """Memory for computing chunks on a device, once the models are loaded; None if it is unknown.

    budget_bytes: what this process may use there in all, models included; by default most of what is free.
    Negative if the models alone take more than the budget.
    """
    held = held_bytes(device)
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        default = min(_GPU_BYTES, int(_SHARE_OF_THE_FREE * (held + free)))
        return (default if budget_bytes is None else budget_bytes) - held
    if budget_bytes is not None:
        return budget_bytes - held
    free_bytes = available_bytes()
    return None if free_bytes is None else int(_SHARE_OF_THE_FREE * free_bytes)


def held_bytes(device: torch.device) -> int:
    """What this process uses of a device's memory before it computes; on the CPU, with room for signals."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:  # not on this system
        pages = 0
    return pages * mmap.PAGESIZE + _SIGNALS_BYTES


def available_bytes(root: Path = Path("/")) -> int | None:
    """Memory that this process may still use: free on the machine and in each of its control groups.

    None if the system does not say. root: of the files that say it, for the tests.
    """
    found = [_machine_bytes(root / "proc" / "meminfo")]
    found += [_group_bytes(folder) for folder in group_folders(root, "memory")]
    known = [value for value in found if value is not None]
    return min(known, default=None)


def _machine_bytes(meminfo: Path) -> int | None:
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), None)


def _group_bytes(folder: Path) -> int | None:
    """What is left in a group; the file cache counts as free, since the kernel gives it up."""
    for limit_name, usage_name in (
        ("memory.max", "memory.current"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        try:
            limit = int((folder / limit_name).read_text())
            usage = int((folder / usage_name).read_text())
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):  # not there, or "max"
            continue
        cache = int(statistics.get("total_inactive_file", statistics.get("inactive_file", 0)))
        return limit - usage + cache
    return None
