"""Whether everything holds on a GPU, and how fast it is there: `python benchmarks/gpu.py`, or `make verify-gpu`.

Checks, each against the CPU in float32 on this machine: a network of each architecture in every precision, small and
at full size (random weights, made once, in the temporary folder); that no product is rounded to TF32 unasked; that
what overflows in float16 is computed again; and that the ensembles keep to a memory budget. Measures the published
ensembles against their own schedule, the time of each full-size network, what crosses between host and GPU, and how
long a first separation takes from a cold start.

Prints each line as it is known, and writes all of it as JSON (`--json`, `gpu.json` by default) for an issue or a
report, after each step anew. Ends with exit code 1 if a check failed. What the time (`--minutes`) does not suffice
for is listed as not run, as is the rest after Ctrl-C. With `--device cpu --small` the same checks run without a GPU,
on small networks, in a minute: this is how the script itself is tested.

Architectures of which `tests/random_checkpoints.py` makes no file (Open-Unmix, VR, ByteSep, the mixer) are left out;
they are convolutions and recurrent layers that others here have, too.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import allowed, ensemble, models
from evaluator.isolation.machine import describe
from my_submission import SeparationModel
from my_submission.models import ChunkModel, chunk_bytes
from my_submission.registry import find_architecture
from my_submission.runtime.devices import name_of, resolve_device, resolve_precision
from my_submission.runtime.pool import dtype_of, load_model
from my_submission.runtime.schedule import SEQUENTIAL, plan_schedule
from my_submission.signal.audio import MODEL_SAMPLE_RATE
from my_submission.weights import Checkpoint, load_manifest, manifest
from sdx.terminal import INTERRUPTED
from tests.lower_precision import agreement
from tests.random_checkpoints import full_size_checkpoint, save_checkpoint, write_small_kit

FLOAT32_DB, LOWER_DB = 90.0, 45.0
"""The least agreement with the CPU's float32: of float32 (TF32 would leave about 60), and of lower precision at full
size. Small random networks agree less in lower precision, so there the figure is only told."""
PRODUCT_DB = 110.0
"""Of a large float32 product with that of float64; TF32 reaches about 65."""
BUDGETS_GIB = (8, 4)
MIXTURE, LOUD = 0.1, 1e6
"""Levels of noise: of a mixture, and one that no float16 network survives."""
RATIO, TIMES_REAL_TIME = 6.0, 60.0
"""What is aimed at on a data-centre GPU: over the published schedule, and over real time."""
ROWS = (
    *("htdemucs_ft_drums", "hdemucs_mmi", "Kim_Vocal_1", "bsroformer-musdb", "melband-kim", "scnet-xl-ihf"),
    *("mdx23c-vocals", "bandit-plus", "bandit-v2-multi", "bsrnn_crlandsc_vocals", "bsrnn_large_vocals"),
    *("mdx_0d19c1c6", "demucs_v2", "demucs_v1", "spleeter_2stems_vocals"),
)
"""A row of the manifest for each architecture; both versions of BandIt."""
SMALL_PRESETS = ("mdx-c", "music-2026")


@dataclass
class Report:
    """What was seen. Checks have a bound; measurements have none."""

    machine: dict[str, Any]
    checks: list[dict[str, Any]] = field(default_factory=list)
    measured: list[dict[str, Any]] = field(default_factory=list)
    not_run: list[str] = field(default_factory=list)

    def check(self, name: str, holds: bool, found: str) -> None:
        self.checks.append({"name": name, "holds": holds, "found": found})
        say(f"{'ok    ' if holds else 'FAILED'} {name}: {found}")

    def measure(self, name: str, **values: Any) -> None:
        self.measured.append({"name": name, **values})
        say(f"       {name}: " + ", ".join(f"{key} {_short(value)}" for key, value in values.items()))

    @property
    def failed(self) -> int:
        return sum(not check["holds"] for check in self.checks)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps({**asdict(self), "failed": self.failed}, indent=2) + "\n")


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)


def say(line: str) -> None:
    print(line, flush=True)


def machine(device: torch.device) -> dict[str, Any]:
    """What an issue needs to know."""
    found: dict[str, Any] = {
        "processor": describe()["processor"],
        "torch": torch.__version__,
        "device": str(device),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "gpu": properties.name,
            "gpu_bytes": properties.total_memory,
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        }
    return found


@dataclass(frozen=True)
class Subject:
    """A network with a file of random weights."""

    row: Checkpoint
    path: Path
    small: bool

    def load(self, device: torch.device, dtype: torch.dtype) -> ChunkModel:
        return load_model(self.row, self.path, device, dtype)

    def run(self, model: ChunkModel, level: float = MIXTURE) -> Tensor:
        """Estimates of noise of one chunk, (sources, 2, samples) on the host."""
        return models.run(model, models.noise(model.geometry.chunk_samples, level), 0.0, SEQUENTIAL)


def small_subjects(folder: Path) -> list[Subject]:
    rows = manifest.read_manifests(write_small_kit(folder, []) / "manifest.yaml").checkpoints
    return [
        Subject(rows[name], save_checkpoint(rows[name], folder, small=True, seed=0), True) for name in ROWS
    ]


def full_subject(name: str) -> Subject:
    """Its weights are made the first time, which takes up to a minute."""
    row = load_manifest().checkpoints[name]
    return Subject(row, full_size_checkpoint(row), False)


def check_products(report: Report, device: torch.device) -> None:
    """Nothing is rounded to TF32 unless somebody asks for it."""
    random = torch.Generator().manual_seed(0)
    left, right = (torch.randn(512, 512, generator=random) for _ in range(2))
    signal, kernel = torch.randn(4, 64, 4096, generator=random), torch.randn(64, 64, 8, generator=random)
    works: dict[str, Callable[..., Tensor]] = {
        "a product": lambda kind: left.to(device, kind) @ right.to(device, kind),
        "a convolution": lambda kind: torch.nn.functional.conv1d(
            signal.to(device, kind), kernel.to(device, kind)
        ),
    }
    for what, work in works.items():
        found = agreement(work(torch.float64).cpu().double(), work(torch.float32).cpu().double())
        report.check(f"float32 is float32, {what}", found >= PRODUCT_DB, f"{found:.1f} dB of float64")


def check_network(report: Report, subject: Subject, device: torch.device) -> None:
    """One network in all precisions against the CPU's float32; its time in each."""
    name = f"{subject.row.architecture} ({subject.row.name}), {'small' if subject.small else 'full size'}"
    exact = subject.load(torch.device("cpu"), torch.float32)
    expected = subject.run(exact)
    seconds = expected.shape[-1] / MODEL_SAMPLE_RATE
    kinds = [torch.float32]
    if find_architecture(subject.row.architecture).lower_precision:
        kinds += [torch.bfloat16] if device.type == "cpu" else [torch.bfloat16, torch.float16]
    for dtype in kinds:
        model = subject.load(device, dtype)
        found = subject.run(model)
        took = models.least_seconds(lambda model=model: subject.run(model), device)  # type: ignore[misc]
        decibels = float(np.min([*map(agreement, expected, found)]))  # NaN if one is
        label, told = (
            f"{name}, {name_of(dtype)}",
            f"{decibels:.1f} dB, {took / seconds:.4f} s per second of audio",
        )
        if dtype == torch.float32 or not subject.small:
            report.check(label, decibels >= (FLOAT32_DB if dtype == torch.float32 else LOWER_DB), told)
        else:
            say(f"       {label}: {told}")
        report.measured.append(
            {
                "name": label,
                "seconds_per_second": took / seconds,
                "agreement_db": decibels if isfinite(decibels) else None,
            }
        )


