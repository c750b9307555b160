"""What a careful person looks at before spending a submission: checks of the commit that would be pushed.

Everything is read from the commit, laid out in a folder of its own as the server would see it, never from the
working tree. Checks come one by one, in an order in which each builds on those before.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from evaluator import import_closure
from evaluator.challenge import CHALLENGES, Challenge
from evaluator.configured import Configured, Weights
from evaluator.git import SUBMISSION_PREFIX, Blob, GitError, Remote, Repository

State = Literal["ok", "warning", "failed", "skipped"]

LFS_BYTES = 5_000_000  # larger files go through git-lfs
PACKAGE = "my_submission"
SERVER_FILES = (
    "aicrowd.json",
    "requirements.txt",
    f"{PACKAGE}/aicrowd_wrapper.py",
    f"{PACKAGE}/user_config.py",
)
MANIFEST_KEYS: Mapping[str, type] = {
    "challenge_id": str,
    "authors": list,
    "description": str,
    "external_dataset_used": bool,
    "gpu": bool,
}
MUSIC_KEYS: Mapping[str, type] = {"labelnoise": bool, "bleeding": bool}
PLACEHOLDER_AUTHORS = ("aicrowd-bot",)  # as the starter kit has it
UNPUBLISHED_IDS = ("cinematic",)  # no public source has this challenge's id; ours is its page's name
SHOWN = 5


@dataclass(frozen=True)
class Check:
    """One line of the checklist; `advice` says what to do where the state is not ok."""

    name: str
    state: State
    found: str
    advice: str = ""

    @property
    def passed(self) -> bool:
        """Whether this check lets a submission go ahead."""
        return self.state != "failed"


@dataclass(frozen=True)
class Target:
    """Where a submission goes: the remote and its branches and tags."""

    remote: Remote
    refs: Mapping[str, str]


def shorten(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def size_text(size: int) -> str:
    """A size as people read it, in MB of 10⁶ bytes."""
    return f"{size / 1e6:.1f} MB"


# What is configured


def check_track(configured: Configured, asked: str | None) -> Check:
    """Whether the configured preset is for the track that is asked for."""
    if asked is None or asked == configured.track:
        return Check("preset", "ok", f"{configured.preset} for the {configured.track} track")
    return Check(
        "preset",
        "failed",
        f"{configured.preset} is for the {configured.track} track, not for {asked}",
        f"set PRESET in {PACKAGE}/user_config.py to a {asked} preset and challenge_id in aicrowd.json, and commit"
        " both (a branch for each track keeps them apart)",
    )


def read_manifest(root: Path) -> Any:
    """What aicrowd.json in `root` holds; its JSON error where it cannot be read."""
    try:
        return json.loads((root / "aicrowd.json").read_text(encoding="utf-8"))
    except ValueError as error:
        return error


def check_manifest(document: Any, challenge: Challenge) -> Iterator[Check]:
    """aicrowd.json: complete, for the right challenge, authors filled in, external data admitted."""
    if isinstance(document, ValueError):
        yield Check("aicrowd.json", "failed", f"not valid JSON: {document}", "correct it and commit")
        return
    keys = {**MANIFEST_KEYS, **(MUSIC_KEYS if challenge.name == "music" else {})}
    problems = _key_problems(document, keys)
    if problems:
        yield Check("aicrowd.json", "failed", shorten(problems), "fill in what is missing and commit")
        return
    yield Check("aicrowd.json", "ok", f"complete; gpu: {str(document['gpu']).lower()}")
    yield check_challenge_id(document["challenge_id"], challenge)
    yield check_authors(document["authors"])
    if document["external_dataset_used"]:
        yield Check("external data", "ok", "external_dataset_used is true")
    else:
        yield Check(
            "external data",
            "failed",
            "external_dataset_used is false, but the models were trained on other data, too",
            "set it to true in aicrowd.json and commit",
        )


def _key_problems(document: Any, keys: Mapping[str, type]) -> list[str]:
    if not isinstance(document, dict):
        return ["expected an object"]
    problems = [f"{key} is missing" for key in keys if key not in document]
    return problems + [
        f"{key}: found {document[key]!r}, expected {kind.__name__}"
        for key, kind in keys.items()
        if key in document and not isinstance(document[key], kind)
    ]


def check_challenge_id(found: str, challenge: Challenge) -> Check:
    """Whether aicrowd.json names the challenge of the configured preset's track."""
    if found == challenge.challenge_id:
        if challenge.name not in UNPUBLISHED_IDS:
            return Check("challenge", "ok", found)
        return Check(
            "challenge",
            "warning",
            f"{found}: taken from the challenge's page, the organisers published no id",
            "compare it with the aicrowd.json of their starter kit",
        )
    others = [other.challenge_id for other in CHALLENGES.values() if other is not challenge]
    if challenge.name in UNPUBLISHED_IDS and found not in others:
        return Check(
            "challenge",
            "warning",
            f"{found}, expected {challenge.challenge_id} by the challenge's page",
            "keep yours if it is the one in the organisers' starter kit",
        )
    return Check(
        "challenge",
        "failed",
        f"challenge_id is {found}, expected {challenge.challenge_id} for a {challenge.name} preset",
        "change it in aicrowd.json and commit",
    )


