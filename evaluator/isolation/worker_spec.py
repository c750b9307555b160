"""What a worker is and what it may use: passed from the evaluator to its supervisor. Standard library only."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluator.isolation.view import View

# In the command and the environment of a worker, for what it is known by where it runs.
MIXTURES, SHARED, SCRATCH = "<mixtures>", "<shared>", "<scratch>"
PREDICTIONS = f"{SHARED}/predictions"


@dataclass(frozen=True)
class WorkerSpec:
    """What to run and what it may use; travels from the evaluator to its supervisor as JSON.

    command, environment: with MIXTURES, SHARED and SCRATCH in place of folders.
    mixtures, shared, scratch: these folders where the worker has no root of its own; shared holds "predictions".
    temporary: the folder above them that is removed at the end; None if they are somebody else's.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    view: View
    mixtures: str
    shared: str
    scratch: str
    temporary: str | None
    cpus: Sequence[int] | None  # the cores it may use; None for all
    cpu_quota: int | None  # how many cores' time it may use in sum
    memory_bytes: int | None
    scratch_bytes: int | None  # of temporary files and shared memory
    max_processes: int
    without: Sequence[
        str
    ] = ()  # facilities not to use though they are there: "namespaces", "cgroup", "subreaper"

    @classmethod
    def from_json(cls, line: bytes) -> "WorkerSpec":
        """The specification that the evaluator sent."""
        fields = json.loads(line)
        return cls(**{**fields, "view": View(**fields["view"])})

    def command_for(self, mixtures: str, shared: str, scratch: str) -> tuple[list[str], dict[str, str]]:
        """Command and environment with these folders."""

        def filled(text: str) -> str:
            for token, path in ((MIXTURES, mixtures), (SHARED, shared), (SCRATCH, scratch)):
                text = text.replace(token, path)
            return text

        environment = {name: filled(value) for name, value in self.environment.items()}
        return [filled(word) for word in self.command], environment


@dataclass(frozen=True)
class Pipes:
    """The worker's ends: its requests, and its events. What it prints goes to our standard error."""

    requests: int
    events: int


@dataclass(frozen=True)
class Written:
    """Bytes of files that a worker has written; in_memory: of those that count as its memory. full: no more fit."""

    on_disk: int = 0
    in_memory: int = 0
    full: bool = False


class LaunchError(Exception):
    """The worker could not be started; the message says at which step."""
