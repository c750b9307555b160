"""A preset and tracks, and estimators over an engine that does what a test says."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import pytest

from evaluator.running import dataset
from evaluator.running.dataset import Track
from evaluator.tuning import over_engine
from evaluator.tuning.estimator import Estimator
from evaluator.tuning.over_engine import EngineEstimator, Watcher
from sdx.engines import address
from sdx.engines.dispatcher import Piece
from sdx.engines.engine import Worker
from tests.evaluator.small_ensemble import write_ensemble, write_preset, write_tracks
from tests.sdx.engines.test_work import MadeEngine

WORKERS = [Worker("w1", "one"), Worker("w2", "two")]

Reply = Callable[[MadeEngine, Worker, Piece], None]


class Said(Watcher):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self.words: list[tuple[int, int, int, int]] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def working(self, workers: int, machines: int, done: int, tracks: int, pace: float) -> None:
        self.words.append((workers, machines, done, tracks))


class World:
    """A preset and tracks; estimators over engines that do what a test says."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.preset = write_preset(root / "ensemble", {})
        self.data = dataset.load(write_tracks(root / "tracks"))

    def write_networks(self) -> None:
        """For those that run them; to the others the preset is a name."""
        write_ensemble(self.preset.parent)

    def over(
        self, monkeypatch: pytest.MonkeyPatch, reply: Reply, cache: str = "cache", precision: str = "fp32"
    ) -> EngineEstimator:
        monkeypatch.setattr(over_engine, "open_engine", lambda *_: MadeEngine(reply, WORKERS))
        where = address.parse("local")
        runner = EngineEstimator(where, None, self.root / cache, 1 << 30, "cpu", precision)
        runner.watcher = Said()
        return runner


@dataclass(frozen=True)
class Length:
    """A question that takes no estimates."""

    preset: Path

    def at(self, preset: Path) -> Self:
        return replace(self, preset=preset)

    def answer(self, estimator: Estimator, track: Track) -> int:
        return track.frames
