"""Ensembles whose networks take made-up time, and a clock that shows it."""

from typing import cast

import torch
from torch import Tensor

from my_submission.ensemble.costs import measure_costs
from my_submission.ensemble.deadline import (
    FILES_FACTOR,
    FILES_SECONDS,
    Deadline,
)
from my_submission.ensemble.engine import Ensemble
from my_submission.ensemble.preset import Preset
from my_submission.runtime.pool import ModelPool
from my_submission.runtime.schedule import Schedule
from my_submission.signal.audio import Stems
from my_submission.signal.chunking import Geometry, reader

SOURCES = ("drums", "bass", "other", "vocals")
RATE = 44_100
SAMPLES = 6_000
CHUNK = 1_000


class FakeClock:
    """Stands still but for what models say that they take."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slowdown_at: list[tuple[float, float]] = []

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        factors = [factor for start, factor in self.slowdown_at if self.now >= start]
        self.now += seconds * (factors[-1] if factors else 1.0)


class Network:
    """A gain for each source, and seconds a chunk."""

    geometry = Geometry(CHUNK)
    bytes_per_sample = 1

    def __init__(self, clock: FakeClock, sources: tuple[str, ...], gain: float, seconds: float = 1.0) -> None:
        self.sources = sources
        self.clock = clock
        self.gain = gain
        self.seconds = seconds
        self.calls = 0

    def __call__(self, chunks: Tensor) -> Tensor:
        self.calls += len(chunks)
        self.clock.work(self.seconds * len(chunks))
        # Something that differs with polarity and with the place in a chunk, as a network's output does.
        shape = torch.linspace(0.9, 1.1, chunks.shape[-1]) * (1 + 0.1 * torch.tanh(3 * chunks))
        return (self.gain * shape * chunks)[:, None].expand(-1, len(self.sources), -1, -1)


class Pool:
    def __init__(self, models: dict[str, Network]) -> None:
        self.models = models
        self.kinds = {name: name for name in models}

    def get(self, name: str) -> Network:
        return self.models[name]


def made(preset: Preset, clock: FakeClock) -> ModelPool:
    rows = preset.manifest.checkpoints
    gains = dict(zip(preset.checkpoints, torch.linspace(0.2, 0.8, len(preset.checkpoints)), strict=True))
    return cast(
        ModelPool,
        Pool({name: Network(clock, rows[name].sources, float(gain)) for name, gain in gains.items()}),
    )


class Timed:
    """A preset on a made-up clock, whose limit for the test's track is that many seconds."""

    def __init__(self, preset: Preset, clock: FakeClock, seconds: float) -> None:
        self.models = made(preset, clock)
        factor = FILES_FACTOR + (seconds + FILES_SECONDS) * RATE / SAMPLES
        costs = measure_costs(self.models, Schedule(), clock)
        self.deadline = Deadline(preset, 0, costs, factor, clock)
        self.progress: list[tuple[float, float]] = []
        self._ensemble = Ensemble(preset, self.models)

    @property
    def economies(self) -> list[str]:
        return self.deadline.economies

    def separate(self, mixture: Tensor) -> Stems:
        """As `SeparationModel` does it: the track is one block, and the policy decides."""
        ((start, stems),) = self._ensemble.stream(
            reader(mixture), 2, mixture.shape[-1], lambda *told: self.progress.append(told),
            block_samples=None, policy=self.deadline.begin(mixture.shape[-1]),
        )  # fmt: skip
        assert start == 0
        return stems


def seconds_of(preset: Preset, level: int) -> float:
    clock = FakeClock()
    return Timed(preset, clock, 1e9).deadline.predicted_seconds(level, SAMPLES)


def close(one: Stems, other: Stems) -> bool:
    return all(torch.allclose(one[stem], other[stem], atol=1e-5) for stem in one)
