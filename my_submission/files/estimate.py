"""How long separating will take on this machine, found out by doing a little of it."""

import time
from dataclasses import dataclass

import torch

from my_submission.audio import MODEL_SAMPLE_RATE
from my_submission.chunking import reader
from my_submission.ensemble import Progress
from my_submission.files.separate import StreamingModel

TRIAL_SECONDS = 12.0
"""Of noise: a few chunks of every network of the released presets."""


@dataclass(frozen=True)
class Speed:
    """Seconds a unit of a model's work; decoding and writing are not in it."""

    seconds_per_work: float

    def seconds(self, model: StreamingModel, audio_seconds: float) -> float:
        """What a recording of this length will take, without loading the model."""
        return self.seconds_per_work * model.work(max(1, round(audio_seconds * MODEL_SAMPLE_RATE)))


def measure_speed(model: StreamingModel, progress: Progress | None = None) -> Speed:
    """Separate some noise. It assumes that work takes time in proportion, whatever the recording's length."""
    samples = round(TRIAL_SECONDS * MODEL_SAMPLE_RATE)
    noise = 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(0))
    began = time.monotonic()
    for _ in model.stream(reader(noise), samples, progress):
        pass
    return Speed((time.monotonic() - began) / model.work(samples))
