"""Runs a submission in a container of its image: the same contract as sandbox.ProcessRunner.

What the two have in common is in sandbox.SessionRunner; the process that looks after the container is
containers/relay.py, and process 1 inside it containers/first_process.py.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from evaluator import aicrowd_manifest
from evaluator.containers import workplace_files
from evaluator.containers.engine import EngineError, connect
from evaluator.containers.image import context_of, ensure_image
from evaluator.containers.relay import ContainerSpec
from evaluator.isolation import machine
from evaluator.isolation.process_runner import MAX_PROCESSES, NOT_PASSED_ON, OWN_WRAPPER
from evaluator.isolation.sandbox import (
    Isolation,
    Launcher,
    Limits,
    SessionRunner,
    Workplace,
    effective_memory_bytes,
)
from evaluator.isolation.variables import PRESET_VARIABLE, THREAD_VARIABLES
from evaluator.isolation.view import View
from evaluator.isolation.worker_spec import WorkerSpec

HOME = "/home/aicrowd"  # where the Dockerfile puts the submission
CODE, MIXTURES, SHARED, PRESET = "/sdx/code", "/sdx/mixtures", "/sdx/shared", "/sdx/preset"
WRAPPER = f"{CODE}/{OWN_WRAPPER.name}"
SCRATCH = "/tmp"
OWN_PREFIX = "SDX_"
# Without what packages have every interpreter run: it would be in the process that is to stop them.
FIRST_PROCESS = ("-I", "-S", f"{CODE}/evaluator/containers/first_process.py")
START_SECONDS = 120.0
SPARE_BYTES = 1 << 20  # of predictions where there are none to come


def container_runner(
    submission: Path,
    limits: Limits,
    environment: Mapping[str, str],
    hidden: Sequence[Path],
    stems: Sequence[str] = (),
    predictions_bytes: int = SPARE_BYTES,
    accept: Callable[[Isolation], object] = lambda isolation: None,
) -> Callable[[Workplace], ContainerRunner]:
    """Makes the runner of a submission, and its image if there is none yet; `hidden` stays outside.

    stems: those to be made where they are no challenge's. predictions_bytes: of any one track at most. accept: see
    `SessionRunner`.

    Raises EngineError at once if there is no engine, or if the preset's folder holds hidden files.
    """
    connect()
    preset = _preset(submission, environment, hidden)

    def make(workplace: Workplace) -> ContainerRunner:
        image = ensure_image(submission)
        return ContainerRunner(
            submission, image, workplace, limits, environment, preset, stems, predictions_bytes, accept
        )

    return make


@dataclass(frozen=True)
class _Preset:
    """The preset's file as the submission finds it inside, and the folder here that is mounted for it."""

    inside: str
    mounted: Path | None


def _container(
    submission: Path,
    image: str,
    workplace: Workplace,
    limits: Limits,
    preset: _Preset | None,
    predictions_bytes: int,
) -> ContainerSpec:
    mounts = [
        (str(workplace.root / workplace_files.CODE), CODE, True),
        (str(workplace.mixtures), MIXTURES, True),
    ]
    if preset is not None and preset.mounted is not None:
        mounts.append((str(preset.mounted), PRESET, True))
    return ContainerSpec(
        image=image,
        command=["python", *FIRST_PROCESS],
        folder=CODE,
        mounts=mounts,
        memory_bytes=effective_memory_bytes(limits),
        cpus=limits.cpus,
        max_processes=MAX_PROCESSES,
        scratch_bytes=limits.scratch_bytes,
        predictions=f"{SHARED}/predictions",
        predictions_bytes=max(predictions_bytes, SPARE_BYTES),  # 0 would be no limit
        gpus=wants_gpu(submission) and bool(machine.describe()["gpus"]),
        temporary=str(workplace.root),
    )


class ContainerRunner(SessionRunner):
    """The submission in a container of its image, with nothing mounted but mixtures and our code.

    Predictions lie in the container's memory, in a file system of a size, and are handed over as an open folder. That
    needs an engine on our own kernel; with another's, they are a folder of ours that is watched.
    """

    def __init__(
        self,
        submission: Path,
        image: str,
        workplace: Workplace,
        limits: Limits,
        environment: Mapping[str, str],
        preset: _Preset | None,
        stems: Sequence[str] = (),
        predictions_bytes: int = SPARE_BYTES,
        accept: Callable[[Isolation], object] = lambda isolation: None,
    ) -> None:
        container = _container(submission, image, workplace, limits, preset, predictions_bytes)
        spec = WorkerSpec(
            command=[
                "python",
                "-P",
                f"{CODE}/evaluator/isolation/worker.py",
                HOME,
                MIXTURES,
                f"{SHARED}/predictions",
                WRAPPER,
                *stems,
            ],
            environment={
                **_environment(limits),
                **environment,
                **({} if preset is None else {PRESET_VARIABLE: preset.inside}),
            },
            folder=HOME,
            view=View(
                links=[], shown=[], hidden=[], devices=[], as_owner=[]
            ),  # the image's files are its root
            mixtures=MIXTURES,
            shared=SHARED,
            scratch=SCRATCH,
            temporary=None,
            cpus=None,  # the container has its share of all of them
            cpu_quota=None,
            memory_bytes=container.memory_bytes,
            scratch_bytes=limits.scratch_bytes,
            max_processes=MAX_PROCESSES,
        )
        described = json.dumps(asdict(container))
        relay = (sys.executable, "-m", "evaluator.containers.relay", described)
        launcher = Launcher("docker", relay, START_SECONDS, takes_channel=True)
        super().__init__(launcher, spec, limits, workplace, accept)


def _environment(limits: Limits) -> dict[str, str]:
    """Variables of the submission besides those of its image: ours, and the organisers'."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(OWN_PREFIX) and not NOT_PASSED_ON.fullmatch(name)
    }
    threads = {} if limits.cpus is None else dict.fromkeys(THREAD_VARIABLES, str(_threads(limits.cpus)))
    return {
        **ours,
        **threads,
        "HOME": SCRATCH,
        "TMPDIR": SCRATCH,
        "AICROWD_DATASET_DIR": MIXTURES,
        "AICROWD_PUBLIC_SHARED_DIR": SHARED,
    }


def _threads(cpus: int) -> int:
    """As many as both the limit and the machine allow."""
    return min(cpus, os.cpu_count() or cpus)


def _preset(submission: Path, environment: Mapping[str, str], hidden: Sequence[Path]) -> _Preset | None:
    """How the submission finds the preset that is asked for, if that is a file."""
    file = Path(environment.get(PRESET_VARIABLE, ""))
    if not file.is_file():
        return None
    if file.is_relative_to(submission):
        name = file.relative_to(submission).as_posix()
        if name in context_of(submission).files:
            return _Preset(f"{HOME}/{name}", None)
    folder = file.parent  # its own manifest and weights stand beside it
    if any(path.is_relative_to(folder) or folder.is_relative_to(path) for path in hidden):
        raise EngineError(
            f"{file}: its folder is mounted in the container, but the data is there, too; move the preset to its"
            " own folder"
        )
    return _Preset(f"{PRESET}/{file.name}", folder)


def wants_gpu(submission: Path) -> bool:
    """Whether aicrowd.json asks for a GPU."""
    return aicrowd_manifest.read(submission).get("gpu") is True