def check_overflow(report: Report, subject: Subject, device: torch.device) -> None:
    """What is too loud for lower precision is computed again, and finite."""
    dtype = torch.float16 if device.type == "cuda" else torch.bfloat16
    model = subject.load(device, dtype)
    found = subject.run(model, LOUD)
    holds = bool(found.isfinite().all()) and bool(found.any())
    report.check(
        f"an overflow in {name_of(dtype)}, {subject.row.name}", holds, f"{'finite' if holds else 'lost'}"
    )


def check_budget(
    report: Report, preset: str, weights: Path, device: torch.device, gib: float, seconds: float
) -> None:
    """An ensemble in a child that can allocate no more than its budget."""
    code = (
        "from benchmarks.gpu import in_budget; "
        f"in_budget({preset!r}, {str(weights)!r}, {str(device)!r}, {gib!r}, {seconds!r})"
    )
    held, said = in_child(code)
    report.check(f"{preset} within {gib:g} GiB", held, said)


def in_child(code: str) -> tuple[bool, str]:
    """Whether Python runs it in a process of its own, and the last that it says."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    lines = (done.stderr if done.returncode else done.stdout).split("\n")
    said = next((line for line in reversed(lines) if line.strip()), "")
    return not done.returncode, said[:300] or f"its process ended with {done.returncode}"


def in_budget(preset: str, weights: str, device: str, gib: float, seconds: float) -> None:
    """Run a preset with that much memory and no more; on a GPU the allocator itself refuses more."""
    place, limit = torch.device(device), int(gib * 2**30)
    if (small := Path(weights, "manifest.yaml")).exists():
        manifest.MANIFEST = small
    if place.type == "cuda":
        total = torch.cuda.get_device_properties(place).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total), place)
    model = SeparationModel(
        preset=preset,
        weights_dir=weights,
        device=device,
        memory_budget=limit,
        verify_weights=False,
        download=False,
    )
    samples = int(seconds * MODEL_SAMPLE_RATE)
    start = time.perf_counter()
    stems, _ = model.separate_music_file(models.noise(samples).T.numpy(), MODEL_SAMPLE_RATE)
    took = time.perf_counter() - start
    assert all(len(stem) == samples for stem in stems.values())
    on_gpu = place.type == "cuda"
    peak = f", peak {torch.cuda.max_memory_reserved(place) / 2**30:.2f} GiB" if on_gpu else ""
    print(f"{seconds:g} s in {took:.1f} s{peak}")


def measure_ensemble(report: Report, preset: str, device: torch.device, seconds: float) -> None:
    """A published ensemble, ours and as its authors schedule it, on this device."""
    arguments = argparse.Namespace(
        preset=preset,
        steps="all",
        device=str(device),
        precision="auto",
        seconds=seconds,
        repeats=1,
        only_ours=False,
    )
    result = ensemble.run(arguments)
    agreed = float(np.min([*result["agreement_db"].values()]))
    report.check(f"{preset}, all stems", agreed >= LOWER_DB, f"{agreed:.1f} dB of the published schedule")
    report.measure(
        preset,
        ratio=result["ratio"],
        aimed_ratio=RATIO,
        times_real_time=1 / result["rtf"]["ours"],
        aimed_times_real_time=TIMES_REAL_TIME,
        peak_gpu_bytes=result["peak_gpu_bytes"]["ours"],
    )
    report.measured[-1]["result"] = result


def measure_rate(report: Report, device: torch.device) -> None:
    """Operations a second of one large product, for what is far from it."""
    size = 8192 if device.type == "cuda" else 1024
    for dtype in (torch.float32, torch.bfloat16):
        rate = models.matrix_rate(dtype, device, size)
        report.measure(f"a product in {name_of(dtype)}", tera_operations_a_second=rate / 1e12)


def measure_copies(report: Report, subject: Subject, device: torch.device) -> None:
    """What crosses between host and GPU while a network runs, and how long that takes."""
    precision = resolve_precision("auto", device)
    model = subject.load(device, dtype_of(subject.row, subject.path, precision))
    schedule = plan_schedule(device, chunk_bytes(model))
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        models.run(model, models.noise(3 * model.geometry.chunk_samples), 0.25, schedule)
    copies = [event for event in profile.key_averages() if "Memcpy" in event.key]
    on_gpu = sum(event.self_device_time_total for event in profile.key_averages())
    report.measure(
        f"copies of {subject.row.name}",
        kinds={event.key: event.count for event in copies},
        share_of_gpu_time=sum(event.self_device_time_total for event in copies) / on_gpu if on_gpu else 0.0,
    )


def measure_start(report: Report, device: torch.device) -> None:
    """A first separation of 20 s from a cold process, with the demo's networks."""
    code = (
        "import numpy as np; from my_submission import SeparationModel; "
        f"m = SeparationModel(preset='mdx-demo', device={str(device)!r}); "
        "m.separate_music_file(0.1 * np.random.default_rng(0).standard_normal((882000, 2)), 44100)"
    )
    name, start = "a first separation of 20 s, from a cold start", time.perf_counter()
    done, said = in_child(code)
    if not done:
        report.check(name, False, said)
        return
    report.measure(name, seconds=time.perf_counter() - start)


