"""How many chunks to compute at a time: as many as a device has room for."""

import logging
from dataclasses import dataclass, replace

import torch

from my_submission.models import ChunkModel
from my_submission.runtime.memory import held_bytes, memory_for_chunks

log = logging.getLogger(__name__)

_GPU_BATCH = 4


@dataclass(frozen=True)
class Schedule:
    """How the chunks of a pass are computed. It affects speed and memory, not results.

    batch_size: chunks per call of a model (good on a GPU). workers: calls at a time, each on `threads` cores (good on
    the CPU, where two chunks on one core each are faster than one after the other on two).
    memory_bytes: what the chunks computed at the same time may use, though one always is; None: no limit.
    """

    batch_size: int = 1
    workers: int = 1
    threads: int = 1
    memory_bytes: int | None = None

    def for_calls(self, calls: int) -> "Schedule":
        """The same cores, shared by at most as many workers as there are calls."""
        workers = max(1, min(self.workers, calls))
        return replace(self, workers=workers, threads=self.threads * self.workers // workers)

    def for_model(self, model: ChunkModel, read_samples: int) -> "Schedule":
        """The same cores, with as many chunks of that many samples at a time as memory allows."""
        if self.memory_bytes is None:
            return self
        fitting = max(1, self.memory_bytes // max(1, model.bytes_per_sample * read_samples))
        batch_size = min(self.batch_size, fitting)
        return replace(self, batch_size=batch_size).for_calls(fitting // batch_size)


SEQUENTIAL = Schedule()


def plan_schedule(
    device: torch.device, largest_chunk_bytes: int, memory_budget: int | None = None
) -> Schedule:
    """One worker per core on the CPU, batches on a GPU, as far as memory allows; call it once the models are loaded.

    largest_chunk_bytes: memory for one chunk with the model that needs most.
    memory_budget: bytes of the device's memory that this process may use in all; by default most of what is free, on
        a GPU at most 8 GiB. ValueError if not even one chunk fits.
    """
    memory_bytes = memory_for_chunks(device, memory_budget)
    if memory_bytes is not None and memory_bytes < largest_chunk_bytes:
        found = held_bytes(device)
        needed = (found + largest_chunk_bytes) / 2**30
        if memory_budget is not None:
            raise ValueError(
                f"memory_budget: expected at least {needed:.1f} GiB per process for these models and one chunk on "
                f"{device}, found {memory_budget / 2**30:.1f}; choose a smaller preset or more memory"
            )
        log.warning("memory is short: these models and one chunk need about %.1f GiB on %s", needed, device)
    if device.type == "cpu":
        return Schedule(workers=torch.get_num_threads(), memory_bytes=memory_bytes)
    return Schedule(batch_size=_GPU_BATCH, memory_bytes=memory_bytes)
