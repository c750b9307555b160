"""Small random checkpoints of every architecture, made once a session."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights_dir with every checkpoint of the published presets, small; use it with `small_manifest`."""
    from tests.random_checkpoints import write_small_kit  # it imports demucs, which quick tests do without

    return write_small_kit(tmp_path_factory.mktemp("weights"), ("mdx-c", "mdx-c-kim2", "cdx-b"))


@pytest.fixture(scope="module")
def small_manifest(small_weights: Path) -> Iterator[None]:
    """For the rest of the module the project's manifest is that of `small_weights`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("my_submission.weights.manifest.MANIFEST", small_weights / "manifest.yaml")
        yield


@pytest.fixture
def noise() -> torch.Tensor:
    """A second of stereo noise, (2, 44100)."""
    return 0.1 * torch.randn(2, 44_100, generator=torch.Generator().manual_seed(7))
