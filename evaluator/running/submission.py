"""The folder that is evaluated: is it a submission, of which stems, and in exactly which version?"""

import hashlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from evaluator import aicrowd_manifest
from evaluator.challenge import CHALLENGES, Challenge, StemSet, of_stems
from evaluator.digests import sha256_of_file
from evaluator.isolation.said import Described
from evaluator.isolation.sandbox import Outcome
from evaluator.runs.records import Identity

USER_CONFIG = Path("my_submission") / "user_config.py"
MOST_CODE_BYTES = 5_000_000  # of one file; what is larger is weights


class SubmissionError(Exception):
    """The folder cannot be evaluated; the message says what to do."""


def check_folder(path: Path) -> Path:
    """The absolute folder of a submission in the starter kit's layout; SubmissionError for anything else."""
    if not (path / USER_CONFIG).is_file():
        raise SubmissionError(
            f"{path / USER_CONFIG}: not found; --submission takes the folder above my_submission/"
        )
    return path.resolve()


def reads(path: Path, variable: str) -> bool:
    """Whether any module of the submission mentions this environment variable."""
    modules = (module for module in _code(path) if module.suffix == ".py")
    return any(variable in module.read_text(errors="replace") for module in modules)


@dataclass(frozen=True)
class Configured:
    """The stems that a submission says it makes, or None; `problem` is why it could not be asked, if so."""

    stems: StemSet | None = None
    problem: str | None = None


class Describer(Protocol):
    """Imports a submission where it runs, and says what it makes, or how that failed."""

    def describe(self) -> Described | Outcome: ...


def configured(runner: Describer) -> Configured:
    """What the submission says it makes, by its class, which is not constructed.

    `track` of the class is a challenge's name, or else `stems` is a list or tuple of any. The organisers' starter kit
    has neither, so it does not say.
    """
    answer = runner.describe()
    if isinstance(answer, Outcome):
        return Configured(problem=answer.reason)
    if answer.track is not None and answer.track in CHALLENGES:
        return Configured(CHALLENGES[answer.track])
    try:
        return Configured(of_stems(answer.stems) if answer.stems is not None else None)
    except ValueError:  # names that cannot be stems
        return Configured()


def challenge_of_manifest(path: Path) -> Challenge | None:
    """The challenge that the submission's aicrowd.json names, or None."""
    identifier = aicrowd_manifest.read(path).get("challenge_id")
    return next((each for each in CHALLENGES.values() if each.challenge_id == identifier), None)


def identify(path: Path, preset: str | None, time_factor: float | None = None) -> Identity:
    """Commit and content of the submission at `path`; the commit is None outside a git repository.

    preset, time_factor: what is asked of it.
    """
    commit = _git(path, "rev-parse", "HEAD")
    status = None if commit is None else _git(path, "status", "--porcelain", "--", ".")
    digest = hashlib.sha256()
    files = list(_code(path))
    if preset is not None and Path(preset).is_file():
        files.append(Path(preset))
    for file in sorted(files):
        name = file.relative_to(path).as_posix() if file.is_relative_to(path) else file.name
        digest.update(f"{name}\n{sha256_of_file(file)}\n".encode())
    dirty = None if status is None else bool(status)
    return Identity(str(path), commit, dirty, digest.hexdigest(), preset, time_factor)


def _code(path: Path) -> Iterator[Path]:
    """Files of a submission's package: none that is a pipe, has no end, or lies elsewhere."""
    root = path.resolve()
    for file in (path / "my_submission").rglob("*"):
        if "__pycache__" in file.parts or not file.is_file() or file.stat().st_size >= MOST_CODE_BYTES:
            continue
        if file.resolve().is_relative_to(root):
            yield file


def _git(path: Path, *arguments: str) -> str | None:
    """Output of a git command in `path`, or None if git or the repository is not there."""
    try:
        result = subprocess.run(
            ["git", "-C", str(path), *arguments], capture_output=True, text=True, check=False, timeout=60
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
