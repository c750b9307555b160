"""The checks of preflight.py in order, on the commit laid out in its own folder."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evaluator.challenge import CHALLENGES
from evaluator.submitting import configured, preflight, preflight_files, preflight_push
from evaluator.submitting.configured import ConfigurationError, Configured
from evaluator.submitting.git import GitError, Repository
from evaluator.submitting.preflight import Check
from evaluator.submitting.preflight_push import Target

REMOTES = {"music": "aicrowd", "cinematic": "aicrowd-cinematic"}


@dataclass(frozen=True)
class Laid:
    """The commit as the server would see it, and what it says it would submit."""

    folder: Path
    empty_cache: Path
    configured: Configured
    wants_gpu: bool


@dataclass(frozen=True)
class Intent:
    """What is to be submitted, and how it is tried before; with `remote` None, that of the challenge is used."""

    repository: Repository
    name: str | None
    challenge: str | None
    remote: str | None
    dry_run: Callable[[Laid], Check]


@dataclass(frozen=True)
class Preflight:
    """The checklist's outcome, with what a push needs to know."""

    checks: tuple[Check, ...]
    commit: str
    branch: str | None
    target: Target | None

    @property
    def passed(self) -> bool:
        """Whether the submission can go ahead."""
        return all(check.passed for check in self.checks)


def check(intent: Intent, report: Callable[[Check], None]) -> Preflight:
    """Go through the checklist; `report` gets each check when it is done.

    GitError if the folder is no repository with a commit. Leaves nothing behind.
    """
    run = _Checklist(intent, report)
    with tempfile.TemporaryDirectory(prefix="sdx-submit-") as scratch:
        laid = run.look_at_commit(Path(scratch))
        challenge = intent.challenge or (None if laid is None else laid.configured.challenge)
        target = run.look_at_remote(challenge)
        if laid is not None and all(item.passed for item in run.noted):
            run.note(intent.dry_run(laid))
        else:
            run.note(Check("dry run", "skipped", "runs once all checks above pass"))
    return Preflight(tuple(run.noted), run.commit, intent.repository.branch(), target)


class _Checklist:
    """The checks of one preflight as they are made."""

    def __init__(self, intent: Intent, report: Callable[[Check], None]) -> None:
        self._intent = intent
        self._repository = intent.repository
        self._report = report
        self.commit = intent.repository.head()
        self.noted: list[Check] = []

    def note(self, check: Check) -> bool:
        """Keep and report a check; whether it passed."""
        self.noted.append(check)
        self._report(check)
        return check.passed

    def _try(self, name: str, make: Callable[[], Check]) -> bool:
        """Note the check that `make` makes, or its failure because git failed."""
        try:
            return self.note(make())
        except GitError as error:
            return self.note(Check(name, "failed", str(error), "see what git says"))

    def look_at_commit(self, scratch: Path) -> Laid | None:
        """Checks of the commit; returns it as laid out below `scratch`, or None if that was not possible."""
        files = self._repository.files(self.commit)
        self._try("commit", lambda: preflight_push.check_clean(self._repository))
        complete = self.note(preflight_files.check_files(files))
        if (
            not self._try("git-lfs", lambda: preflight_files.check_lfs(self._repository, files))
            or not complete
        ):
            self.note(Check("preset", "skipped", "the commit cannot yet be laid out as on a server"))
            return None
        folder, empty_cache = scratch / "commit", scratch / "cache"
        for made in (folder, empty_cache):
            made.mkdir()
        try:
            self._repository.check_out(self.commit, folder)
            asked = configured.ask(folder, empty_cache)
        except (GitError, ConfigurationError) as error:
            advice = "correct it and commit; see also: python -m my_submission weights list --submitted"
            self.note(Check("preset", "failed", str(error), advice))
            return None
        return self._look_inside(folder, empty_cache, asked)

    def _look_inside(self, folder: Path, empty_cache: Path, asked: Configured) -> Laid:
        challenge = CHALLENGES[asked.challenge]
        self.note(preflight.check_challenge(asked, self._intent.challenge))
        set_here = os.environ.get("SDX_PRESET", asked.preset)
        if set_here != asked.preset:
            found = f"SDX_PRESET={set_here} is set here, but not on the server: {asked.preset} is submitted"
            self.note(
                Check("environment", "warning", found, "write the preset into my_submission/user_config.py")
            )
        manifest = preflight.read_manifest(folder)
        for item in preflight.check_manifest(manifest, challenge):
            self.note(item)
        for item in preflight_files.check_imports(folder, asked.weights):
            self.note(item)
        self.note(preflight_files.check_weights(asked.weights, folder, asked.preset))
        return Laid(folder, empty_cache, asked, isinstance(manifest, dict) and manifest.get("gpu") is True)

    def look_at_remote(self, challenge: str | None) -> Target | None:
        """Checks of what is pushed where; None if that cannot be known."""
        repository, name = self._repository, self._intent.name
        remote = self._intent.remote or REMOTES.get(challenge or "")
        target = None
        if remote is None:
            self.note(Check("remote", "skipped", "the challenge is not known yet"))
        else:
            check, target = preflight_push.check_remote(repository, remote, challenge or "")
            self.note(check)
        if target is not None:
            there = target
            self._try("branch", lambda: preflight_push.check_branch(repository, there))
            self._try("new commit", lambda: preflight_push.check_not_submitted(repository, there))
        self._try("tag", lambda: preflight_push.check_tag(repository, target, name))
        self._try("push", lambda: preflight_push.check_push(repository, target))
        return target
