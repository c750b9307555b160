"""The full-size architectures with random weights, through the whole graph, against the published schedule."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.ensemble import published, random_weights
from benchmarks.published import agreement_db
from my_submission.ensemble.engine import Ensemble
from my_submission.ensemble.plan import needed_sources
from my_submission.ensemble.preset import checkpoint_rows
from my_submission.ensemble.preset_reader import load_preset
from my_submission.models.demucs_file import load_torch
from my_submission.models.onnx_network import OnnxNetwork
from my_submission.models.precision import computing
from my_submission.runtime.devices import Precision
from my_submission.runtime.pool import ModelPool, load_model
from my_submission.runtime.schedule import plan_schedule
from tests.lower_precision import CPU, MARGIN_DB, agreement, autocast

ROOT = Path(__file__).parents[2]

THREE_CHUNKS = """
import sys, torch
from pathlib import Path
from benchmarks.ensemble import random_weights
from my_submission.ensemble.preset import checkpoint_rows
from my_submission.ensemble.preset_reader import load_preset
from my_submission.models import chunk_bytes
from my_submission.runtime.inference import estimate_track
from my_submission.runtime.pool import load_model
from my_submission.runtime.schedule import plan_schedule
from my_submission.signal.augment import Augmentation
from my_submission.signal.chunking import reader

preset, (name, precision, budget) = load_preset("mdx-c"), sys.argv[1:]
row = next(row for row in checkpoint_rows(preset) if row.name == name)
device = torch.device("cpu")
model = load_model(row, random_weights(preset)[name], device, getattr(torch, precision))
torch.set_num_threads(3)
schedule = plan_schedule(device, chunk_bytes(model), int(budget))
samples = 3 * model.geometry.chunk_samples
signal = 0.1 * torch.randn(2, samples)
for _ in estimate_track(model, reader(signal), samples, Augmentation(), 0.0, schedule):
    pass
print(schedule.for_model(model, model.geometry.read_samples).workers)
lines = Path("/proc/self/status").read_text().splitlines()  # ru_maxrss would begin with the parent's
print(next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mdx-c-consistent", "cdx-b"])
def test_full_size_ensembles_are_the_published_ones(name: str) -> None:
    """The other forms of mdx-c have the same networks; `test_published_forms.py` has them with small ones."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    preset = load_preset(name)
    paths = random_weights(preset)
    weights = next(iter(paths.values())).parent
    mixture = 0.1 * torch.randn(2, 44_100, generator=torch.Generator().manual_seed(0))
    theirs = published(preset, weights, CPU)
    expected = theirs.cdx_b(mixture) if name == "cdx-b" else theirs.mdx_c(mixture)
    models = ModelPool(checkpoint_rows(preset), paths, Precision(CPU, torch.float32), needed_sources(preset))
    found = Ensemble(preset, models, 0, plan_schedule(CPU, models.largest_chunk_bytes())).separate(mixture)
    for stem, db in agreement_db(expected, found).items():
        assert db > 90, f"{stem}: {db:.1f} dB"
    if preset.mixture_consistent:
        assert (sum(found.values()) - mixture).abs().max() < 1e-6


@pytest.mark.slow
def test_demucs_in_bfloat16_is_as_near_as_autocast() -> None:
    preset = load_preset("mdx-c")
    row = next(row for row in checkpoint_rows(preset) if row.name == "htdemucs")
    path = random_weights(preset)[row.name]
    exact, lower = (load_model(row, path, CPU, dtype) for dtype in (torch.float32, torch.bfloat16))
    noise = torch.randn(1, 2, exact.geometry.read_samples, generator=torch.Generator().manual_seed(0))
    expected, found = exact(0.1 * noise), lower(0.1 * noise)
    rounded = autocast(load_torch(path, row).eval(), 0.1 * noise)
    for place, source in enumerate(row.sources):
        least = agreement(expected[:, place], rounded[:, place]) - MARGIN_DB
        assert agreement(expected[:, place], found[:, place]) > least, source


@pytest.mark.slow
def test_mdx_net_in_bfloat16_is_as_near_as_autocast() -> None:
    """In its spectrogram: with random weights that is a constant for the most part, whose waveform is silence."""
    path = random_weights(load_preset("mdx-c"))["Kim_Vocal_1"]
    exact, lower = (OnnxNetwork(path, CPU, dtype) for dtype in (torch.float32, torch.bfloat16))
    values = torch.randn(1, *exact.input_shape[1:], generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), computing(CPU, torch.bfloat16):
        expected, found = exact(values), lower(values)
    assert agreement(expected, found) > agreement(expected, autocast(exact, values)) - MARGIN_DB


@pytest.mark.slow
@pytest.mark.parametrize(("name", "precision"), [("htdemucs_6s", "bfloat16"), ("Kim_Vocal_1", "float32")])
def test_a_memory_budget_is_kept(name: str, precision: str) -> None:
    """Three chunks on what torch takes for three cores would need 2.5 and 3.9 GB."""
    budget = 9 << 28  # 2.25 GiB
    command = [sys.executable, "-c", THREE_CHUNKS, name, precision, str(budget)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    workers, peak_bytes = (int(line) for line in done.stdout.split()[-2:])
    assert 1 <= workers < 3
    assert budget / 3 < peak_bytes <= budget
