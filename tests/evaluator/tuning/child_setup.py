"""A small ensemble and tracks, and a running child with a cache of its own that is asked for its members."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from evaluator.running import dataset
from evaluator.tuning.estimator import Estimator, PresetInfo
from tests.evaluator.small_ensemble import write_ensemble, write_tracks


class Setup:
    """A preset, tracks, and a running child with a cache of its own."""

    def __init__(self, folder: Path, runner: Estimator) -> None:
        self.folder = folder
        self.preset = write_ensemble(folder / "ensemble")
        self.data = dataset.load(write_tracks(folder / "tracks"))
        self.runner = runner

    @property
    def info(self) -> PresetInfo:
        return self.runner.describe(self.preset)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Setup]:
    with Estimator(folder / "cache", device="cpu", precision="fp32") as runner:
        yield Setup(folder, runner)
