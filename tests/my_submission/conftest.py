"""Small random checkpoints of every architecture, made once a session."""

from pathlib import Path

import pytest
import torch

from my_submission.ensemble.preset_reader import load_preset
from my_submission.weights import load_manifest
from tests.random_checkpoints import save_checkpoint


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights_dir with every checkpoint of the published presets, small; use verify_weights=False."""
    folder = tmp_path_factory.mktemp("weights")
    names = {name for preset in ("mdx-c", "mdx-c-kim2", "cdx-b") for name in load_preset(preset).checkpoints}
    manifest = load_manifest()
    for seed, name in enumerate(sorted(names)):
        save_checkpoint(manifest.checkpoints[name], folder, small=True, seed=seed)
    return folder


@pytest.fixture
def noise() -> torch.Tensor:
    """Two seconds of stereo noise, (2, 88200)."""
    return 0.1 * torch.randn(2, 88_200, generator=torch.Generator().manual_seed(7))
