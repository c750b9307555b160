"""The published ensembles against ours: `python benchmarks/ensemble.py [--preset mdx-c] [--precision auto] …`.

Runs full-size networks with random weights (made once, in the temporary folder) on a clip of noise. The two sides run
in turn, each in its own process (so that neither has the other's allocator settings) with its models loaded; ours
uses the delays that the published side draws. Prints time and ratio, by model and in all (medians over the repeats),
the RTF, the agreement of the final stems, and each side's peak memory on host and GPU.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import allowed
from benchmarks.models import noise
from benchmarks.published import FORMS, SEGMENT_SAMPLES, Offsets, Published, agreement_db
from my_submission.commands.separate_options import positive
from my_submission.ensemble.engine import Ensemble
from my_submission.ensemble.plan import MAX_DELAY_SAMPLES, needed_sources, step_passes
from my_submission.ensemble.preset import MIXTURE, Preset, checkpoint_rows
from my_submission.ensemble.preset_reader import load_preset
from my_submission.runtime.devices import describe, resolve_device, resolve_precision
from my_submission.runtime.pool import ModelPool
from my_submission.runtime.schedule import plan_schedule
from my_submission.signal.audio import MODEL_SAMPLE_RATE
from tests.random_checkpoints import full_size_checkpoint

PUBLISHED = {
    **{
        form: {
            "all": Published.mdx_c,
            "vocals": Published.mdx_c_vocals,
            "instruments": Published.mdx_c_instruments,
        }
        for form in FORMS
    },
    "cdx-b": {
        "all": Published.cdx_b,
        "dialog": Published.cdx_b_dialog,
        "background": Published.cdx_b_background,
    },
}


def chosen_steps(preset: Preset, name: str) -> Preset:
    """A preset with only one of its steps, which gets the mixture; or the whole preset."""
    if name == "all":
        return preset
    step = next(step for step in preset.steps if step.name == name)
    return replace(
        preset, steps=(replace(step, input=MIXTURE, residual=None),), instruments=step.stems, economies=()
    )


def random_weights(preset: Preset) -> dict[str, Path]:
    """The preset's checkpoints, full size, all in one folder that outlives the run."""
    return {row.name: full_size_checkpoint(row) for row in checkpoint_rows(preset)}


def published_offsets(preset: Preset) -> Offsets:
    """The offsets that make `apply_model` delay a signal as a preset does: half a second minus the delay."""
    delays = {
        (one.checkpoint, round(one.augmentation.gain)): one.augmentation.delay_samples
        for step in preset.steps
        for one in step_passes(step, preset, 0)
    }
    return lambda name, polarity: MAX_DELAY_SAMPLES - delays.get((name, polarity), 0)


def published(preset: Preset, weights: Path, device: torch.device) -> Published:
    """The published side of a preset, which draws our delays; `weights` has its checkpoints."""
    segment_samples = SEGMENT_SAMPLES if preset.name == "mdx-c-released" else None
    form = preset.name if preset.name in FORMS else "mdx-c"
    return Published(weights, device, published_offsets(preset), form, segment_samples)


class Timing:
    """A ModelPool whose models add up the time of their calls."""

    def __init__(self, models: ModelPool) -> None:
        self._models = models
        self.seconds: dict[str, float] = {}

    def get(self, name: str) -> Any:
        model = self._models.get(name)
        seconds = self.seconds

        class Noting:
            sources = model.sources
            geometry = model.geometry
            bytes_per_sample = model.bytes_per_sample

            def __call__(self, chunks: Tensor) -> Tensor:
                start = time.perf_counter()
                estimates = model(chunks)
                seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
                return estimates

        return Noting()


Stems = dict[str, np.ndarray[Any, np.dtype[np.float32]]]


@dataclass(frozen=True)
class Run:
    """One run over the clip: seconds in all and by model, and the stems, each (channels, samples)."""

    seconds: float
    by_model: dict[str, float]
    stems: Stems


class Ours:
    """This project's ensemble, with its models loaded."""

    def __init__(self, preset: Preset, arguments: argparse.Namespace) -> None:
        device = resolve_device(arguments.device)
        precision = resolve_precision(arguments.precision, device)
        pool = ModelPool(checkpoint_rows(preset), random_weights(preset), precision, needed_sources(preset))
        self._models = Timing(pool)
        self._schedule = plan_schedule(device, pool.largest_chunk_bytes())
        self._ensemble = Ensemble(preset, self._models, seed=0, schedule=self._schedule)  # type: ignore[arg-type]
        self.precision = describe(pool.dtypes)

    def run(self, mixture: Tensor) -> Run:
        self._models.seconds.clear()
        start = time.perf_counter()
        stems = self._ensemble.separate(mixture)
        seconds = time.perf_counter() - start
        by_model = {name: value / self._schedule.workers for name, value in self._models.seconds.items()}
        return Run(seconds, by_model, {stem: signal.numpy() for stem, signal in stems.items()})


class Theirs:
    """The published schedule, with its models loaded."""

    precision = "float32"

    def __init__(self, preset: Preset, arguments: argparse.Namespace) -> None:
        weights = next(iter(random_weights(preset).values())).parent
        self._published = published(preset, weights, resolve_device(arguments.device))
        self._published.load(row.name for row in checkpoint_rows(preset))
        self._function = PUBLISHED[arguments.preset][arguments.steps]

    def run(self, mixture: Tensor) -> Run:
        start = time.perf_counter()
        stems = self._function(self._published, mixture)
        seconds = time.perf_counter() - start
        by_model = dict(self._published.seconds)
        return Run(seconds, by_model, {stem: signal.numpy() for stem, signal in stems.items()})


