"""A submission is a tag that is pushed: it reaches the server whole, or everything is left as it was."""

from evaluator.git import GitError, Repository
from evaluator.preflight import Target


def publish(repository: Repository, target: Target, commit: str, branch: str, tag: str) -> None:
    """Tag the commit, push the files of git-lfs, then branch and tag in one step that succeeds or fails whole.

    GitError where the server did not take it; then the tag is gone again here, too, as after an interruption.
    """
    remote = target.remote.name
    repository.run("tag", "--annotate", "--message", f"Submission {tag}", tag, commit)
    try:
        if repository.has_lfs():
            repository.run("lfs", "push", remote, commit, timeout_seconds=None)
        refs = (f"{commit}:refs/heads/{branch}", f"refs/tags/{tag}")
        repository.run("push", "--atomic", "--porcelain", remote, *refs, timeout_seconds=None)
    except BaseException as error:
        if isinstance(error, GitError) and _arrived(repository, target, commit, tag):
            return  # the connection broke after the server had taken it
        repository.run("tag", "--delete", tag)
        raise


def _arrived(repository: Repository, target: Target, commit: str, tag: str) -> bool:
    try:
        refs = repository.remote_refs(target.remote)
    except GitError:
        return False
    return refs.get(f"refs/tags/{tag}") == commit
