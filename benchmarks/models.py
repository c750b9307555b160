"""Networks at full size against their reference packages: `python benchmarks/models.py [NAME …] [--seconds 20] …`.

NAME is a row of the manifest whose architecture is in `tests.reference_networks.REFERENCES`; by default those of
NETWORKS. Both sides open the same random weights (made once, in the temporary folder) and run over the same noise in
the same chunks, blended alike: the reference package's network one chunk after the other with all cores on each, in
float32; ours as the kit runs it. Each side is a process of its own, with its network loaded before the clock starts,
and warm from one chunk.

Prints for each network: seconds per second of audio, their ratio, that of CPU time (a busy machine disturbs it less),
the agreement of the worst source, peak memory, and what part of the machine's matrix rate is reached. That is the
operations of the reference's products and convolutions (those that torch counts: none of recurrent layers) over our
time, over the rate of one large product in the same precision on all cores.
"""

import argparse
import contextlib
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import allowed
from my_submission.commands.separate_options import positive
from my_submission.models import ChunkModel, chunk_bytes
from my_submission.runtime.devices import name_of, resolve_device, resolve_precision
from my_submission.runtime.inference import count_chunks, estimate_track
from my_submission.runtime.pool import dtype_of, load_model
from my_submission.runtime.schedule import SEQUENTIAL, Schedule, plan_schedule
from my_submission.signal.audio import MODEL_SAMPLE_RATE
from my_submission.signal.augment import Augmentation
from my_submission.signal.chunking import Geometry, reader
from my_submission.weights import Checkpoint, load_manifest
from my_submission.weights.load import open_network_state
from tests.lower_precision import agreement
from tests.random_checkpoints import full_size_checkpoint
from tests.reference_networks import REFERENCES, reference

NETWORKS = [
    *("bsroformer-musdb", "polarformer", "melband-kim", "scnet-xl-ihf"),
    *("mdx23c-vocals", "bandit-plus", "bandit-v2-multi"),
]
"""Rows of the manifest; a new architecture adds its own here, and itself to REFERENCES."""

MATRIX_SIZE = 4_096


class Ours:
    """A row's network as the kit runs it."""

    def __init__(
        self, checkpoint: Checkpoint, options: argparse.Namespace, geometry: Geometry | None
    ) -> None:
        path, device = full_size_checkpoint(checkpoint), resolve_device(options.device)
        self.dtype = dtype_of(checkpoint, path, resolve_precision(options.precision, device))
        self.model: ChunkModel = load_model(checkpoint, path, device, self.dtype)
        self.schedule = plan_schedule(device, chunk_bytes(self.model))


class Theirs:
    """A row's network as its reference package has it, called as one of ours."""

    dtype = torch.float32
    schedule = SEQUENTIAL
    bytes_per_sample = 0

    def __init__(
        self, checkpoint: Checkpoint, options: argparse.Namespace, geometry: Geometry | None
    ) -> None:
        """geometry: of our model, since packages do not cut tracks into chunks themselves."""
        assert geometry is not None
        self.sources, self.geometry = checkpoint.sources, geometry
        self._device = resolve_device(options.device)
        self._network = reference(checkpoint)
        self._network.module.load_state_dict(open_network_state(full_size_checkpoint(checkpoint)))
        self._network.module.to(self._device)
        self.model: ChunkModel = self

    def __call__(self, chunks: Tensor) -> Tensor:
        with torch.inference_mode():
            return self._network(chunks.to(self._device)).cpu()


SIDES: dict[str, type[Ours] | type[Theirs]] = {"ours": Ours, "reference": Theirs}


def serve(
    side: str,
    name: str,
    options: argparse.Namespace,
    geometry: Geometry | None,
    pipe: "Connection[Any, Any]",
) -> None:
    """A side's process: it loads, runs whenever it is asked to, and finally reports its peak."""
    loaded = SIDES[side](load_manifest().checkpoints[name], options, geometry)
    model, samples = loaded.model, int(options.seconds * MODEL_SAMPLE_RATE)
    signal = noise(samples)
    counter = FlopCounterMode(display=False)  # it does not know all of the products in our networks
    with counter if side == "reference" else contextlib.nullcontext():
        run(model, signal[:, : model.geometry.chunk_samples], 0.0, loaded.schedule)
    pipe.send((model.geometry, loaded.dtype, counter.get_total_flops()))
    while pipe.recv():
        start, start_cpu = time.perf_counter(), time.process_time()
        estimates = run(model, signal, options.overlap, loaded.schedule)
        pipe.send((time.perf_counter() - start, time.process_time() - start_cpu, estimates.numpy()))
    status = Path("/proc/self/status").read_text()
    host = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    on_gpu = resolve_device(options.device).type == "cuda"
    pipe.send((host, torch.cuda.max_memory_allocated() if on_gpu else None))


def noise(samples: int, level: float = 0.1) -> Tensor:
    """(2, samples), always the same."""
    return level * torch.randn(2, samples, generator=torch.Generator().manual_seed(0))


def run(model: ChunkModel, signal: Tensor, overlap: float, schedule: Schedule) -> Tensor:
    """(2, samples) -> (sources, 2, samples)."""
    pieces = estimate_track(model, reader(signal), signal.shape[-1], Augmentation(), overlap, schedule)
    return torch.cat([piece for _, piece in pieces], dim=-1)


@dataclass(frozen=True)
class Run:
    """One run over the noise; estimates (sources, 2, samples)."""

    seconds: float
    cpu_seconds: float
    estimates: Tensor