def check_authors(authors: Sequence[Any]) -> Check:
    """Whether somebody has put their name in."""
    named = [author for author in authors if isinstance(author, str) and author.strip()]
    if named and len(named) == len(authors) and not set(named) & set(PLACEHOLDER_AUTHORS):
        return Check("authors", "ok", ", ".join(named))
    return Check(
        "authors", "failed", f"{authors}", "write the AIcrowd names of the team into aicrowd.json and commit"
    )


# What the server would miss


def check_files(files: Sequence[Blob]) -> Check:
    """Whether the commit holds what the server starts from."""
    paths = {blob.path for blob in files}
    absent = [name for name in SERVER_FILES if name not in paths]
    if not absent:
        return Check("files", "ok", f"{len(files)} in the commit")
    return Check("files", "failed", f"not in the commit: {', '.join(absent)}", f"git add {' '.join(absent)}")


def check_imports(root: Path) -> Iterator[Check]:
    """Whether every module that the submission imports is in `root` or comes with its requirements.txt."""
    found = import_closure.closure(root, PACKAGE)
    problems = [*found.unreadable, *(f"{item.module} ({item.place})" for item in found.missing)]
    if problems:
        advice = "add the files to git (look into .gitignore, too) or correct the imports, and commit"
        yield Check("modules", "failed", f"not in the commit: {shorten(problems)}", advice)
    else:
        yield Check("modules", "ok", f"all that {PACKAGE} imports of this repository is in the commit")
    path = root / "requirements.txt"
    if not path.is_file():
        return
    requirements, unread = import_closure.read_requirements(path.read_text())
    uncovered = import_closure.not_covered(found.third_party, requirements)
    if uncovered:
        named = [f"{item.module} ({item.place})" for item in uncovered]
        lines = sorted({import_closure.distribution_of(item.top) for item in uncovered})
        advice = f"add {', '.join(lines)} to requirements.txt and commit"
        yield Check("packages", "failed", f"not in requirements.txt: {shorten(named)}", advice)
    elif unread:
        yield Check(
            "packages", "warning", f"lines not understood: {shorten(unread)}", "see that they are right"
        )
    else:
        yield Check("packages", "ok", "requirements.txt brings all that is imported")


def check_weights(weights: Sequence[Weights], root: Path, preset: str) -> Check:
    """Whether the commit, laid out in `root`, has every weights file of the preset, and the right ones."""
    name = "weights"
    pack = f"python -m {PACKAGE} weights pack . --preset {preset}"
    missing = [item for item in weights if item.state == "missing"]
    outside = [
        item for item in weights if item.path and not item.path.resolve().is_relative_to(root.resolve())
    ]
    if missing or outside:
        names = [item.file for item in (*missing, *outside)]
        advice = f"{pack}; then git add weights and commit (first `weights fetch {preset}` where they are not here)"
        return Check(name, "failed", f"not in the commit: {shorten(names)}", advice)
    wrong = [item for item in weights if item.state == "wrong"]
    if wrong:
        advice = f"if these are pointers of git-lfs: git lfs fetch; else {pack}, git add weights, and commit"
        return Check(name, "failed", shorten([item.problem or item.file for item in wrong]), advice)
    total = size_text(sum(item.bytes or 0 for item in weights))
    unverified = [item.file for item in weights if not item.verified]
    if unverified:
        found = f"{len(weights)} files, {total}; no hash is known of {shorten(unverified)}"
        return Check(name, "warning", found, "see that they are the ones you mean")
    return Check(name, "ok", f"{len(weights)} file{'s'[: len(weights) != 1]}, {total}, verified")


def check_lfs(repository: Repository, files: Sequence[Blob]) -> Check:
    """Whether git-lfs works here and carries every large file of the commit."""
    name = "git-lfs"
    if large := _too_large(files):
        paths = sorted({str(PurePosixPath(blob.path)) for blob in large})
        advice = (
            f"git lfs track {' '.join(paths)}; git add --renormalize .gitattributes {' '.join(paths)}; commit"
        )
        return Check(name, "failed", f"larger than 5 MB and not in git-lfs: {_with_sizes(large)}", advice)
    pointers = repository.lfs_bytes(files)
    if not pointers:
        return Check(name, "ok", "no file needs it")
    if not repository.has_lfs():
        found = f"not installed, but {len(pointers)} files need it"
        return Check(name, "failed", found, "install git-lfs (apt install git-lfs), then: git lfs install")
    if not repository.has_lfs_filter():
        return Check(name, "failed", "installed, but not in use in this repository", "git lfs install")
    return Check(name, "ok", f"{len(pointers)} files, {size_text(sum(pointers.values()))}")


