"""What separates recordings: which model is chosen, and what of it determines its estimates."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from my_submission.ensemble.engine import Progress
from my_submission.ensemble.preset import Preset
from my_submission.ensemble.preset_reader import load_preset
from my_submission.files.asked import Asked
from my_submission.files.default_preset import configured_preset
from my_submission.files.stems import Sums, needed_stems, parse_stems, two_stems
from my_submission.separator import SeparationModel
from my_submission.signal.audio import Stems
from my_submission.signal.chunking import Reader


class StreamingModel(Protocol):
    """What separates: a `SeparationModel`, or anything with these members.

    sharing_stems: how many stems, asked for or not, add up to the mixture; 0 if they do not.
    stream: several may be under way at a time; the length of its blocks depends on `samples` only.
    """

    @property
    def instruments(self) -> list[str]: ...

    @property
    def sharing_stems(self) -> int: ...

    def stream(
        self, read: Reader, samples: int, progress: Progress | None = None
    ) -> Iterator[tuple[int, Stems]]: ...

    def measure(self) -> None: ...

    def work(self, samples: int) -> float: ...

    def provenance(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class ModelChoice:
    """Which model separates; see `SeparationModel`. No `stems` means all of them."""

    preset: str
    device: str = "auto"
    precision: str = "auto"
    weights_dir: Path | None = None
    fast: bool = False
    stems: tuple[str, ...] = ()
    memory_budget: int | None = None


@dataclass(frozen=True)
class Chosen:
    """A model, its preset, and what it is to make: as it was written, and as `parse_stems` gives it."""

    model: ModelChoice
    preset: Preset
    stems: tuple[str, ...]
    sums: Sums


def choose(asked: Asked) -> Chosen:
    """Find out what was asked for. Raises PresetError, WeightsError for a wrong manifest, ValueError for stems."""
    name = asked.preset or configured_preset(asked.weights_dir)
    preset = load_preset(name)
    stems = asked.stems if asked.two_stems is None else two_stems(asked.two_stems, preset.instruments)
    sums = parse_stems(stems, preset.instruments)
    model = ModelChoice(
        name,
        asked.device,
        asked.precision,
        asked.weights_dir,
        asked.fast,
        needed_stems(sums),
        asked.memory_budget,
    )
    return Chosen(model, preset, stems, sums)


def open_model(choice: ModelChoice) -> StreamingModel:
    """Load the chosen model. Raises PresetError, WeightsError, ValueError or RuntimeError with the reason."""
    return SeparationModel(
        preset=choice.preset,
        weights_dir=choice.weights_dir,
        device=choice.device,
        precision=choice.precision,
        fast=choice.fast,
        stems=choice.stems or None,
        memory_budget=choice.memory_budget,
    )


def identity(model: StreamingModel) -> dict[str, Any]:
    """Everything that determines a model's estimates. It hashes the weights, so call it once per model.

    The precision is the one that was asked for: what "auto" finds by trial, for small networks, may differ from one
    start to the next, and agrees so closely that a finished file need not be made again.
    """
    provenance = model.provenance()
    return {key: provenance[key] for key in ("preset", "weights", "precision_asked", "economies")}