SIDES: dict[str, type[Ours] | type[Theirs]] = {"published": Theirs, "ours": Ours}


def serve(side: str, arguments: argparse.Namespace, pipe: "Connection[Any, Any]") -> None:
    """A side's process: it loads, runs whenever it is asked to, and finally reports its peaks."""
    start = time.perf_counter()
    loaded = SIDES[side](chosen_steps(load_preset(arguments.preset), arguments.steps), arguments)
    pipe.send((time.perf_counter() - start, loaded.precision, torch.get_num_threads()))
    mixture = noise(int(arguments.seconds * MODEL_SAMPLE_RATE))
    while pipe.recv():
        pipe.send(loaded.run(mixture))
    status = Path("/proc/self/status").read_text()
    host = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    on_gpu = resolve_device(arguments.device).type == "cuda"
    pipe.send((host, torch.cuda.max_memory_allocated() if on_gpu else None))


def received(side: str, pipe: "Connection[Any, Any]") -> Any:
    """What a side's process sends next. Raises RuntimeError if it has ended."""
    try:
        return pipe.recv()
    except EOFError:
        raise RuntimeError(f"{side}: its process ended; why stands above, unless memory ran out") from None


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    random_weights(
        chosen_steps(load_preset(arguments.preset), arguments.steps)
    )  # made before either side needs them
    context = multiprocessing.get_context("spawn")
    pipes = {}
    for side in ["ours"] if arguments.only_ours else list(SIDES):
        pipes[side], theirs = context.Pipe()
        context.Process(target=serve, args=(side, arguments, theirs), daemon=True).start()
        theirs.close()
    opened = {side: received(side, pipe) for side, pipe in pipes.items()}
    runs: dict[str, list[Run]] = {side: [] for side in pipes}
    for repeat in range(arguments.repeats):
        for side, pipe in pipes.items():
            pipe.send(True)
            runs[side].append(received(side, pipe))
            say(f"repeat {repeat + 1}: {side} {runs[side][-1].seconds:.1f} s")
    for pipe in pipes.values():
        pipe.send(False)
    peaks = {side: received(side, pipe) for side, pipe in pipes.items()}
    medians = {side: statistics.median(one.seconds for one in some) for side, some in runs.items()}
    both = "published" in runs
    return {
        "preset": arguments.preset,
        "steps": arguments.steps,
        "device": str(resolve_device(arguments.device)),
        "precision": opened["ours"][1],
        "threads": opened["ours"][2],
        "clip_seconds": arguments.seconds,
        "load_seconds": {side: seconds for side, (seconds, *_) in opened.items()},
        "seconds": medians,
        "rtf": {side: seconds / arguments.seconds for side, seconds in medians.items()},
        "ratio": medians["published"] / medians["ours"] if both else None,
        "models": {
            side: {name: statistics.median(one.by_model[name] for one in some) for name in some[0].by_model}
            for side, some in runs.items()
        },
        "agreement_db": agreement_db(runs["published"][-1].stems, runs["ours"][-1].stems) if both else None,
        "peak_host_bytes": {side: host for side, (host, _) in peaks.items()},
        "peak_gpu_bytes": {side: gpu for side, (_, gpu) in peaks.items()},
    }


def row_of(checkpoint: str, names: Collection[str]) -> str | None:
    """The row that a checkpoint belongs to: its own, or that of the bag whose expert it is."""
    rows = [name for name in names if checkpoint == name or checkpoint.startswith(f"{name}_")]
    return max(rows, key=len, default=None)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def show(result: dict[str, Any]) -> None:
    print(f"{result['preset']}, {result['steps']} steps, {result['device']}, {result['precision']}, "
          f"{result['threads']} threads, {result['clip_seconds']} s clip")  # fmt: skip
    ours, published = result["models"]["ours"], result["models"].get("published", {})
    for name in published or ours:
        seconds = sum(value for model, value in ours.items() if row_of(model, published or ours) == name)
        line = f"  {name:<24} ours {seconds:6.1f} s"
        if published:
            line += f", published {published[name]:6.1f} s, ratio {published[name] / seconds:.2f}"
        print(line)
    for side, seconds in result["seconds"].items():
        gpu = result["peak_gpu_bytes"][side]
        line = f"{side}: {seconds:.1f} s, RTF {result['rtf'][side]:.2f}, "
        line += f"loaded in {result['load_seconds'][side]:.1f} s, "
        line += f"peak {result['peak_host_bytes'][side] / 2**30:.1f} GiB"
        print(line + (f" and {gpu / 2**30:.1f} GiB on the GPU" if gpu else ""))
    if result["ratio"]:
        print(f"published / ours: {result['ratio']:.2f}")
        print("agreement: " + ", ".join(f"{s} {db:.1f} dB" for s, db in result["agreement_db"].items()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="mdx-c", choices=["mdx-c", "cdx-b"])
    parser.add_argument("--steps", default="all", help="run only this step of the preset, on the clip")
    parser.add_argument("--device", type=allowed.device, default="auto")
    parser.add_argument("--precision", choices=allowed.PRECISIONS, default="auto")
    parser.add_argument("--seconds", type=allowed.seconds, default=12.0, help="length of the clip")
    parser.add_argument("--repeats", type=positive, default=1)
    parser.add_argument("--only-ours", action="store_true", help="leave out the published side")
    parser.add_argument("--json", type=allowed.file, help="also write the result here")
    arguments = parser.parse_args()
    if arguments.steps not in PUBLISHED[arguments.preset]:
        parser.error(
            f"--steps: expected one of {', '.join(PUBLISHED[arguments.preset])}, found {arguments.steps!r}"
        )
    try:
        result = run(arguments)
    except RuntimeError as error:
        sys.exit(str(error))
    show(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
