"""A process that runs the members of our ensembles; the evaluator asks it and reads what it writes.

It is no sandbox: a preset is data, and the code that reads it is this repository's own. It is given mixtures only.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from evaluator.locations import PRESETS, REPOSITORY, cache_folder
from evaluator.running.dataset import Track

CACHE = cache_folder() / "estimates"
CACHE_LIMIT_BYTES = 20 << 30
END_SECONDS = 10.0


class EstimatorError(Exception):
    """A preset cannot be run; the message says why and what to do."""


@dataclass(frozen=True)
class MemberInfo:
    """A member of a step: its model, its weights above zero by stem, and the sources that the model has."""

    model: str
    weights: dict[str, float]
    offers: tuple[str, ...]


@dataclass(frozen=True)
class StepInfo:
    """A step of a preset. blend: {made signal: {stem or "input": coefficient}} of the stems' weighted means. refines:
    the signals that its members take besides its input."""

    name: str
    input: str
    stems: tuple[str, ...]
    residual: str | None
    residual_shares: Mapping[str, float]
    blend: dict[str, dict[str, float]]
    members: tuple[MemberInfo, ...]
    refines: tuple[str, ...] = ()

    @property
    def member_names(self) -> tuple[str, ...]:
        """The models' names, numbered where the step has one twice."""
        models = [member.model for member in self.members]
        return tuple(
            model if models.count(model) == 1 else f"{model} #{models[: place + 1].count(model)}"
            for place, model in enumerate(models)
        )


@dataclass(frozen=True)
class PresetInfo:
    """What a preset is and on what it runs."""

    instruments: tuple[str, ...]
    device: str
    precision: str
    steps: tuple[StepInfo, ...]


@dataclass(frozen=True)
class Cost:
    """What an answer took: seconds of all its passes, whenever they were computed, and how many were now."""

    model_seconds: float
    computed: int
    reused: int


@dataclass(frozen=True)
class Estimates:
    """Files of a step's estimates, (channels, samples) float32 .npy: its input, and by (member, stem)."""

    input: Path
    candidates: dict[tuple[int, str], Path]
    cost: Cost


def preset_file(name_or_path: str) -> Path:
    """The file of a preset; EstimatorError if there is none."""
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = PRESETS / f"{name_or_path}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in PRESETS.glob("*.yaml")))
        raise EstimatorError(f"preset {name_or_path}: not found; give a YAML file or one of {names}")
    return path.resolve()


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder for the estimates of one track, removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="sdx-estimates-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Estimator:
    """The process, from `with` to its end; requests are answered one after the other.

    cache, limit_bytes: where passes are kept and how much of them. device, precision: as in a submission.
    """

    def __init__(
        self,
        cache: Path = CACHE,
        limit_bytes: int = CACHE_LIMIT_BYTES,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        self._settings = {
            "cache": str(cache.resolve()),
            "limit_bytes": limit_bytes,
            "device": device,
            "precision": precision,
        }

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "evaluator.tuning.estimate_worker"],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a Ctrl-C at the terminal is the evaluator's to handle
        )
        try:
            self._ask(self._settings)
        except EstimatorError as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if error is None:
            self._process.stdin.close()
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        else:
            self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def describe(self, preset: Path) -> PresetInfo:
        """Read and check a preset; EstimatorError says what is wrong in it."""
        answer = self._ask({"operation": "describe", "preset": str(preset)})
        steps = [
            StepInfo(
                name=step["name"],
                input=step["input"],
                stems=tuple(step["stems"]),
                residual=step["residual"],
                residual_shares=step["residual_shares"],
                blend=step["blend"],
                members=tuple(
                    MemberInfo(member["model"], member["weights"], tuple(member["offers"]))
                    for member in step["members"]
                ),
                refines=tuple(step["refines"]),
            )
            for step in answer["steps"]
        ]
        return PresetInfo(
            tuple(answer["instruments"]),
            answer["device"],
            answer["precision"],
            tuple(steps),
        )

    def require(self, preset: Path) -> None:
        """EstimatorError, with the command that fetches them, where weights of the preset are missing or wrong."""
        self._ask({"operation": "require", "preset": str(preset)})

    def write_estimates(self, preset: Path, step: str, track: Track, folder: Path) -> Estimates:
        """Have a step's input and its members' estimates of a track written into a folder.

        They have the rate, channels and length of the track, and are neither clipped nor rounded.
        """
        answer = self._ask(_request("write_estimates", preset, track, folder) | {"step": step})
        candidates = {(item["member"], item["stem"]): folder / item["file"] for item in answer["candidates"]}
        return Estimates(folder / answer["input"], candidates, _cost(answer))

    def write_stems(self, preset: Path, track: Track, folder: Path) -> Cost:
        """Have a preset's stems of a track written into a folder as {stem}.wav, as the organisers' wrapper does."""
        return _cost(self._ask(_request("write_stems", preset, track, folder)))

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # why it has ended shows below
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise EstimatorError(f"the process that runs the members ended with exit code {code}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise EstimatorError(answer["error"])
        return answer


def _request(operation: str, preset: Path, track: Track, folder: Path) -> dict[str, Any]:
    return {
        "operation": operation,
        "preset": str(preset),
        "mixtures": [str(path.resolve()) for path in track.mixtures],
        "channels": track.estimate_channels,
        "folder": str(folder.resolve()),
    }


def _cost(answer: dict[str, Any]) -> Cost:
    return Cost(answer["model_seconds"], answer["computed"], answer["reused"])
