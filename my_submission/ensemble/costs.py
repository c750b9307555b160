"""What models cost on this machine: measured on a few chunks, then predicted for any pass."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

from my_submission.ensemble.plan import Pass
from my_submission.models import ChunkModel
from my_submission.runtime.inference import count_chunks, estimate_track
from my_submission.runtime.schedule import Schedule
from my_submission.signal.audio import MODEL_SAMPLE_RATE
from my_submission.signal.augment import Augmentation
from my_submission.signal.chunking import Geometry, reader

log = logging.getLogger(__name__)

Clock = Callable[[], float]

MEASURED_SECONDS = 0.5
"""Fast networks are run again until this much time has passed, but at most MOST_ROUNDS times."""
MOST_ROUNDS = 3


@dataclass(frozen=True)
class Costs:
    """Seconds per chunk for each checkpoint, when as many run side by side as the schedule allows.

    at_a_time: checkpoint -> how many those are.
    """

    chunk_seconds: Mapping[str, float]
    geometries: Mapping[str, Geometry]
    at_a_time: Mapping[str, int]
    schedule: Schedule

    def seconds(self, passes: Iterable[Pass], samples: int) -> float:
        """Seconds for passes over a track of `samples`, one after the other."""
        return sum(self.pass_seconds(one, samples) for one in passes)

    def pass_seconds(self, one: Pass, samples: int) -> float:
        """Seconds for a pass; a round of chunks that is not full is assumed to take as long as a full one."""
        full = self.at_a_time[one.checkpoint]
        rounds = math.ceil(self._chunks(one, samples) / full)
        return rounds * full * self.chunk_seconds[one.checkpoint]

    def share_of_chunk(self, one: Pass, samples: int) -> float:
        """`pass_seconds` per chunk."""
        return self.pass_seconds(one, samples) / self._chunks(one, samples)

    def _chunks(self, one: Pass, samples: int) -> int:
        return count_chunks(
            self.geometries[one.checkpoint], samples, one.augmentation, one.overlap, one.segment_samples
        )


class Models(Protocol):
    """Loaded models by name, as a `ModelPool` has them. kinds: equal for networks that do the same work."""

    @property
    def kinds(self) -> Mapping[str, str]: ...

    def get(self, name: str) -> ChunkModel: ...


def measure_costs(models: Models, schedule: Schedule, clock: Clock = time.monotonic) -> Costs:
    """Run one network of each kind on noise: a round of chunks to warm up, then some that are timed."""
    by_kind: dict[str, float] = {}
    for name, kind in models.kinds.items():
        if kind not in by_kind:
            by_kind[kind] = _chunk_seconds(models.get(name), schedule, clock)
            log.info("%s: %.3f s per chunk on this machine", name, by_kind[kind])
    return Costs(
        {name: by_kind[kind] for name, kind in models.kinds.items()},
        {name: models.get(name).geometry for name in models.kinds},
        {name: _at_a_time(models.get(name), schedule) for name in models.kinds},
        schedule,
    )


def _at_a_time(model: ChunkModel, schedule: Schedule) -> int:
    own = schedule.for_model(model, model.geometry.read_samples)
    return own.batch_size * own.workers


def _chunk_seconds(model: ChunkModel, schedule: Schedule, clock: Clock) -> float:
    chunks = _at_a_time(model, schedule)
    samples = chunks * model.geometry.chunk_samples * MODEL_SAMPLE_RATE // model.geometry.sample_rate
    noise = 0.1 * torch.randn(2 * model.geometry.signals, samples, generator=torch.Generator().manual_seed(0))

    def run_round() -> None:
        for _ in estimate_track(model, reader(noise), samples, Augmentation(), 0.0, schedule):
            pass

    run_round()
    began, rounds = clock(), 0
    while rounds == 0 or (rounds < MOST_ROUNDS and clock() - began < MEASURED_SECONDS):
        run_round()
        rounds += 1
    return (clock() - began) / rounds / chunks