class Process:
    """A side in a process of its own, loaded and warm."""

    def __init__(self, side: str, name: str, options: argparse.Namespace, geometry: Geometry | None) -> None:
        self._name = f"{name}, {side}"
        context = multiprocessing.get_context("spawn")
        self._pipe, its_end = context.Pipe()
        context.Process(target=serve, args=(side, name, options, geometry, its_end), daemon=True).start()
        its_end.close()
        self.geometry, self.dtype, self.operations_of_a_chunk = self._receive()

    def run(self) -> Run:
        self._pipe.send(True)
        seconds, cpu_seconds, estimates = self._receive()
        return Run(seconds, cpu_seconds, torch.from_numpy(estimates))

    def end(self) -> tuple[int, int | None]:
        """Its peak in bytes, on the host and on the GPU."""
        self._pipe.send(False)
        host, gpu = self._receive()
        return host, gpu

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except EOFError:
            raise SystemExit(
                f"{self._name}: its process ended; why stands above, unless memory ran out"
            ) from None


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Both sides of a network, in turn."""
    checkpoint = load_manifest().checkpoints[name]
    full_size_checkpoint(checkpoint)  # made before either side needs it
    ours = Process("ours", name, options, None)
    sides = {"ours": ours}
    if not options.only_ours:
        sides["reference"] = Process("reference", name, options, ours.geometry)
    runs = [{side: process.run() for side, process in sides.items()} for _ in range(options.repeats)]
    peaks = {side: process.end() for side, process in sides.items()}
    seconds = {side: statistics.median(one[side].seconds for one in runs) for side in sides}
    cpu_seconds = {side: statistics.median(one[side].cpu_seconds for one in runs) for side in sides}
    result = {
        "network": name,
        "precision": name_of(ours.dtype),
        "seconds_per_second": {side: value / options.seconds for side, value in seconds.items()},
        "cpu_seconds_per_second": {side: value / options.seconds for side, value in cpu_seconds.items()},
        "peak_host_bytes": {side: host for side, (host, _) in peaks.items()},
        "peak_gpu_bytes": {side: gpu for side, (_, gpu) in peaks.items()},
    }
    if options.only_ours:
        return result
    samples = int(options.seconds * MODEL_SAMPLE_RATE)
    chunks = count_chunks(ours.geometry, samples, Augmentation(), options.overlap)
    operations = chunks * sides["reference"].operations_of_a_chunk
    device = resolve_device(options.device)
    theirs, found = (runs[-1][side].estimates for side in ("reference", "ours"))
    return {
        **result,
        "ratio": seconds["reference"] / seconds["ours"],
        "cpu_ratio": cpu_seconds["reference"] / cpu_seconds["ours"],
        "agreement_db": {
            source: agreement(theirs[place], found[place]) for place, source in enumerate(checkpoint.sources)
        },
        "operations": operations,
        "of_matrix_rate": operations / seconds["ours"] / matrix_rate(ours.dtype, device)
        if device.type == "cpu"
        else None,
    }


def matrix_rate(dtype: torch.dtype, device: torch.device, size: int = MATRIX_SIZE) -> float:
    """Operations per second of a large product on a GPU or on all cores, the best of three."""
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / least_seconds(lambda: left @ right, device, 4)  # the first is to warm up


def least_seconds(work: Callable[[], object], device: torch.device, rounds: int = 3) -> float:
    """The least time of some calls; on a GPU until the work is done."""
    least = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        least = min(least, time.perf_counter() - start)
    return least


HEAD = (
    "| network | precision | reference, s/s | ours, s/s | ratio | ratio of CPU time | agreement, dB "
    "| of the matrix rate | peak GiB, reference and ours |"
)


def line(result: dict[str, Any]) -> str:
    """A row of the table."""
    speed, peaks = result["seconds_per_second"], result["peak_host_bytes"]
    both, rate = "ratio" in result, result.get("of_matrix_rate")
    cells = [
        result["network"],
        result["precision"],
        f"{speed['reference']:.2f}" if both else "",
        f"{speed['ours']:.2f}",
        f"{result['ratio']:.2f}" if both else "",
        f"{result['cpu_ratio']:.2f}" if both else "",
        f"{min(result['agreement_db'].values()):.1f}" if both else "",
        f"{100 * rate:.0f} %" if rate else "",
        ", ".join(f"{peaks[side] / 2**30:.1f}" for side in ("reference", "ours") if side in peaks),
    ]
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = [row.name for row in load_manifest().checkpoints.values() if row.architecture in REFERENCES]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}")
    parser.add_argument("--device", type=allowed.device, default="auto")
    parser.add_argument("--precision", choices=allowed.PRECISIONS, default="auto")
    parser.add_argument("--seconds", type=allowed.seconds, default=20.0, help="length of the noise")
    parser.add_argument("--overlap", type=allowed.overlap, default=0.5, help="of chunks, on both sides")
    parser.add_argument("--repeats", type=positive, default=1)
    parser.add_argument("--only-ours", action="store_true", help="leave out the reference")
    parser.add_argument("--json", type=allowed.file, help="also write the results here")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in known:
            parser.error(f"NAME: expected one of {', '.join(known)}, found {name!r}")
    print(HEAD, "|---" * HEAD.count(" | ") + "|---|", sep="\n", flush=True)
    results = []
    for name in options.names or NETWORKS:
        results.append(measure(name, options))
        print(line(results[-1]), flush=True)
        if options.json:  # after each, since the next may take an hour
            options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
