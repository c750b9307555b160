"""A run's data, and what it says of its weights, on a worker of an engine: the same as where the run began, by hash.

Files may lie in a folder that all machines share, or, by the variable below, elsewhere on each.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from evaluator import printable
from evaluator.challenge import of_name
from evaluator.running import dataset
from evaluator.running.dataset import DataError, Dataset, Track
from sdx.engines.engine import SHORT
from sdx.engines.held import UnfitError

DATA_VARIABLE = "SDX_WORKER_DATA"  # where the data is on this machine, if elsewhere


def load(path: str, only: str | None, challenge: str, skip_bad: bool = False) -> Dataset:
    """The run's tracks on this machine, of the stems of this name; UnfitError where there are none.

    skip_bad: as in `dataset.load`.
    Their contents are checked one by one, when they are needed.
    """
    try:
        return dataset.load(Path(os.environ.get(DATA_VARIABLE) or path), only, of_name(challenge), skip_bad)
    except DataError as error:
        raise UnfitError(f"has no such data: {error.problems[0]} (or set {DATA_VARIABLE})") from None


def track_of(data: Dataset, name: str, sha256: str) -> Track:
    """A track by its name; UnfitError if its files are others than those of the run."""
    track = next((each for each in data.tracks if each.name == name), None)
    if track is None:
        raise UnfitError(f"has no track {name} in {data.path}")
    try:
        found = dataset.track_hash(track)
    except OSError as error:
        raise UnfitError(f"cannot read its data: {error.filename}: {error.strerror}") from None
    if found != sha256:
        raise UnfitError(
            f"has other data: {name} in {data.path} has {found[:SHORT]}, expected {sha256[:SHORT]}"
        )
    return track


def changed(data: Path, track: Track, sha256: str) -> str | None:
    """What to say where a track's files are, where the run began, no longer what they were; None if they are."""
    what = f"the data has changed since the run began: {track.name} in {data}"
    try:
        found = dataset.track_hash(track)
    except OSError as error:
        return f"{what} cannot be read ({error.filename}: {error.strerror})"
    return None if found == sha256 else f"{what} has {found[:SHORT]}, and had {sha256[:SHORT]}"


def other_weights(expected: Mapping[str, str], found: Mapping[str, str]) -> str | None:
    """Why a worker's answers are not taken: its weights, {name: SHA-256}, are others than expected; else None."""
    for name in sorted(expected.keys() | found.keys()):
        ours, theirs = expected.get(name, "none"), found.get(name, "none")
        if ours != theirs:
            return f"has other weights: {printable.plain(name)} has {theirs[:SHORT]}, expected {ours[:SHORT]}"
    return None
