"""Networks of known outputs in the place of the checkpoints of a preset."""

from collections import Counter
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from my_submission.ensemble.engine import Ensemble
from my_submission.ensemble.preset_reader import load_preset
from my_submission.models import ChunkModel
from my_submission.runtime.pool import ModelPool
from my_submission.signal.chunking import Geometry


def random_signal(samples: int) -> Tensor:
    """Stereo noise, (2, samples)."""
    return 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(7))


class Gains:
    """A 'network' that gives a fixed fraction of its input for each source, plus a constant bias."""

    geometry = Geometry(1_000)
    bytes_per_sample = 1

    def __init__(self, gains: dict[str, float], bias: float = 0.0) -> None:
        self.sources = tuple(gains)
        self.gains = torch.tensor(list(gains.values()))[:, None, None]
        self.bias = bias
        self.inputs: list[Tensor] = []

    def __call__(self, chunks: Tensor) -> Tensor:
        self.inputs.extend(chunks)
        return chunks[:, None] * self.gains + self.bias


class Pool:
    """Stands for a ModelPool; counts which checkpoint is asked for."""

    def __init__(self, models: dict[str, ChunkModel]) -> None:
        self.models = models
        self.calls: Counter[str] = Counter()

    def get(self, name: str) -> ChunkModel:
        self.calls[name] += 1
        return self.models[name]


def ensemble(preset: str | Path, models: dict[str, ChunkModel], seed: int = 0) -> Ensemble:
    return Ensemble(load_preset(preset), cast(ModelPool, Pool(models)), seed)


SOURCES = ("drums", "bass", "other", "vocals")


def experts(**gains: dict[str, float]) -> dict[str, ChunkModel]:
    """The models of mdx-c, each with these gains of its sources."""
    return {
        "Kim_Vocal_1": Gains({"vocals": 0.5}),
        "Kim_Inst": Gains({"instrumental": 0.7}),
        "htdemucs_ft_vocals": Gains(dict.fromkeys(SOURCES, 0.2)),
        **{f"htdemucs_ft_{stem}": Gains(dict.fromkeys(SOURCES, 0.3)) for stem in SOURCES[:3]},
        "htdemucs": Gains(dict.fromkeys(SOURCES, 0.1)),
        "htdemucs_6s": Gains({**dict.fromkeys(SOURCES, 0.1), "guitar": 0.05, "piano": 0.02}),
        "hdemucs_mmi": Gains(dict.fromkeys(SOURCES, 0.4)),
        **{name: Gains(sources) for name, sources in gains.items()},
    }
