"""The engine of Slurm: each piece of work is a job, by submitit, whose folder all machines share.

`slurm://local` runs the same jobs as processes of this machine, which is what the tests try; nothing here has seen a
Slurm. A job constructs anew what a worker of Dask keeps, so it is for pieces of minutes.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import submitit

from sdx.engines.address import HERE, JOBS, Address
from sdx.engines.dispatcher import Dispatcher, Piece
from sdx.engines.engine import (
    Answer,
    EngineError,
    Introduction,
    Refused,
    Worker,
    WorkerLostError,
    introduce,
    unfit,
)

LOOK_SECONDS = 1.0
HOURS = 4


class SlurmEngine(Dispatcher):
    """Runs functions as jobs, a number at a time; `folder` takes submitit's files and is to be seen everywhere."""

    def __init__(self, address: Address, folder: Path) -> None:
        super().__init__()
        cluster = "local" if address.host == HERE else "slurm"
        try:
            self._executor = submitit.AutoExecutor(folder / "jobs", cluster=cluster)
        except RuntimeError as error:  # there is no sbatch
            raise EngineError(f"Slurm cannot be used: {error}") from None
        minutes = 60 * address.option("hours", HOURS)
        partition = {"slurm_partition": address.host} if address.host not in (HERE, "") else {}
        self._executor.update_parameters(timeout_min=minutes, name="sdx", **partition)
        self._gpus = address.option("gpus", 0)
        self._jobs: dict[Piece, Any] = {}
        self._closed = threading.Event()
        for number in range(1, address.option("jobs", JOBS) + 1):
            self._joined(Worker(f"job-{number}", f"a job in slot {number}", self._gpus))
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def close(self) -> None:
        """Cancel the jobs that run."""
        self._closed.set()
        with self._lock:
            jobs = list(self._jobs.values())
        self._stop(EngineError("the engine was closed"))
        for job in jobs:
            job.cancel(check=False)
        self._watcher.join()

    def _begin(self, worker: Worker, piece: Piece) -> None:
        memory = (
            {} if piece.needs.memory_bytes is None else {"mem_gb": -(-piece.needs.memory_bytes // (1 << 30))}
        )
        gpus = max(self._gpus, piece.needs.gpus)
        self._executor.update_parameters(cpus_per_task=piece.needs.cores, gpus_per_node=gpus, **memory)
        try:
            self._jobs[piece] = self._executor.submit(_in_job, introduce(), piece.function, piece.arguments)
        except (OSError, submitit.core.utils.FailedJobError) as error:  # sbatch said no
            self._done(worker.name, piece, EngineError(f"Slurm takes no job: {error}"))

    def _watch(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            with self._lock:
                running = [(name, piece, self._jobs.get(piece)) for name, piece in self._busy.items()]
            for name, piece, job in running:
                if job is not None and job.done():
                    self._take(name, piece, job)

    def _take(self, name: str, piece: Piece, job: Any) -> None:
        machine = f"job {job.job_id}"
        outcome: Any
        try:
            answer: Answer = job.result()
            machine, outcome = answer.machine, answer.value
        except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError) as error:
            ended = isinstance(error, submitit.core.utils.UncompletedJobError)
            outcome = WorkerLostError(machine) if ended else RuntimeError(str(error).strip().splitlines()[-1])
        except (
            Exception
        ) as error:  # such as a file that cannot be read here: else nobody would look after the others
            outcome = error
        with self._lock:
            self._jobs.pop(piece, None)
            self._done(name, piece, outcome, machine)


def _in_job(ours: Introduction, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Answer:
    """The job: what `function` returns, and which machine this is; Refused if the kit is another one here."""
    here = introduce()
    reason = unfit(here, ours)
    return Answer("", here.machine, function(*arguments) if reason is None else Refused(reason))