Step = tuple[str, Callable[[], None]]


def steps(report: Report, device: torch.device, small: bool, folder: Path) -> Iterator[Step]:
    """Everything there is to do, the most telling first. Weights are made by the step that needs them."""
    yield "float32 products", lambda: check_products(report, device)
    subjects = small_subjects(folder)
    for one in subjects:
        yield f"{one.row.name}, small", lambda one=one: check_network(report, one, device)  # type: ignore[misc]
    yield "overflow", lambda: check_overflow(report, subjects[0], device)
    yield "the rate of a product", lambda: measure_rate(report, device)
    if small:
        (folder / "kit").mkdir()
        kit = write_small_kit(folder / "kit", SMALL_PRESETS)
        for preset in SMALL_PRESETS:
            yield (
                f"{preset}, small",
                lambda preset=preset: check_budget(  # type: ignore[misc]
                    report, preset, kit, device, BUDGETS_GIB[-1], 1.0
                ),
            )
        yield "copies", lambda: measure_copies(report, subjects[0], device)
        return
    yield "start", lambda: measure_start(report, device)
    for name in ROWS:
        yield name, lambda name=name: check_network(report, full_subject(name), device)  # type: ignore[misc]
    yield "mdx-c", lambda: measure_ensemble(report, "mdx-c", device, 30.0)
    for gib in BUDGETS_GIB:
        yield (
            f"mdx-c within {gib} GiB",
            lambda gib=gib: check_budget(  # type: ignore[misc]
                report, "mdx-c", full_subject(ROWS[0]).path.parent, device, gib, 30.0
            ),
        )
    yield "copies", lambda: measure_copies(report, full_subject(ROWS[0]), device)
    yield "cdx-b", lambda: measure_ensemble(report, "cdx-b", device, 30.0)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", type=allowed.device, default="auto")
    parser.add_argument("--small", action="store_true", help="small networks only")
    parser.add_argument("--minutes", type=float, default=10.0, help="begin nothing new after that")
    parser.add_argument("--json", type=allowed.file, default=Path("gpu.json"), help="where the report goes")
    options = parser.parse_args(arguments)
    device = resolve_device(options.device)
    if device.type == "cpu" and not options.small:
        parser.error("there is no GPU; --device cpu --small runs the checks on the CPU, on small networks")
    if options.small:
        torch.set_num_threads(1)  # more of them wait for each other longer than they compute
    report, end, code = Report(machine(device)), time.monotonic() + 60 * options.minutes, 0
    say(", ".join(str(value) for value in report.machine.values()))
    with tempfile.TemporaryDirectory() as folder:
        for name, step in steps(report, device, options.small, Path(folder)):
            try:
                if time.monotonic() > end:
                    report.not_run.append(name)
                else:
                    step()
            except KeyboardInterrupt:
                report.not_run.append(name)
                end, code = 0.0, INTERRUPTED
            except Exception as error:  # one network that fails must not hide the others
                report.check(name, False, f"{type(error).__name__}: {error}")
            report.write(options.json)
    if report.not_run:
        say(f"not run: {', '.join(report.not_run)}")
    say(f"{len(report.checks)} checks, {report.failed} failed; written to {options.json}")
    return code or int(report.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
