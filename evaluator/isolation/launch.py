"""Start a worker so that it and everything it starts can be stopped and ended, in one of three ways.

`NamespacedWorker` (Linux, namespaces): lives in a root of its own, below an init process that takes every descendant
along when it dies.
`SubreaperWorker` (Linux, no namespaces): descendants that lose their parent become children of the supervisor.
`PortableWorker` (other systems): the process group, and the descendants seen so far.

Used by the supervisor only, which has one thread when it launches. Standard library only.
"""

import sys
from collections.abc import Sequence
from typing import Protocol

from evaluator.isolation import namespaces, root
from evaluator.isolation.namespaced_worker import NamespacedWorker
from evaluator.isolation.plain_workers import PortableWorker, SubreaperWorker
from evaluator.isolation.worker_spec import Pipes, WorkerSpec, Written


class Worker(Protocol):
    """A running worker. `poll` gives its exit status as os.waitstatus_to_exitcode has it, or None."""

    def poll(self) -> int | None: ...
    def terminate(self) -> None:
        """SIGTERM to the worker and its descendants, which are thawed for it."""

    def kill(self) -> None:
        """SIGKILL to the worker and its descendants, until none is left."""

    def freeze(self) -> bool:
        """Stop the worker and its descendants, and say whether all of them stand still."""

    def thaw(self) -> None:
        """Let them go on."""

    def make_room(self, predictions_bytes: int, entries: int) -> root.Room | None:
        """Fresh folders for a track; None where they are those of the specification's workplace."""

    def tree(self) -> set[int]:
        """Process ids of the worker and its descendants."""

    def written(self) -> Written:
        """What lies on its disks."""


def launch(
    spec: WorkerSpec, facilities: namespaces.Facilities, join_files: Sequence[int], pipes: Pipes
) -> Worker:
    """Start `spec` in the safest way there is; `join_files` are open files of the control group to enter."""
    if facilities.own_root:
        return NamespacedWorker(spec, facilities, join_files, pipes)
    if sys.platform.startswith("linux") and "subreaper" not in spec.without:
        return SubreaperWorker(spec, join_files, pipes)
    return PortableWorker(spec, pipes)
