"""The full-size architectures with random weights, through the whole graph, against the published schedule."""

import os

import pytest
import torch

from benchmarks.ensemble import random_weights
from benchmarks.published import Published, agreement_db
from my_submission.ensemble import Ensemble
from my_submission.inference import ModelPool, Schedule
from my_submission.passes import MAX_DELAY_SAMPLES, needed_sources, step_passes
from my_submission.preset import checkpoint_rows
from my_submission.preset_reader import load_preset

CPU = torch.device("cpu")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mdx-c", "cdx-b"])
def test_full_size_ensembles_are_the_published_ones(name: str) -> None:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    preset = load_preset(name)
    paths = random_weights(preset)
    weights = next(iter(paths.values())).parent
    mixture = 0.1 * torch.randn(2, 44_100, generator=torch.Generator().manual_seed(0))
    passes = [one for step in preset.steps for one in step_passes(step, preset, 0)]
    delays = {one.checkpoint: one.augmentation.delay_samples for one in passes}
    published = Published(weights, CPU, lambda expert: MAX_DELAY_SAMPLES - delays.get(expert, 0))
    expected = published.mdx_c(mixture) if name == "mdx-c" else published.cdx_b(mixture)
    models = ModelPool(checkpoint_rows(preset), paths, CPU, torch.float32, needed_sources(preset))
    found = Ensemble(preset, models, 0, Schedule.for_device(CPU)).separate(mixture)
    for stem, db in agreement_db(expected, found).items():
        assert db > 90, f"{stem}: {db:.1f} dB"
    assert (sum(found.values()) - mixture).abs().max() < 1e-6
