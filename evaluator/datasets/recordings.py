"""A user's recordings: found below a folder, measured, and read as stereo at 44.1 kHz, whatever their format."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soxr

from evaluator.datasets import mixing
from evaluator.datasets.mixing import RATE_HZ, Audio
from evaluator.running.parts import content_sha256
from sdx.decoding import Reading, Sound, Undecodable
from sdx.decoding import probe as probe_sound
from sdx.engines import recordings as recordings_there
from sdx.engines.held import UnfitError

log = logging.getLogger(__name__)

# What is taken for a recording; everything else in the folder is left alone.
SUFFIXES = frozenset(
    f".{name}"
    for names in (
        ("wav", "w64", "rf64", "flac", "ogg", "opus", "mp3", "aif", "aiff", "aifc", "au", "caf"),
        ("m4a", "aac", "mp4", "mkv", "mka", "wma", "ac3", "webm", "wv"),
    )
    for name in names
)
SURROUND_CHANNELS = 6  # 5.1


class RecordingError(Exception):
    """A file that cannot be used; the message begins with its path."""


@dataclass(frozen=True)
class Recording:
    """A file, its duration in seconds as it was decoded, and whether anything in it is above the silence level.

    sha256: what the file must have where it is read; "" where it is read by those who have probed it.
    """

    sound: Sound
    seconds: float
    is_heard: bool
    sha256: str = ""

    @property
    def path(self) -> Path:
        return self.sound.path

    def hashed(self) -> "Recording":
        """The same for another machine, which must have the same file; OSError if it cannot be read."""
        sound = replace(self.sound, path=self.sound.path.resolve())
        return replace(self, sound=sound, sha256=content_sha256(sound.path))


def find(root: Path) -> list[Path]:
    """Audio files below `root` in name order; hidden files and folders do not count."""
    return sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )


def probe(path: Path) -> Recording:
    """Decode a file from end to end, and note what there is; what is missing or damaged is logged.

    Raises RecordingError if it cannot be decoded or holds NaN or infinity.
    """
    try:
        sound = probe_sound(path)
        if sound.channels > 2 and sound.channels != SURROUND_CHANNELS:
            raise RecordingError(
                f"{path}: {sound.channels} channels, expected 1, 2 or {SURROUND_CHANNELS} (5.1)"
            )
        reading, samples, is_heard = _reading(sound), 0, False
        for block in reading.blocks():
            _check_finite(path, block)
            samples += len(block)
            # Levels are of tenths of a second at 44.1 kHz; at another rate these are a little longer or shorter.
            is_heard = is_heard or not mixing.is_silent(np.ascontiguousarray(block.T))
    except (Undecodable, OSError) as error:
        raise RecordingError(_sentence(path, error)) from error
    for warning in reading.warnings:
        log.warning("%s: %s; what is there is used", path, warning)
    return Recording(sound, samples / sound.sample_rate, is_heard)


def read(recording: Recording, start_seconds: float, seconds: float) -> Audio:
    """An excerpt as (2, samples) at 44.1 kHz, shorter where the file ends: mono on both sides, 5.1 mixed down.

    Raises RecordingError for a file that cannot be decoded or holds NaN or infinity, UnfitError for another one
    than was probed.
    """
    if (reason := _unlike(recording)) is not None:
        raise UnfitError(reason)
    sound, rate = recording.sound, recording.sound.sample_rate
    count = int(np.ceil(seconds * rate)) + 1
    try:
        samples = _first(_reading(sound).blocks(round(start_seconds * rate)), count)
    except (Undecodable, OSError) as error:
        raise RecordingError(_sentence(recording.path, error)) from error
    _check_finite(recording.path, samples)
    if sound.channels == 1 or not len(samples):
        samples = np.broadcast_to(samples[:, :1], (len(samples), 2))
    if rate != RATE_HZ and len(samples):
        samples = soxr.resample(samples, rate, RATE_HZ)
    return np.ascontiguousarray(samples.T, dtype=np.float32)[:, : round(seconds * RATE_HZ)]


def changed(read: Iterable[Recording]) -> str | None:
    """What is to be said where one of these is no longer what its hash was made of; None where all are."""
    for recording in read:
        if _unlike(recording) is not None:
            return recordings_there.changed(recording.path)
    return None


def _unlike(recording: Recording) -> str | None:
    """Why a file is not the one that was probed elsewhere; None if it is."""
    if not recording.sha256:
        return None
    return recordings_there.unlike(recording.path, recording.sha256, content_sha256)


def _first(blocks: Iterator[Audio], count: int) -> Audio:
    """At most `count` samples of the blocks, (samples, channels)."""
    taken, length = [np.zeros((0, 1), np.float32)], 0
    for block in blocks:
        taken.append(block[: count - length])
        length += len(taken[-1])
        if length == count:
            break
    return np.concatenate(taken[1:]) if length else taken[0]


def _reading(sound: Sound) -> Reading:
    return Reading(sound, fold=sound.channels > 2)


def _check_finite(path: Path, samples: Audio) -> None:
    if not np.isfinite(samples).all():
        raise RecordingError(f"{path}: holds NaN or infinite samples")


def _sentence(path: Path, error: Exception) -> str:
    """Undecodable says it all; the system's own errors lack the path."""
    return (
        str(error)
        if isinstance(error, Undecodable)
        else f"{path}: {getattr(error, 'strerror', None) or error}"
    )
