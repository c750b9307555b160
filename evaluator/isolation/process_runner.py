"""The `Runner` that keeps a submission in processes of this machine, looked after by a supervisor process."""

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from evaluator.isolation import view
from evaluator.isolation.limits import Isolation, Limits, effective_memory_bytes
from evaluator.isolation.sandbox import SessionRunner, Workplace
from evaluator.isolation.session import ANSWER_SECONDS, Launcher
from evaluator.isolation.variables import HOME_VARIABLE, THREAD_VARIABLES
from evaluator.isolation.worker_spec import MIXTURES, PREDICTIONS, SCRATCH, SHARED, WorkerSpec
from evaluator.locations import REPOSITORY

WORKER = Path(__file__).with_name("worker.py")
OWN_WRAPPER = REPOSITORY / "my_submission" / "aicrowd_wrapper.py"
MAX_PROCESSES = 4096
# Of ours, the submission is given those that say how to compute; keys, tokens and paths are nobody's business.
PASSED_ON = re.compile(
    r"PATH|LANG|LANGUAGE|LC_\w+|TZ|LD_LIBRARY_PATH|SYSTEMROOT|WINDIR|PATHEXT|COMSPEC|NUMBER_OF_PROCESSORS"
    r"|(SDX|CUDA|CUDNN|NCCL|NVIDIA|HIP|ROCR|HSA|ONEDNN|DNNL|MKL|OMP|KMP|GOMP|OPENBLAS|NUMEXPR|ATEN|TORCH|PYTORCH"
    r"|TRITON|ORT|MALLOC|NUMBA)_\w+|MALLOC_\w*"
)
NOT_PASSED_ON = re.compile(r"\w*(TOKEN|SECRET|PASSWORD|KEY|CREDENTIAL)\w*", re.IGNORECASE)

SUPERVISOR = Launcher(
    "process", (sys.executable, "-m", "evaluator.isolation.supervisor"), ANSWER_SECONDS, takes_channel=True
)


class ProcessRunner(SessionRunner):
    """The submission in a process tree of its own, looked after by a supervisor process (see supervisor.py).

    `hidden` are files and folders the submission must not find; `readable` are those it may read besides its own
    folder and its packages; `stems` are those to be made where they are no challenge's; gpu: it may use one.
    """

    def __init__(
        self,
        submission: Path,
        workplace: Workplace,
        limits: Limits,
        environment: Mapping[str, str],
        hidden: Sequence[Path],
        readable: Sequence[Path] = (),
        without: Sequence[str] = (),
        stems: Sequence[str] = (),
        gpu: bool = False,
        accept: Callable[[Isolation], object] = lambda isolation: None,
    ) -> None:
        cores = _cores(limits.cpus, workplace.number)
        threads = limits.cpus if cores is None else len(cores)
        spec = WorkerSpec(
            command=[
                sys.executable,
                "-P",
                str(WORKER),
                *(str(submission), MIXTURES, PREDICTIONS, str(OWN_WRAPPER)),
                *stems,
            ],
            environment=_environment(environment, threads),
            folder=str(submission),
            view=view.of_submission(submission, [WORKER, OWN_WRAPPER, *readable], hidden, REPOSITORY, gpu),
            mixtures=str(workplace.mixtures),
            shared=str(workplace.shared),
            scratch=str(workplace.scratch),
            temporary=str(workplace.root),
            cpus=cores,
            cpu_quota=limits.cpus,
            memory_bytes=effective_memory_bytes(limits),
            scratch_bytes=limits.scratch_bytes,
            max_processes=MAX_PROCESSES,
            without=list(without),
        )
        super().__init__(SUPERVISOR, spec, limits, workplace, accept)


def _cores(count: int | None, number: int) -> list[int] | None:
    """The cores of a session: the first `count` of ours for session 0, the next for 1, and so on, in a circle.

    None if the system has no affinity, or no limit is set.
    """
    if count is None or not hasattr(os, "sched_getaffinity"):
        return None
    ours = sorted(os.sched_getaffinity(0))
    return sorted({ours[(number * count + index) % len(ours)] for index in range(count)})


def _environment(extra: Mapping[str, str], threads: int | None) -> dict[str, str]:
    """The submission's environment: of ours what is PASSED_ON, plus the organisers' variables."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if PASSED_ON.fullmatch(name) and not NOT_PASSED_ON.fullmatch(name)
    }
    return {
        **kept,
        **({} if threads is None else dict.fromkeys(THREAD_VARIABLES, str(threads))),
        **dict.fromkeys(("HOME", "TMPDIR", "TEMP", "TMP"), SCRATCH),
        HOME_VARIABLE: os.path.expanduser("~"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "AICROWD_DATASET_DIR": MIXTURES,
        "AICROWD_PUBLIC_SHARED_DIR": SHARED,
        **extra,
    }
