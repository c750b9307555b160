"""Libraries of a user's recordings, and random excerpts of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluator.datasets import mixing, recordings
from evaluator.datasets.mixing import Audio
from evaluator.datasets.recordings import Recording, RecordingError
from evaluator.running.dataset import DataError

Rng = np.random.Generator

FEWEST_SECONDS = 0.1  # shorter recordings are left out
ATTEMPTS = 50


@dataclass(frozen=True)
class Clip:
    """A stretch of one recording, or of its stems: {stem: audio (2, samples)}."""

    stems: Mapping[str, Audio]
    source: str
    source_start: float

    @property
    def samples(self) -> int:
        return int(next(iter(self.stems.values())).shape[1])


@dataclass(frozen=True)
class Library:
    """Recordings of one kind; each is {stem: file}, of equal length within a tenth of a second.

    `left_out` holds one sentence for everything in the folder that cannot be used.
    """

    root: Path
    items: Sequence[Mapping[str, Recording]]
    left_out: Sequence[str]

    def name(self, item: Mapping[str, Recording]) -> str:
        path = next(iter(item.values())).path
        return (path if len(item) == 1 else path.parent).relative_to(self.root).as_posix()

    def hashed(self) -> "Library":
        """The same for other machines: by whole paths, each recording with the hash of its file."""
        items = [{stem: recording.hashed() for stem, recording in item.items()} for item in self.items]
        return Library(self.root.resolve(), items, ())


def find(root: Path, stem: str, parts: Sequence[str] = ()) -> Library:
    """The recordings below `root`, each a file of the stem `stem`.

    A folder that holds a file for every one of `parts` (as "bass.wav") is one recording in stems.
    Files that are unreadable, shorter than 0.1 s or silent from end to end are left out.
    Raises DataError if nothing can be used.
    """
    if not root.is_dir():
        raise DataError([f"{root}: not a folder; expected one with recordings"])
    items: list[Mapping[str, Recording]] = []
    left_out: list[str] = []
    by_folder: dict[Path, list[Path]] = {}
    for path in recordings.find(root):
        by_folder.setdefault(path.parent, []).append(path)
    for paths in by_folder.values():
        named = {path.stem.lower(): path for path in paths}
        groups = (
            [{part: named[part] for part in parts}]
            if parts and named.keys() >= set(parts)
            else [{stem: path} for path in paths]
        )
        for group in groups:
            try:
                items.append(_usable(group))
            except RecordingError as error:
                left_out.append(str(error))
    if not items:
        problem = (
            f"{root}: no usable recording; expected audio files ({' '.join(sorted(recordings.SUFFIXES))})"
        )
        raise DataError([problem, *left_out])
    return Library(root, items, left_out)


def _usable(group: Mapping[str, Path]) -> Mapping[str, Recording]:
    probed = {part: recordings.probe(path) for part, path in group.items()}
    path, lengths = next(iter(group.values())), [recording.seconds for recording in probed.values()]
    if max(lengths) - min(lengths) > 0.1:
        raise RecordingError(
            f"{path.parent}: stems of {min(lengths):.1f} to {max(lengths):.1f} s, expected equal lengths"
        )
    if min(lengths) < FEWEST_SECONDS:
        raise RecordingError(f"{path}: {min(lengths):.2f} s long, expected at least {FEWEST_SECONDS} s")
    if not any(recording.is_heard for recording in probed.values()):
        raise RecordingError(f"{path}: silent (nothing above {mixing.SILENCE_DB:.0f} dBFS)")
    return probed


def excerpt(rng: Rng, source: Library, longest: float) -> Clip:
    """A random stretch of at most `longest` seconds of a random recording in which every stem is heard.

    After fifty attempts, one in which any stem is heard is enough.
    Raises RecordingError if there was none of these either, or if a file cannot be decoded.
    """
    second_best: Clip | None = None
    for _ in range(ATTEMPTS):
        item = source.items[int(rng.integers(len(source.items)))]
        length = min(recording.seconds for recording in item.values())
        start = float(rng.uniform(0.0, max(0.0, length - longest)))
        read = {stem: recordings.read(recording, start, longest) for stem, recording in item.items()}
        samples = min(audio.shape[1] for audio in read.values())
        stems = {stem: audio[:, :samples] for stem, audio in read.items()}
        heard = [not mixing.is_silent(audio) for audio in stems.values()]
        if all(heard):
            return Clip(stems, source.name(item), start)
        if any(heard) and second_best is None:
            second_best = Clip(stems, source.name(item), start)
    if second_best is None:
        raise RecordingError(f"{source.root}: {ATTEMPTS} random excerpts of {longest:.1f} s were all silent")
    return second_best
