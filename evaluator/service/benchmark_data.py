"""The data of a benchmark, read again where its entries are scored; needs nothing of the database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluator.challenge import of_stems
from evaluator.running import dataset, parts
from evaluator.running.dataset import DataError, Dataset

Listing = frozenset[tuple[Path, int, int]]
"""Files with their sizes in bytes and when they were changed, in ns."""


def load_data(folder: str, stems: Sequence[str], recorded: Sequence[Mapping[str, Any]]) -> Dataset:
    """The data again, as it was when the benchmark was made; DataError if it has changed since."""
    data = dataset.load(Path(folder), wanted=of_stems(stems))
    now = [(track.name, track.frames, track.rate_hz) for track in data.tracks]
    if now != [(track["name"], track["frames"], track["rate_hz"]) for track in recorded]:
        raise DataError([f"{folder}: has other tracks than when the benchmark was made of it"])
    return data


@dataclass
class Unchanged:
    """Which data was seen to hold what it did when its benchmark was made: scores by other data mean something else.

    All of it is hashed, a second for a gigabyte, and again only where a file has another size or another date.
    """

    _seen: dict[str, Listing] = field(default_factory=dict)

    def require(self, data: Dataset, sha256: str) -> None:
        """DataError if the contents of its files have changed."""
        try:
            files = _listing(data)
            if self._seen.get(sha256) == files:
                return
            found = dataset.quick_hash(data.tracks)
        except OSError as error:
            raise DataError([f"{error.filename}: cannot be read ({error.strerror})"]) from None
        if found != sha256:
            raise DataError(
                [f"{data.path}: has other contents than when the benchmark was made of it; put those back"]
            )
        self._seen[sha256] = files


def _listing(data: Dataset) -> Listing:
    return frozenset(
        (path, status.st_size, status.st_mtime_ns)
        for track in data.tracks
        for part in (*track.mixtures, *track.references.values())
        for path in parts.files(part)
        for status in [path.stat()]
    )
