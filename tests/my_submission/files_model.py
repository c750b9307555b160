"""Models for tests of files: one with known estimates in blocks of any size, and a preset that is quick to run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from my_submission.ensemble.engine import Progress
from my_submission.signal.audio import Stems
from my_submission.signal.chunking import Reader
from my_submission.weights.store import sha256_of
from tests.random_checkpoints import save_demucs

SHARES = {"bass": 0.5, "drums": 0.25, "other": 2.0, "vocals": -1.75}
"""They add up to 1, and `other` goes beyond the mixture's peak."""


class KnownShares:
    """Each estimate is its share of the mixture: a `StreamingModel`."""

    sharing_stems = len(SHARES)
    precision = "float32"

    def __init__(self, block_samples: int = 30_000, preset: str = "known") -> None:
        self._block_samples = block_samples
        self._preset = preset
        self.calls = 0

    @property
    def instruments(self) -> list[str]:
        return list(SHARES)

    def stream(
        self, read: Reader, samples: int, progress: Progress | None = None
    ) -> Iterator[tuple[int, Stems]]:
        self.calls += 1
        for start in range(0, samples, self._block_samples):
            length = min(self._block_samples, samples - start)
            mixture = read(start, length)
            yield start, {stem: share * mixture for stem, share in SHARES.items()}
            if progress is not None:
                progress(start + length, samples)

    def measure(self) -> None:
        pass

    def work(self, samples: int) -> float:
        return samples

    def provenance(self) -> dict[str, Any]:
        return {
            "preset": self._preset,
            "weights": [],
            "precision": self.precision,
            "precision_asked": "auto",
            "device": "cpu",
            "economies": [],
        }


def write_tiny_preset(folder: Path) -> Path:
    """A preset file of one small random HTDemucs, whose estimates add up to the mixture."""
    weights = save_demucs("htdemucs", folder / "tiny.th", small=True, seed=1)
    row = {
        "architecture": "htdemucs",
        "sources": ["drums", "bass", "other", "vocals"],
        "path": weights.name,
        "sha256": sha256_of(weights),
    }
    (folder / "manifest.yaml").write_text(yaml.safe_dump({"checkpoints": {"tiny": row}}))
    step = {
        "name": "all",
        "input": "mixture",
        "stems": list(SHARES),
        "consistency": True,
        "members": [{"model": "tiny"}],
    }
    preset = folder / "tiny.yaml"
    preset.write_text(yaml.safe_dump({"track": "music", "manifest": "manifest.yaml", "steps": [step]}))
    return preset
