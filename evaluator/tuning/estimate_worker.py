"""The child of `estimator`: runs the members of our own ensembles and keeps what they give in the estimate cache.

It imports my_submission, so that the evaluator need not. The first line of standard input is a JSON object of
settings, each further one a request; each answer is a line on what was standard output, in order. It ends when
standard input does.
"""

import functools
import hashlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from evaluator.tuning.estimate_cache import CacheError, EstimateCache, Kept
from my_submission.ensemble.engine import Pieces, compute_pass
from my_submission.ensemble.plan import Pass
from my_submission.ensemble.preset import Preset, PresetError, as_bag, checkpoint_rows
from my_submission.ensemble.preset_reader import load_preset
from my_submission.ensemble.study import (
    ESTIMATES_VERSION,
    blend_of,
    member_estimates,
    separate,
    step_signals,
)
from my_submission.models import ChunkModel, chunk_bytes
from my_submission.runtime.devices import name_of, resolve_device, resolve_precision
from my_submission.runtime.pool import dtype_of, join_model, load_model
from my_submission.runtime.schedule import plan_schedule
from my_submission.signal.audio import (
    MODEL_SAMPLE_RATE,
    Stems,
    array_from_signal,
    round_to_16_bits,
    signal_from_array,
    to_stereo,
)
from my_submission.signal.chunking import Reader, reader
from my_submission.signal.resampling import at_mixture_rate, resample
from my_submission.weights import Checkpoint, WeightsError, require
from my_submission.weights.store import sha256_of

SEED = 0  # of the random delays, as in a submission
LIBRARIES = ("torch", "demucs", "onnxruntime-gpu")
EXPECTED_ERRORS = (PresetError, WeightsError, CacheError, OSError, ValueError)


@dataclass(frozen=True)
class Mixture:
    """A track's mixture: (channels, samples) float32 at its own rate."""

    signal: Tensor
    rate_hz: int

    @functools.cached_property
    def model_input(self) -> Tensor:
        """Stereo at the models' rate."""
        return resample(to_stereo(self.signal), self.rate_hz, MODEL_SAMPLE_RATE)

    def at_own_rate(self, stems: Stems, sharing: int = 0) -> Stems:
        """What was estimated from `model_input`, with the mixture's rate, channels and length.

        sharing: see `at_mixture_rate`.
        """
        channels, samples = self.signal.shape
        blocks = at_mixture_rate(
            [(0, stems)],
            reader(self.signal),
            reader(self.model_input),
            channels,
            samples,
            self.rate_hz,
            sharing=sharing,
        )
        pieces = [block for _, block in blocks]
        return {stem: torch.cat([piece[stem] for piece in pieces], dim=-1) for stem in stems}


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


class Passes:
    """Passes of checkpoints over signals, from the cache or computed; owns the loaded models.

    A model is loaded when the first of its passes has to be computed.
    """

    def __init__(self, cache: EstimateCache, device: str, precision: str) -> None:
        self._cache = cache
        self.device = resolve_device(device)
        self._precision = resolve_precision(precision, self.device)
        self._checkpoints: dict[str, Checkpoint] = {}
        self._paths: dict[str, Path] = {}
        self._models: dict[str, ChunkModel] = {}
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
        self._paths |= require(new, preset=preset.name)
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

    def _key(self, one: Pass, read: Reader, samples: int) -> dict[str, Any]:
        """Everything that has an influence on what a pass gives."""
        checkpoint = self._checkpoints[one.checkpoint]
        if read != self._read:  # a step's input is one reader for all its passes that refine nothing
            self._read, self._signal_sha256 = read, sha256_of_signal(read(0, samples))
        return {
            "signal": self._signal_sha256,
            "checkpoint": [
                _sha256_of_file(path)
                for path in (
                    *(
                        self._paths[name]
                        for name in (one.checkpoint, *checkpoint.parts)
                        if name in self._paths
                    ),
                    *checkpoint.beside,
                )
            ],
            "architecture": checkpoint.architecture,
            "parameters": dict(checkpoint.parameters),
            "sources": list(checkpoint.sources),
            **asdict(one.augmentation),
            "overlap": one.overlap,
            "segment_samples": one.segment_samples,
            "precision": name_of(self._dtype(one.checkpoint)),
            "device": self.device.type,
            "version": ESTIMATES_VERSION,
            "libraries": _library_versions(),
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

    def _dtype(self, name: str) -> torch.dtype:
        return dtype_of(self._checkpoints[name], self._paths.get(name), self._precision)


def sha256_of_signal(signal: Tensor) -> str:
    """The hash of a (channels, samples) float32 signal's shape and samples."""
    digest = hashlib.sha256(str(tuple(signal.shape)).encode())
    digest.update(signal.contiguous().numpy().data)
    return digest.hexdigest()


@functools.cache
def _sha256_of_file(path: Path) -> str:
    return sha256_of(path)


@functools.cache
def _library_versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in LIBRARIES}


