"""The child of `estimator`: runs the members of our own ensembles and keeps what they give in the estimate cache.

It imports my_submission, so that the evaluator need not. The first line of standard input is a JSON object of
settings, each further one a request; each answer is a line on what was standard output, in order. It ends when
standard input does.
"""

import functools
import json
import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from evaluator.isolation.process_tree import end_with_parent
from evaluator.tuning.estimate_cache import CacheError
from evaluator.tuning.member_passes import Cost, Passes
from my_submission.ensemble import deadline
from my_submission.ensemble.plan import step_units
from my_submission.ensemble.preset import PresetError, as_bag
from my_submission.ensemble.preset_reader import load_preset
from my_submission.ensemble.study import blend_of, member_estimates, separate, step_signals
from my_submission.signal.audio import (
    MODEL_SAMPLE_RATE,
    Stems,
    array_from_signal,
    round_to_16_bits,
    signal_from_array,
    to_stereo,
)
from my_submission.signal.chunking import reader
from my_submission.signal.resampling import at_mixture_rate, resample
from my_submission.weights import WeightsError
from sdx.writing import written

SEED = 0  # of the random delays, as in a submission
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
                        "polarity": member.polarity.value,
                        "overlap": member.overlap,
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


def predict_seconds(passes: Passes, request: Mapping[str, Any]) -> dict[str, Any]:
    """How long each member of each step would take for tracks of these `samples` (at the models' rate), in seconds.

    `members`: for each step, for each member, a number for each track. Measured on this machine, as a submission with
    a time limit does; `margin`, `files_factor` and `files_seconds` are what such a submission adds to a prediction.
    """
    preset = load_preset(request["preset"])
    passes.admit(preset)
    costs = passes.costs(preset)
    members = []
    for step in preset.steps:
        units = step_units(step, preset, SEED)
        members.append(
            [
                [
                    sum(costs.seconds(unit.passes, samples) for unit in units if unit.key[0] == place)
                    for samples in request["samples"]
                ]
                for place in range(len(step.members))
            ]
        )
    return {
        "members": members,
        "margin": deadline.MARGIN,
        "files_factor": deadline.FILES_FACTOR,
        "files_seconds": deadline.FILES_SECONDS,
    }


def require_weights(passes: Passes, request: Mapping[str, Any]) -> dict[str, Any]:
    """Find and verify the weights of a preset; which they are, and what was chosen for "auto", by checkpoint."""
    preset = load_preset(request["preset"])
    passes.admit(preset)
    passes.follow(request["precisions"])
    if request["chooses"]:
        passes.choose(preset)
    return {"weights": passes.identities(preset), "precisions": passes.chosen}


def write_estimates(passes: Passes, request: Mapping[str, Any]) -> dict[str, Any]:
    """Write a step's input and its members' estimates of a mixture, (channels, samples) float32 .npy files."""
    preset = load_preset(request["preset"])
    passes.admit(preset)
    mixture, folder = read_mixture(request), Path(request["folder"])
    step, signals = step_signals(preset, request["step"], mixture.model_input, SEED, passes.run)
    (given,) = mixture.at_own_rate({"input": signals[step.input]}).values()
    _save(folder / "input.npy", given)
    candidates = []
    for place, stems in member_estimates(step, preset, signals, SEED, passes.run):
        for stem, estimate in mixture.at_own_rate(stems).items():
            file = f"member{place}.{stem}.npy"
            _save(folder / file, estimate)
            candidates.append({"member": place, "stem": stem, "file": file})
    return {"input": "input.npy", "candidates": candidates}


def _save(file: Path, signal: Tensor) -> None:
    with written(file):
        np.save(file, signal.numpy())


def write_stems(passes: Passes, request: Mapping[str, Any]) -> dict[str, Any]:
    """Write a preset's stems of a mixture as a submission of it would have them written: 16-bit STEM.wav files."""
    preset = load_preset(request["preset"])
    passes.admit(preset)
    mixture, folder = read_mixture(request), Path(request["folder"])
    stems = separate(preset, mixture.model_input, SEED, passes.run)
    for stem, estimate in mixture.at_own_rate(stems, preset.sharing_stems).items():
        array = round_to_16_bits(array_from_signal(estimate))
        file = folder / f"{stem}.wav"
        with written(file):
            soundfile.write(file, array, mixture.rate_hz)
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
    "predict": predict_seconds,
    "write_estimates": write_estimates,
    "write_stems": write_stems,
}


def main() -> int:
    """Serve requests until standard input closes, or whoever asks is gone."""
    end_with_parent(os.getppid())
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
            answer = {"error": str(error), "errno": getattr(error, "errno", None)}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        try:
            print(json.dumps(answer), file=answers, flush=True)
        except BrokenPipeError:  # whoever asked is gone
            return 1
    return 0


def _open(settings: Mapping[str, Any]) -> Passes:
    folder, limit_bytes = Path(settings["cache"]), settings["limit_bytes"]
    try:
        return Passes(folder, limit_bytes, settings["device"], settings["precision"])
    except RuntimeError as error:  # no such device
        raise ValueError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
