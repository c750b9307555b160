"""Passes of members over signals, from the estimate cache or computed: what `estimate_worker` answers with."""

import contextlib
import functools
import hashlib
import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from evaluator.tuning.estimate_cache import EstimateCache, Kept
from evaluator.tuning.kept_precisions import CHOICE_RULE, KeptPrecisions
from my_submission.ensemble.costs import Costs, measure_costs
from my_submission.ensemble.engine import Pieces, compute_pass
from my_submission.ensemble.plan import Pass
from my_submission.ensemble.preset import Preset, checkpoint_rows
from my_submission.ensemble.preset_reader import called
from my_submission.ensemble.study import ESTIMATES_VERSION
from my_submission.models import ChunkModel, chunk_bytes
from my_submission.registry import others_module
from my_submission.runtime.devices import PRECISIONS, name_of, resolve_device, resolve_precision
from my_submission.runtime.pool import dtype_of, join_model, load_model, network_kind
from my_submission.runtime.schedule import plan_schedule
from my_submission.signal.chunking import Reader
from my_submission.weights import Checkpoint, require
from my_submission.weights.store import sha256_of

DTYPES = {name_of(dtype): dtype for dtype in PRECISIONS.values()}
LIBRARIES = ("torch", "demucs", "onnxruntime", "onnxruntime-gpu")  # of the last two, a system has one


@dataclass
class Cost:
    """What the passes behind one answer took, whenever they were computed."""

    model_seconds: float = 0.0
    computed: int = 0
    reused: int = 0

    def add(self, kept: Kept) -> None:
        """Count one pass."""
        self.model_seconds += kept.seconds
        self.computed += not kept.reused
        self.reused += kept.reused


@dataclass(frozen=True)
class Loaded:
    """Models that are loaded, as `measure_costs` takes them."""

    models: Mapping[str, ChunkModel]
    checkpoints: Mapping[str, Checkpoint]

    @property
    def kinds(self) -> dict[str, str]:
        """Equal for networks that do the same work."""
        return {name: network_kind(self.checkpoints[name], model) for name, model in self.models.items()}

    def get(self, name: str) -> ChunkModel:
        return self.models[name]


