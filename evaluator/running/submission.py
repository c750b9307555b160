"""The folder that is evaluated: is it a submission, of which stems, and in exactly which version?"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from evaluator import aicrowd_manifest, printable
from evaluator.challenge import CHALLENGES, Challenge, StemSet, of_stems
from evaluator.isolation.said import Described
from evaluator.isolation.sandbox import Outcome
from evaluator.running import code_files, git_state
from evaluator.running.code_files import CodeError
from evaluator.runs.records import Identity

log = logging.getLogger(__name__)

USER_CONFIG = Path("my_submission") / "user_config.py"


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
    try:
        return code_files.mentions(path, variable)
    except CodeError as error:
        raise SubmissionError(str(error)) from None


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

    Nothing of the submission is run. preset, time_factor: what is asked of it. Raises SubmissionError for a path or
    preset that no result can name, and for code without end.
    """
    for text in (str(path), preset or ""):
        if (wrong := printable.fault(text)) is not None:
            shown = printable.plain(text)
            raise SubmissionError(
                f"{shown}: has the character {wrong}, which no name may have; give it another name"
            )
    try:
        digest = code_files.hash_of(
            path, None if preset is None or not Path(preset).is_file() else Path(preset)
        )
    except CodeError as error:
        raise SubmissionError(str(error)) from None
    state = git_state.read(path)
    if state.unknown is not None:
        what = (
            "its commit is" if state.commit is None else f"whether it is just commit {state.commit[:12]} is"
        )
        log.warning("%s: %s not known: %s", printable.plain(str(path)), what, printable.plain(state.unknown))
    return Identity(str(path), state.commit, state.dirty, digest, preset, time_factor)
