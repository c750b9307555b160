"""A submission is a tag that is pushed: it reaches the server whole, or everything is left as it was."""

from typing import TextIO

from evaluator.submitting.git import GitError, Repository
from evaluator.submitting.preflight_push import Target


def publish(
    repository: Repository, target: Target, commit: str, branch: str, tag: str, output: TextIO
) -> None:
    """Tag the commit, push the files of git-lfs, then branch and tag in one step that succeeds or fails whole.

    What git says goes to `output` as it comes. GitError if the server refuses; then, and after an interruption,
    the tag is removed here again.
    """
    remote = target.remote.name
    repository.run("tag", "--annotate", "--message", f"Submission {tag}", tag, commit)
    try:
        if repository.has_lfs():
            repository.show("lfs", "push", remote, commit, output=output)
        refs = (f"{commit}:refs/heads/{branch}", f"refs/tags/{tag}")
        options = ("--atomic", "--no-follow-tags", *(["--progress"] if output.isatty() else []))
        repository.show("push", *options, remote, *refs, output=output)
    except BaseException:
        if _arrived(repository, target, commit, tag):
            return  # the connection broke, or the user did not wait, after the server had taken it
        repository.run("tag", "--delete", tag)
        raise


def _arrived(repository: Repository, target: Target, commit: str, tag: str) -> bool:
    try:
        refs = repository.remote_refs(target.remote)
    except GitError:
        return False
    return refs.get(f"refs/tags/{tag}") == commit
