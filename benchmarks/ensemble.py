"""The published ensembles against ours: `python benchmarks/ensemble.py [--preset mdx-c] [--precision auto] …`.

Full-size networks with random weights (made once, in the temporary folder), one clip of noise. Both sides run in
turn in this process; ours uses the delays that the published side draws. Prints time and ratio by model and in all
(medians over the repeats), the RTF, the agreement of the final stems, and the peak memory of host and GPU.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.published import Published, agreement_db
from my_submission.audio import MODEL_SAMPLE_RATE
from my_submission.ensemble import Ensemble
from my_submission.inference import ModelPool, resolve_device, resolve_precision
from my_submission.passes import MAX_DELAY_SAMPLES, needed_sources, step_passes
from my_submission.preset import MIXTURE, Preset, checkpoint_rows
from my_submission.preset_reader import load_preset
from my_submission.schedule import plan_schedule
from tests.random_checkpoints import full_size_checkpoint

PUBLISHED = {
    "mdx-c": {
        "all": Published.mdx_c,
        "vocals": Published.mdx_c_vocals,
        "instruments": Published.mdx_c_instruments,
    },
    "cdx-b": {
        "all": Published.cdx_b,
        "dialog": Published.cdx_b_dialog,
        "background": Published.cdx_b_background,
    },
}


def chosen_steps(preset: Preset, name: str) -> Preset:
    """A preset with one of its steps only, which is given the mixture; or all of it."""
    if name == "all":
        return preset
    step = next(step for step in preset.steps if step.name == name)
    return replace(
        preset, steps=(replace(step, input=MIXTURE, residual=None),), instruments=step.stems, economies=()
    )


def random_weights(preset: Preset) -> dict[str, Path]:
    """The preset's checkpoints, full size, all in one folder that outlives the run."""
    return {row.name: full_size_checkpoint(row) for row in checkpoint_rows(preset)}


@contextmanager
def timed(times: dict[str, list[float]], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    times.setdefault(name, []).append(time.perf_counter() - start)


class Timing:
    """A ModelPool whose models note the time between the first and the last of their calls."""

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


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    preset = chosen_steps(load_preset(arguments.preset), arguments.steps)
    paths = random_weights(preset)
    device = resolve_device(arguments.device)
    dtype = resolve_precision(arguments.precision, device)
    start = time.perf_counter()
    pool = ModelPool(checkpoint_rows(preset), paths, device, dtype, needed_sources(preset))
    models = Timing(pool)
    loading = time.perf_counter() - start
    schedule = plan_schedule(device, pool.largest_chunk_bytes())
    ours = Ensemble(preset, models, seed=0, schedule=schedule)  # type: ignore[arg-type]
    delays = {
        one.checkpoint: one.augmentation.delay_samples
        for step in preset.steps
        for one in step_passes(step, preset, 0)
    }
    weights = next(iter(paths.values())).parent
    published = Published(weights, device, lambda name: MAX_DELAY_SAMPLES - delays.get(name, 0))
    mixture = 0.1 * torch.randn(
        2, int(arguments.seconds * MODEL_SAMPLE_RATE), generator=torch.Generator().manual_seed(0)
    )
    times: dict[str, list[float]] = {}
    by_model: dict[str, dict[str, list[float]]] = {"published": {}, "ours": {}}
    expected: dict[str, Tensor] = {}
    found: dict[str, Tensor] = {}
    for repeat in range(arguments.repeats):
        if not arguments.only_ours:
            with timed(times, "published"):
                expected = PUBLISHED[arguments.preset][arguments.steps](published, mixture)
            note(by_model["published"], published.seconds)
            say(f"repeat {repeat + 1}: published {times['published'][-1]:.1f} s")
        models.seconds.clear()
        with timed(times, "ours"):
            found = ours.separate(mixture)
        note(by_model["ours"], {name: s / schedule.workers for name, s in models.seconds.items()})
        say(f"repeat {repeat + 1}: ours {times['ours'][-1]:.1f} s")
    medians = {side: statistics.median(values) for side, values in times.items()}
    return {
        "preset": preset.name,
        "device": str(device),
        "precision": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "clip_seconds": arguments.seconds,
        "load_seconds": loading,
        "seconds": medians,
        "rtf": {side: seconds / arguments.seconds for side, seconds in medians.items()},
        "ratio": medians["published"] / medians["ours"] if "published" in medians else None,
        "models": {
            side: {name: statistics.median(values) for name, values in seconds.items()}
            for side, seconds in by_model.items()
        },
        "agreement_db": agreement_db(expected, found) if expected else None,
        "peak_host_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "peak_gpu_bytes": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
    }


def note(times: dict[str, list[float]], seconds: Mapping[str, float]) -> None:
    """Keep the times of one repeat."""
    for name, value in seconds.items():
        times.setdefault(name, []).append(value)


def row_of(checkpoint: str, names: Collection[str]) -> str | None:
    """The row that a checkpoint belongs to: its own, or that of the bag whose expert it is."""
    rows = [name for name in names if checkpoint == name or checkpoint.startswith(f"{name}_")]
    return max(rows, key=len, default=None)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def show(result: dict[str, Any]) -> None:
    print(f"{result['preset']}, {result['device']}, {result['precision']}, {result['threads']} threads, "
          f"{result['clip_seconds']} s clip, models loaded in {result['load_seconds']:.1f} s")  # fmt: skip
    published, ours = result["models"]["published"], result["models"]["ours"]
    for name in published or ours:
        seconds = sum(value for model, value in ours.items() if row_of(model, published or ours) == name)
        line = f"  {name:<24} ours {seconds:6.1f} s"
        if published:
            line += f", published {published[name]:6.1f} s, ratio {published[name] / seconds:.2f}"
        print(line)
    for side, rtf in result["rtf"].items():
        print(f"{side}: {result['seconds'][side]:.1f} s, RTF {rtf:.2f}")
    if result["ratio"]:
        print(f"published / ours: {result['ratio']:.2f}")
        print("agreement: " + ", ".join(f"{s} {db:.1f} dB" for s, db in result["agreement_db"].items()))
    print(f"peak host memory {result['peak_host_bytes'] / 2**30:.1f} GiB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="mdx-c", choices=["mdx-c", "cdx-b"])
    parser.add_argument("--steps", default="all", help="only this step of the preset, on the clip")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--seconds", type=float, default=12.0, help="length of the clip")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--only-ours", action="store_true", help="leave the published side out")
    parser.add_argument("--json", type=Path, help="also write the result here")
    arguments = parser.parse_args()
    if arguments.steps not in PUBLISHED[arguments.preset]:
        parser.error(
            f"--steps: expected one of {', '.join(PUBLISHED[arguments.preset])}, found {arguments.steps!r}"
        )
    result = run(arguments)
    show(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