def describe(passes: Passes, request: Mapping[str, Any]) -> dict[str, Any]:
    """What a preset is, for a process that cannot read it; nothing is loaded."""
    preset = load_preset(request["preset"])
    return {
        "instruments": list(preset.instruments),
        "device": str(passes.device),
        "precision": passes.precision,
        "steps": [
            {
                "name": step.name,
                "input": step.input,
                "refines": [signal for signal in step.reads if signal != step.input],
                "stems": list(step.stems),
                "residual": step.residual,
                "residual_shares": dict(step.residual_shares),
                "blend": blend_of(step),
                "members": [
                    {
                        "model": member.model,
                        "weights": dict(member.weights),
                        "offers": sorted(
                            {
                                source
                                for _, shares in as_bag(member.model, preset.manifest).members
                                for source in shares
                            }
                        ),
                    }
                    for member in step.members
                ],
            }
            for step in preset.steps
        ],
    }


def require_weights(passes: Passes, request: Mapping[str, Any]) -> dict[str, Any]:
    """Find and verify the weights of a preset."""
    passes.admit(load_preset(request["preset"]))
    return {}


def write_estimates(passes: Passes, request: Mapping[str, Any]) -> dict[str, Any]:
    """Write a step's input and its members' estimates of a mixture, (channels, samples) float32 .npy files."""
    preset = load_preset(request["preset"])
    passes.admit(preset)
    mixture, folder = read_mixture(request), Path(request["folder"])
    step, signals = step_signals(preset, request["step"], mixture.model_input, SEED, passes.run)
    (given,) = mixture.at_own_rate({"input": signals[step.input]}).values()
    np.save(folder / "input.npy", given.numpy())
    candidates = []
    for place, stems in member_estimates(step, preset, signals, SEED, passes.run):
        for stem, estimate in mixture.at_own_rate(stems).items():
            file = f"member{place}.{stem}.npy"
            np.save(folder / file, estimate.numpy())
            candidates.append({"member": place, "stem": stem, "file": file})
    return {"input": "input.npy", "candidates": candidates}


def write_stems(passes: Passes, request: Mapping[str, Any]) -> dict[str, Any]:
    """Write a preset's stems of a mixture as a submission of it would have them written: 16-bit STEM.wav files."""
    preset = load_preset(request["preset"])
    passes.admit(preset)
    mixture, folder = read_mixture(request), Path(request["folder"])
    stems = separate(preset, mixture.model_input, SEED, passes.run)
    for stem, estimate in mixture.at_own_rate(stems, preset.sharing_stems).items():
        array = round_to_16_bits(array_from_signal(estimate))
        soundfile.write(folder / f"{stem}.wav", array, mixture.rate_hz)
    return {}


def read_mixture(request: Mapping[str, Any]) -> Mixture:
    """The mixture of a request: `mixtures`, files with one or two channels in all, for `channels` channels."""
    arrays, rates = zip(*(soundfile.read(path, always_2d=True) for path in request["mixtures"]), strict=True)
    array = np.concatenate(arrays, axis=1)
    if array.shape[1] < request["channels"]:
        array = np.repeat(array, request["channels"], axis=1)
    return Mixture(signal_from_array(array), int(rates[0]))


OPERATIONS = {
    "describe": describe,
    "require": require_weights,
    "write_estimates": write_estimates,
    "write_stems": write_stems,
}


def main() -> int:
    """Serve requests until standard input closes."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not come between answers
    passes: Passes | None = None
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        try:
            if passes is None:
                passes, answer = _open(request), {}
            else:
                passes.cost = Cost()
                answer = OPERATIONS[request["operation"]](passes, request) | asdict(passes.cost)
        except EXPECTED_ERRORS as error:
            answer = {"error": str(error)}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        try:
            print(json.dumps(answer), file=answers, flush=True)
        except BrokenPipeError:  # whoever asked is gone
            return 1
    return 0


def _open(settings: Mapping[str, Any]) -> Passes:
    cache = EstimateCache(Path(settings["cache"]), settings["limit_bytes"])
    try:
        return Passes(cache, settings["device"], settings["precision"])
    except RuntimeError as error:  # no such device
        raise ValueError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