def _too_large(blobs: Sequence[Blob]) -> list[Blob]:
    return [blob for blob in blobs if blob.path and blob.bytes > LFS_BYTES]


def _with_sizes(blobs: Sequence[Blob]) -> str:
    return shorten([f"{blob.path} ({size_text(blob.bytes)})" for blob in blobs])


# What would be pushed where


def check_clean(repository: Repository) -> Check:
    """Whether the working tree is what is committed."""
    changes = repository.changes()
    if not changes:
        return Check("commit", "ok", f"{repository.head()[:12]}, nothing uncommitted")
    return Check(
        "commit",
        "failed",
        f"not committed: {shorten([change.strip() for change in changes])}",
        "commit these, or put them into .gitignore or out of the way; only what is committed is submitted",
    )


def check_remote(repository: Repository, name: str, track: str) -> tuple[Check, Target | None]:
    """Whether the remote is there and answers; its branches and tags."""
    remote = repository.remote(name)
    if remote is None:
        advice = (
            f"git remote add {name} ADDRESS, with that of your {track} repository on the organisers' server"
        )
        return Check("remote", "failed", f"there is no remote {name}", advice), None
    try:
        refs = repository.remote_refs(remote)
    except GitError as error:
        advice = "check the address and your rights (ssh key or token) with: git ls-remote " + name
        return Check("remote", "failed", f"{remote.shown}: {error}", advice), None
    return Check("remote", "ok", f"{name}: {remote.shown}"), Target(remote, refs)


def check_branch(repository: Repository, target: Target) -> Check:
    """Whether the branch can be pushed without overwriting anything."""
    branch = repository.branch()
    if branch is None:
        return Check("branch", "failed", "no branch is checked out", "git switch -c NAME")
    there = target.refs.get(f"refs/heads/{branch}")
    if there is None:
        return Check("branch", "ok", f"{branch}, new on {target.remote.name}")
    if repository.has_commit(there) and repository.is_ancestor(there, "HEAD"):
        return Check("branch", "ok", f"{branch}, continues what is on {target.remote.name}")
    name = target.remote.name
    return Check(
        "branch",
        "failed",
        f"{branch} on {name} has commits ({there[:12]}) that are not in yours",
        f"git fetch {name} && git merge {name}/{branch}, or work on a branch of another name",
    )


def check_tag(repository: Repository, target: Target | None, name: str | None) -> Check:
    """Whether the tag is valid and nobody has used it yet."""
    if name is None:
        return Check("tag", "skipped", "no name given", "submit NAME checks it")
    tag = f"refs/tags/{SUBMISSION_PREFIX}{name}"
    if not repository.succeeds("check-ref-format", tag):
        return Check("tag", "failed", f"{tag} is no valid name for a tag", "use letters, digits, - and .")
    if tag in repository.tags():
        return Check("tag", "failed", f"{tag} is here already", "choose another name")
    if target is not None and tag in target.refs:
        return Check("tag", "failed", f"{tag} is on {target.remote.name} already", "choose another name")
    return Check("tag", "ok", f"{tag.removeprefix('refs/tags/')} is new")


def check_not_submitted(repository: Repository, target: Target) -> Check:
    """Whether the commit has no submission tag on the server; a second one would trigger nothing."""
    head = repository.head()
    tags = [
        name.removeprefix("refs/tags/")
        for name, commit in target.refs.items()
        if commit == head and name.startswith(f"refs/tags/{SUBMISSION_PREFIX}")
    ]
    if not tags:
        return Check("new commit", "ok", f"{head[:12]} was not submitted yet")
    return Check(
        "new commit",
        "failed",
        f"{head[:12]} was submitted as {shorten(tags)}; a second tag on it triggers nothing",
        "commit a change first (git commit --allow-empty evaluates the same files again)",
    )


def known_commits(repository: Repository, target: Target | None) -> tuple[str, ...]:
    """The commits on the remote that we have, too."""
    there = set() if target is None else set(target.refs.values())
    return tuple(sorted(commit for commit in there if repository.has_commit(commit)))


def check_push(repository: Repository, target: Target | None) -> Check:
    """How much a push sends, and whether all of it is fit for the server, the earlier commits included."""
    known = known_commits(repository, target)
    sent = repository.new_objects("HEAD", known)
    if large := _too_large(sent):
        paths = ",".join(sorted({blob.path for blob in large}))
        advice = f"git lfs migrate import --include={paths} (it rewrites the commits that are not pushed yet)"
        found = f"its commits hold files larger than 5 MB outside git-lfs: {_with_sizes(large)}"
        return Check("push", "failed", found, advice)
    commits = int(repository.text("rev-list", "--count", "HEAD", *(f"^{commit}" for commit in known)))
    git_size = size_text(repository.packed_bytes("HEAD", known))
    lfs_size = size_text(sum(repository.lfs_bytes(sent).values()))
    return Check("push", "ok", f"{commits} new commits, {git_size} in git and {lfs_size} in git-lfs")
