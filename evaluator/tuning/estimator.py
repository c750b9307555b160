"""A process that runs the members of our ensembles; the evaluator asks it and reads what it writes.

It is no sandbox: a preset is data, and the code that reads it is this repository's own. It is given mixtures only.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from evaluator.locations import PRESETS, REPOSITORY, cache_folder
from evaluator.running import parts
from evaluator.running.dataset import Dataset, Track

CACHE = cache_folder() / "estimates"
CACHE_LIMIT_BYTES = 20 << 30
END_SECONDS = 10.0
MODEL_RATE_HZ = 44_100


class EstimatorError(Exception):
    """A preset cannot be run; the message says why and what to do. errno: where the system said no."""

    def __init__(self, message: str, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno


@dataclass(frozen=True)
class MemberInfo:
    """A member of a step: its model, its weights above zero by stem, the model's sources, and how it is run."""

    model: str
    weights: dict[str, float]
    offers: tuple[str, ...]
    polarity: str = "plain"  # both, plain or inverted
    overlap: float = 0.0


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
class Prediction:
    """Seconds of each step's members, (members, tracks), and what a submission with a time limit adds to them.

    margin: a share of them. files_factor, files_seconds: for reading and writing, a second of audio and a track.
    """

    seconds: tuple[NDArray[np.float64], ...]
    margin: float
    files_factor: float
    files_seconds: float

    def rtf(self, seconds: NDArray[np.float64], lengths: NDArray[np.float64]) -> float:
        """Of tracks of these lengths whose models take so many seconds, files included."""
        files = self.files_factor * lengths + self.files_seconds
        return float((seconds + files).sum() / lengths.sum())

    def fits(self, seconds: NDArray[np.float64], lengths: NDArray[np.float64], limit_factor: float) -> bool:
        """Whether each track would be done within `limit_factor` times its length, with the margin."""
        files = self.files_factor * lengths + self.files_seconds
        return bool((seconds * (1 + self.margin) + files <= limit_factor * lengths).all())


@dataclass(frozen=True)
class Estimates:
    """Files of a step's estimates, (channels, samples) float32 .npy: its input, and by (member, stem)."""

    input: Path
    candidates: dict[tuple[int, str], Path]
    cost: Cost


@dataclass(frozen=True)
class Required:
    """The checkpoints of a preset: the SHA-256 of each, how its file is read included, and what it computes in.

    precisions: of those for which it has been chosen.
    """

    weights: Mapping[str, str]
    precisions: Mapping[str, str]


T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Question(Protocol[T_co]):
    """What is asked of each track: a record that can travel to another process, as its answers can.

    `preset` is the file it is about; `at` gives the same question of another file.
    """

    @property
    def preset(self) -> Path: ...
    def at(self, preset: Path) -> Self: ...
    def answer(self, estimator: "Estimator", track: Track) -> T_co:
        """Raises EstimatorError."""


def preset_file(name_or_path: str) -> Path:
    """The file of a preset; EstimatorError if there is none."""
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = PRESETS / f"{name_or_path}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in PRESETS.glob("*.yaml")))
        raise EstimatorError(f"preset {name_or_path}: not found; give a YAML file or one of {names}")
    return path.resolve()


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
                    MemberInfo(
                        member["model"],
                        member["weights"],
                        tuple(member["offers"]),
                        member["polarity"],
                        member["overlap"],
                    )
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

    def require(
        self, preset: Path, precisions: Mapping[str, str] | None = None, chooses: bool = False
    ) -> Required:
        """Which weights a preset has.

        precisions: {checkpoint: dtype}, what is to be taken for "auto" from now on. chooses: try the others, too.
        Raises EstimatorError, with the command that fetches them, where weights are missing or wrong.
        """
        request = {"operation": "require", "preset": str(preset)}
        answer = self._ask({**request, "precisions": dict(precisions or {}), "chooses": chooses})
        return Required(answer["weights"], answer["precisions"])

    def answers(
        self,
        data: Dataset,
        questions: Sequence[Question[T]],
        progress: Callable[[Track, int], None] = lambda track, question: None,
    ) -> list[list[T]]:
        """Every track's answers to the questions; `progress` is called with a track and a question's place.

        Tracks are the outer loop, so that what questions share has to be kept for one track only.
        """
        found: list[list[T]] = []
        for track in data.tracks:
            found.append([])
            for place, question in enumerate(questions):
                found[-1].append(question.answer(self, track))
                progress(track, place)
        return found

    def where(self, info: PresetInfo) -> str:
        """On what the models of a preset ran, in words."""
        return f"{info.device}, {info.precision}"

    def cancel(self) -> None:
        """From another thread: end what is being computed, and the process with it."""
        self._process.kill()

    def predict(self, preset: Path, tracks: Sequence[Track]) -> "Prediction":
        """How long each member would take on each track, measured on this machine; loads every model."""
        samples = [round(track.seconds * MODEL_RATE_HZ) for track in tracks]
        answer = self._ask({"operation": "predict", "preset": str(preset), "samples": samples})
        return Prediction(
            tuple(np.asarray(step, float).reshape(-1, len(samples)) for step in answer["members"]),
            answer["margin"],
            answer["files_factor"],
            answer["files_seconds"],
        )

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
            raise EstimatorError(answer["error"], answer.get("errno"))
        return answer


def _request(operation: str, preset: Path, track: Track, folder: Path) -> dict[str, Any]:
    return {
        "operation": operation,
        "preset": str(preset),
        "mixtures": [str(path) for path in parts.plain(track.mixtures, folder)],
        "channels": track.estimate_channels,
        "folder": str(folder.resolve()),
    }


def _cost(answer: dict[str, Any]) -> Cost:
    return Cost(answer["model_seconds"], answer["computed"], answer["reused"])
