"""The data of a benchmark, read again where its entries are scored; needs nothing of the database."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluator.challenge import of_stems
from evaluator.running import dataset
from evaluator.running.dataset import DataError, Dataset


def load_data(folder: str, stems: Sequence[str], recorded: Sequence[Mapping[str, Any]]) -> Dataset:
    """The data again, as it was when the benchmark was made; DataError if it has changed since."""
    data = dataset.load(Path(folder), wanted=of_stems(stems))
    now = [(track.name, track.frames, track.rate_hz) for track in data.tracks]
    if now != [(track["name"], track["frames"], track["rate_hz"]) for track in recorded]:
        raise DataError([f"{folder}: has other tracks than when the benchmark was made of it"])
    return data