class Passes:
    """Passes of checkpoints over signals, from the cache or computed; owns the loaded models.

    A model is loaded when the first of its passes has to be computed.
    """

    def __init__(self, folder: Path, limit_bytes: int, device: str, precision: str) -> None:
        self._cache = EstimateCache(folder, limit_bytes)
        self.device = resolve_device(device)
        self._precision = resolve_precision(precision, self.device)
        self._checkpoints: dict[str, Checkpoint] = {}
        self._paths: dict[str, Path] = {}
        self._models: dict[str, ChunkModel] = {}
        self._costs: Costs | None = None
        self._kept = KeptPrecisions(folder)
        self.chosen: dict[str, str] = {}  # for "auto", by checkpoint
        self._read: Reader | None = None
        self._signal_sha256 = ""
        self.cost = Cost()

    @property
    def precision(self) -> str:
        """The name of the models' dtype, or of the one that the quicker ones of them have."""
        name = name_of(self._precision.dtype)
        mixed = self._precision.auto and name != "float32"
        return f"{name} where that is quicker" if mixed else name

    def admit(self, preset: Preset) -> None:
        """Find and verify the files of a preset; WeightsError where one is missing or not the right one."""
        new = [row for row in checkpoint_rows(preset) if self._checkpoints.get(row.name) != row]
        for row in new:
            self._models.pop(row.name, None)
            self.chosen.pop(row.name, None)
        self._paths |= require(new, preset=called(preset))
        self._checkpoints |= {row.name: row for row in new}

    def run(self, one: Pass, read: Reader, samples: int, on_chunks: Callable[[int], None]) -> Pieces:
        """An `engine.RunPass` whose only piece is the whole signal."""
        kept = self._cache.obtain(
            self._key(one, read, samples),
            one.sources,
            (2, samples),
            lambda: self._compute(one, read, samples),
        )
        self.cost.add(kept)
        yield 0, {source: torch.from_numpy(estimate) for source, estimate in kept.signals.items()}

    def costs(self, preset: Preset) -> Costs:
        """What the preset's models cost here, with the schedule of a submission; measured once."""
        names = {row.name for row in checkpoint_rows(preset)}
        if self._costs is None or not names <= self._costs.chunk_seconds.keys():
            models = Loaded({name: self._model(name) for name in sorted(names)}, self._checkpoints)
            largest = max(chunk_bytes(model) for model in models.models.values())
            self._costs = measure_costs(models, plan_schedule(self.device, largest))
        return self._costs

    def _key(self, one: Pass, read: Reader, samples: int) -> dict[str, Any]:
        """Everything that has an influence on what a pass gives."""
        if read != self._read:  # a step's input is one reader for all its passes that refine nothing
            self._read, self._signal_sha256 = read, sha256_of_signal(read(0, samples))
        return {
            "signal": self._signal_sha256,
            **self._identity(one.checkpoint),
            **asdict(one.augmentation),
            "overlap": one.overlap,
            "segment_samples": one.segment_samples,
            "precision": name_of(self._dtype(one.checkpoint)),
            "device": self.device.type,
            "version": ESTIMATES_VERSION,
            "libraries": _library_versions(),
        }

    def _identity(self, name: str) -> dict[str, Any]:
        """What decides which function a checkpoint's network is: its files, and how its row has them understood."""
        checkpoint = self._checkpoints[name]
        paths = [self._paths[each] for each in (name, *checkpoint.parts) if each in self._paths]
        return {
            "checkpoint": [_sha256_of_file(path) for path in (*paths, *checkpoint.beside)],
            "architecture": checkpoint.architecture,
            "parameters": checkpoint.parameters.model_dump(mode="json"),
            "sources": list(checkpoint.sources),
            **_others_code(checkpoint.architecture),
        }

    def identities(self, preset: Preset) -> dict[str, str]:
        """{checkpoint: SHA-256 of its `_identity`} of a preset that was admitted."""
        return {
            row.name: hashlib.sha256(
                json.dumps(self._identity(row.name), sort_keys=True).encode()
            ).hexdigest()
            for row in checkpoint_rows(preset)
        }

    def _compute(self, one: Pass, read: Reader, samples: int) -> Iterator[tuple[int, dict[str, Any]]]:
        model = self._model(one.checkpoint)
        schedule = plan_schedule(self.device, chunk_bytes(model))
        pieces = compute_pass(one, model, read, samples, schedule)  # computed as they are drawn
        return (
            (start, {source: piece.numpy() for source, piece in by_source.items()})
            for start, by_source in pieces
        )

    def _model(self, name: str) -> ChunkModel:
        if name not in self._models:
            row = self._checkpoints[name]
            self._models[name] = (
                join_model(row, [self._model(part) for part in row.parts], self.device)
                if row.parts
                else load_model(row, self._paths.get(name), self.device, self._dtype(name))
            )
        return self._models[name]

    def follow(self, precisions: Mapping[str, str]) -> None:
        """Take for "auto" what was chosen elsewhere, {checkpoint: dtype}, for those that were admitted."""
        known = {name: dtype for name, dtype in precisions.items() if name in self._checkpoints}
        if self._precision.auto and any(self.chosen.get(name) != dtype for name, dtype in known.items()):
            self._models.clear()
            self.chosen |= known
            self._kept.keep({self._choice_key(name): dtype for name, dtype in known.items()})

    def choose(self, preset: Preset) -> None:
        """Find out what "auto" is for all of a preset's networks."""
        for row in checkpoint_rows(preset):
            self._dtype(row.name)

    def _dtype(self, name: str) -> torch.dtype:
        if not self._precision.auto:
            return dtype_of(self._checkpoints[name], self._paths.get(name), self._precision)
        if name not in self.chosen:
            key = self._choice_key(name)
            if (kept := self._kept.get(key)) in DTYPES:
                self.chosen[name] = kept
            else:
                found = dtype_of(self._checkpoints[name], self._paths.get(name), self._precision)
                self.chosen[name] = name_of(found)
                self._kept.keep({key: name_of(found)})
        return DTYPES[self.chosen[name]]

    def _choice_key(self, name: str) -> str:
        """What a choice is of: the network, and what this kind of device has to choose from."""
        described = {
            **self._identity(name),
            "device": self.device.type,
            "lower": name_of(self._precision.dtype),
            "rule": CHOICE_RULE,
        }
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def sha256_of_signal(signal: Tensor) -> str:
    """The hash of a (channels, samples) float32 signal's shape and samples."""
    digest = hashlib.sha256(str(tuple(signal.shape)).encode())
    digest.update(signal.contiguous().numpy().data)
    return digest.hexdigest()


@functools.cache
def _sha256_of_file(path: Path) -> str:
    return sha256_of(path)


@functools.cache
def _others_code(architecture: str) -> dict[str, str]:
    """The hash of the modules of an architecture that is not the kit's, whose networks ESTIMATES_VERSION knows."""
    module = others_module(architecture)
    if module is None:
        return {}
    files = _source_files(importlib.import_module(module.partition(".")[0]))
    hashes = " ".join(map(sha256_of, files))
    return {"code": hashlib.sha256(hashes.encode()).hexdigest()}


def _source_files(module: ModuleType) -> list[Path]:
    """Those of a package, or of a module that is none."""
    if folders := getattr(module, "__path__", None):
        return sorted(file for folder in folders for file in Path(folder).rglob("*.py"))
    return [Path(module.__file__)] if module.__file__ else []


@functools.cache
def _library_versions() -> dict[str, str]:
    versions = {}
    for name in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions
