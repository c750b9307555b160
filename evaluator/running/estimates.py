"""What a submission left on disk: taken out of its reach, then checked before any samples are read."""

import os
import shutil
import stat
from pathlib import Path

import soundfile

from evaluator.challenge import StemSet
from evaluator.running.dataset import Track


class InvalidOutputError(Exception):
    """The submission finished, but what it wrote cannot be scored; the message is the reason."""


def collect(predictions: Path, track: Track, challenge: StemSet, destination: Path) -> None:
    """Move the estimates of `track` out of the submission's `predictions` folder to the folder `destination`.

    Only regular files of one name that lie in the track's own folder are taken; links, pipes and folders are
    refused, so that nothing outside is ever read. Raises InvalidOutputError, naming every file at fault.
    """
    folder = predictions / track.folder
    problems = _entry_problems(folder, track, challenge)
    if not problems:
        shutil.rmtree(destination, ignore_errors=True)
        destination.mkdir(parents=True)
        for stem in challenge.stems:
            source = challenge.estimate_path(folder, stem)
            shutil.move(source, destination / f"{stem}.wav")
    if problems:
        raise InvalidOutputError("; ".join(problems))


def _entry_problems(folder: Path, track: Track, challenge: StemSet) -> list[str]:
    if folder.is_symlink():
        return [f"folder {folder.name} is a link"]
    if not folder.is_dir():
        return [f"no folder {folder.name} was written"]
    expected = {challenge.estimate_path(folder, stem): stem for stem in challenge.stems}
    problems = []
    for path, stem in expected.items():
        reason = _entry_problem(path) or _header_problem(path, track)
        if reason is not None:
            problems.append(f"{stem}: {reason}")
    extra = sorted(
        entry.name for entry in folder.iterdir() if entry not in expected and entry.suffix == ".wav"
    )
    if extra:
        problems.append(f"extra stem: {', '.join(extra)}")
    return problems


def _entry_problem(path: Path) -> str | None:
    """Why this directory entry cannot be an estimate, decided without opening it; None if it can."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return f"stem missing, no file {path.name}"
    if stat.S_ISLNK(status.st_mode):
        return f"{path.name} is a link"
    if not stat.S_ISREG(status.st_mode):
        return f"{path.name} is not a regular file"
    if status.st_nlink > 1:
        return f"{path.name} has another name elsewhere (hard link)"
    return None


def _header_problem(path: Path, track: Track) -> str | None:
    try:
        info = soundfile.info(path)
    except (soundfile.LibsndfileError, OSError) as error:
        return f"unreadable ({error})"
    for what, expected, got in (
        ("sample rate", track.rate_hz, info.samplerate),
        ("channels", track.estimate_channels, info.channels),
        ("length in samples", track.frames, info.frames),
    ):
        if got != expected:
            return f"{what} {got}, expected {expected}"
    return None
