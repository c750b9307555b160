"""Checks of a push: what is committed, where it goes, under which name, and how much it is."""

from collections.abc import Mapping
from dataclasses import dataclass

from evaluator.submitting.git import SUBMISSION_PREFIX, GitError, Remote, Repository
from evaluator.submitting.preflight import Check, shorten, size_text
from evaluator.submitting.preflight_files import too_large, with_sizes


@dataclass(frozen=True)
class Target:
    """Where a submission goes: the remote and its branches and tags."""

    remote: Remote
    refs: Mapping[str, str]


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


def check_remote(repository: Repository, name: str, challenge: str) -> tuple[Check, Target | None]:
    """Whether the remote is there and answers; its branches and tags."""
    remote = repository.remote(name)
    if remote is None:
        advice = f"git remote add {name} ADDRESS, with that of your {challenge} repository on the organisers' server"
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
    if large := too_large(sent):
        paths = ",".join(sorted({blob.path for blob in large}))
        advice = f"git lfs migrate import --include={paths} (it rewrites the commits that are not pushed yet)"
        found = f"its commits hold files larger than 5 MB outside git-lfs: {with_sizes(large)}"
        return Check("push", "failed", found, advice)
    commits = int(repository.text("rev-list", "--count", "HEAD", *(f"^{commit}" for commit in known)))
    git_size = size_text(repository.packed_bytes("HEAD", known))
    lfs_size = size_text(sum(repository.lfs_bytes(sent).values()))
    return Check("push", "ok", f"{commits} new commits, {git_size} in git and {lfs_size} in git-lfs")
