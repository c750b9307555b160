"""Scores of a network on held-out tracks, with the project's own inference and its SDR."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from evaluator.measures.sdr import sdr
from my_submission.models import ChunkModel
from my_submission.runtime.inference import estimate_track
from my_submission.runtime.schedule import Schedule
from my_submission.signal.audio import MODEL_SAMPLE_RATE
from my_submission.signal.augment import Augmentation
from my_submission.signal.chunking import reader
from training.config import TrainingConfig, ValidationSettings
from training.data import Audio, find_tracks

Scores = dict[str, float]
"""SDR in dB by "data set/stem"."""


@dataclass(frozen=True)
class HeldOutTrack:
    """A mixture (2, samples) and its references by stem, each (2, samples)."""

    data: str
    mixture: Audio
    references: dict[str, Audio]


def load_held_out(config: TrainingConfig) -> list[HeldOutTrack]:
    """The validation tracks of all data sets, cut to the configured length."""
    return [
        _cut(data.name, {stem: track.read(stem, 0, min(track.samples, limit)) for stem in track.files})
        for data in config.data
        for track in find_tracks(data, data.valid)[: config.validation.tracks]
        for limit in [int(config.validation.seconds * MODEL_SAMPLE_RATE)]
    ]


def _cut(name: str, stems: dict[str, Audio]) -> HeldOutTrack:
    return HeldOutTrack(name, np.sum(list(stems.values()), axis=0, dtype=np.float32), stems)


def separate(model: ChunkModel, mixture: Audio, overlap: float) -> dict[str, Audio]:
    """Estimates (2, samples) of the model's sources."""
    estimates = np.zeros((len(model.sources), *mixture.shape), np.float32)
    read = reader(torch.from_numpy(mixture))
    schedule = Schedule(batch_size=4)
    for start, piece in estimate_track(model, read, mixture.shape[1], Augmentation(), overlap, schedule):
        estimates[..., start : start + piece.shape[-1]] = piece.numpy()
    return dict(zip(model.sources, estimates, strict=True))


def validate(model: ChunkModel, tracks: Sequence[HeldOutTrack], settings: ValidationSettings) -> Scores:
    """Mean SDR by data set and stem."""
    rows = []
    for track in tracks:
        estimates = separate(model, track.mixture, settings.overlap)
        rows += [
            (f"{track.data}/{stem}", sdr(track.references[stem].T, estimate.T))
            for stem, estimate in estimates.items()
        ]
    return _means(rows)


def trivial_scores(tracks: Sequence[HeldOutTrack], sources: Sequence[str]) -> dict[str, Scores]:
    """Scores without a model: of the mixture as every stem, and of the mixture divided by its number of stems."""
    baselines = {}
    for name in ("mixture", "mixture/n"):
        rows = []
        for track in tracks:
            estimate = track.mixture / (len(track.references) if name == "mixture/n" else 1)
            rows += [(f"{track.data}/{stem}", sdr(track.references[stem].T, estimate.T)) for stem in sources]
        baselines[name] = _means(rows)
    return baselines


def _means(rows: Sequence[tuple[str, float]]) -> Scores:
    return {key: float(np.mean([score for name, score in rows if name == key])) for key, _ in rows}
