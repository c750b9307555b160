"""Small random checkpoints of every architecture, made once a session; every day, files are opened at once."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

torch.testing._comparison._HAS_DTENSOR = False  # no test has such tensors, and to import them takes a second
_PATCH = pytest.StashKey[pytest.MonkeyPatch]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Every day, a file without a hash is opened at once, and not in a process of its own first: a fork of a process
    as large as this one takes longer than most tests. Those about the trial, and all thorough and slow ones, have it.
    """
    trial = sys.modules.get("my_submission.weights.trial")
    rarely = any(item.get_closest_marker(name) for name in ("thorough", "slow"))
    if trial is None or rarely or "trials" in getattr(item, "fixturenames", ()):
        return
    item.stash[_PATCH] = pytest.MonkeyPatch()
    item.stash[_PATCH].setattr(trial, "_CAN_FORK", False)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    if _PATCH in item.stash:
        item.stash[_PATCH].undo()


@pytest.fixture
def trials() -> None:
    """For tests of the trial."""


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
