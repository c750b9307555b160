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
    scratch_bytes: int | None = 4 << 30  # of temporary files and shared memory, which count as memory, too
    grace_seconds: float = GRACE_SECONDS

    def track_seconds(self, audio_seconds: float) -> float | None:
        """How long a track of this duration may take."""
        return None if self.time_factor is None else self.time_factor * audio_seconds


@dataclass(frozen=True)
class Isolation:
    """What is in force for a run; a field that is False or None is something that the system does not offer."""

    runner: str
    network_off: bool
    references_hidden: bool  # it lives in a root of its own, in which there is nothing but what it needs
    process_namespace: bool
    orphans_ended: bool  # descendants that left the worker's session end with it
    memory: str | None  # how the cap is held: "cgroup v1", "cgroup v2", "watched", "container"
    cpus: int | None
    process_limit: int | None
    unprivileged: bool = False  # another user's rights than ours, and no capability
    calls_filtered: bool = False  # system calls that it has no use for are refused
    frozen: bool = False  # it stands still between two tracks, and while its estimates are collected
    cpu_quota: bool = False  # cores are limited by their time, too, which it cannot change
    disk: str | None = None  # how the size of its files is limited: "capped", "watched"
    not_in_force: tuple[str, ...] = ()  # what `gaps` says of the run's limits, on the machine of the run

    def open_promises(self) -> tuple[str, ...]:
        """One phrase for each wall that this system does not let us build: what `--require-isolation` asks for."""
        walls = {
            "the network could not be cut off": self.network_off,
            "the references could not be hidden from the file system": self.references_hidden,
            "the submission runs with the rights of the user who evaluates it": self.unprivileged,
            "system calls are not filtered": self.calls_filtered,
            "descendants that leave the worker's session may outlive it": self.orphans_ended,
            "the submission is not stopped between tracks": self.frozen,
        }
        return tuple(phrase for phrase, is_built in walls.items() if not is_built)

    def open_limits(self, limits: Limits) -> tuple[str, ...]:
        """One phrase for each of `limits` that is not in force, or not by the kernel."""
        has_memory, has_cpus = limits.memory_bytes is not None, limits.cpus is not None
        phrases = {
            "memory is not capped": has_memory and self.memory is None,
            "memory is watched rather than capped by the kernel": has_memory and self.memory == "watched",
            "cores are limited by thread settings only": has_cpus
            and not self.cpu_quota
            and self.cpus is None,
            "cores are limited in a way that the submission can undo": has_cpus
            and not self.cpu_quota
            and self.cpus is not None,
            "the size of its files is not limited": self.disk is None,
            "the size of its files is watched rather than capped by the kernel": self.disk == "watched",
            "the number of processes is not capped": self.process_limit is None,
        }
        return tuple(phrase for phrase, is_open in phrases.items() if is_open)

    def gaps(self, limits: Limits) -> tuple[str, ...]:
        """What is open of either, and what of the limits this machine is too small for."""
        cores = os.cpu_count() or 1
        cap = effective_memory_bytes(limits)
        gaps = [*self.open_promises(), *self.open_limits(limits)]
        if cap is not None and limits.memory_bytes is not None and cap < limits.memory_bytes:
            gaps.append(f"this machine has memory for {gib(cap)} of the {gib(limits.memory_bytes)}")
        if limits.cpus is not None and cores < limits.cpus:
            gaps.append(f"this machine has {cores} of the {limits.cpus} cores")
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
