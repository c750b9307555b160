"""The organisers' limits, and which of them, and of the isolation, this machine can put in force."""

import os
from dataclasses import dataclass

from evaluator.isolation import machine

GRACE_SECONDS = 5.0  # between SIGTERM and SIGKILL
SAFE_SHARE = 0.9  # of the machine's memory


@dataclass(frozen=True)
class Limits:
    """The organisers' limits; None is no limit."""

    time_factor: float | None = 1.57  # of a track's duration
    setup_seconds: float | None = 900.0
    cpus: int | None = 4
    memory_bytes: int | None = 16 << 30
    grace_seconds: float = GRACE_SECONDS

    def track_seconds(self, audio_seconds: float) -> float | None:
        """How long a track of this duration may take."""
        return None if self.time_factor is None else self.time_factor * audio_seconds


@dataclass(frozen=True)
class Isolation:
    """What is in force for a run; a field that is False or None is a limit that the system does not offer."""

    runner: str
    network_off: bool
    references_hidden: bool
    process_namespace: bool
    orphans_ended: bool  # descendants that left the worker's session end with it
    memory: str | None  # how the cap is held: "cgroup v1", "cgroup v2", "watched", "container"
    cpus: int | None
    process_limit: int | None
    not_in_force: tuple[str, ...] = ()  # what `gaps` says of the run's limits, on the machine of the run

    def gaps(self, limits: Limits) -> tuple[str, ...]:
        """One phrase for each limit of `limits`, or part of the isolation, that is not in force."""
        cores = os.cpu_count() or 1
        cap = effective_memory_bytes(limits)
        gaps = []
        if not self.network_off:
            gaps.append("the network could not be cut off")
        if not self.references_hidden:
            gaps.append("the references could not be hidden from the file system")
        if not self.orphans_ended:
            gaps.append("descendants that leave the worker's session may outlive it")
        if limits.memory_bytes is not None and self.memory is None:
            gaps.append("memory is not capped")
        if limits.memory_bytes is not None and self.memory == "watched":
            gaps.append("memory is watched rather than capped by the kernel")
        if cap is not None and limits.memory_bytes is not None and cap < limits.memory_bytes:
            gaps.append(f"this machine has memory for {gib(cap)} of the {gib(limits.memory_bytes)}")
        if limits.cpus is not None and self.cpus is None:
            gaps.append("cores are limited by thread settings only")
        if limits.cpus is not None and cores < limits.cpus:
            gaps.append(f"this machine has {cores} of the {limits.cpus} cores")
        if self.process_limit is None:
            gaps.append("the number of processes is not capped")
        return tuple(gaps)


def effective_memory_bytes(limits: Limits) -> int | None:
    """The cap on memory: that of `limits`, or less if the machine itself would run out first."""
    physical = machine.memory_bytes()
    if limits.memory_bytes is None or physical is None:
        return limits.memory_bytes
    return min(limits.memory_bytes, int(physical * SAFE_SHARE))


def gib(size_bytes: int) -> str:
    """The size in GiB, in words."""
    return f"{size_bytes / (1 << 30):.3g} GiB"
