"""Checks of the commit's files: is any missing on the server, are the weights right, are large files in git-lfs?"""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from evaluator.submitting import import_closure
from evaluator.submitting.configured import Weights
from evaluator.submitting.git import Blob, Repository
from evaluator.submitting.preflight import PACKAGE, Check, shorten, size_text

LFS_BYTES = 5_000_000  # larger files go through git-lfs
SERVER_FILES = (
    "aicrowd.json",
    "requirements.txt",
    f"{PACKAGE}/aicrowd_wrapper.py",
    f"{PACKAGE}/user_config.py",
)


def check_files(files: Sequence[Blob]) -> Check:
    """Whether the commit holds what the server starts from."""
    paths = {blob.path for blob in files}
    absent = [name for name in SERVER_FILES if name not in paths]
    if not absent:
        return Check("files", "ok", f"{len(files)} in the commit")
    return Check("files", "failed", f"not in the commit: {', '.join(absent)}", f"git add {' '.join(absent)}")


def check_imports(root: Path, weights: Sequence[Weights] = ()) -> Iterator[Check]:
    """Whether every module that the submission imports is in `root` or comes with its requirements.txt.

    weights: those of its preset, whose architectures may be other people's modules.
    """
    architectures = {item.name: item.architecture for item in weights if item.architecture}
    modules, packages = import_closure.architecture_imports(architectures)
    found = import_closure.closure(root, PACKAGE, modules)
    problems = [*found.unreadable, *(f"{item.module} ({item.place})" for item in found.missing)]
    if problems:
        advice = "add the files to git (look into .gitignore, too) or correct the imports, and commit"
        yield Check("modules", "failed", f"not in the commit: {shorten(problems)}", advice)
    else:
        yield Check("modules", "ok", f"all that {PACKAGE} imports of this repository is in the commit")
    path = root / "requirements.txt"
    if not path.is_file():
        return
    try:
        requirements, unread = import_closure.read_requirements(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        yield Check(
            "packages", "failed", f"requirements.txt is no UTF-8: {error}", "save it as UTF-8 and commit"
        )
        return
    uncovered = import_closure.not_covered([*found.third_party, *packages], requirements)
    if uncovered:
        named = [f"{item.module} ({item.place})" for item in uncovered]
        lines = sorted({import_closure.distribution_of(item.top) for item in uncovered})
        advice = f"add {', '.join(lines)} to requirements.txt and commit"
        yield Check("packages", "failed", f"not in requirements.txt: {shorten(named)}", advice)
    elif unread:
        yield Check("packages", "warning", f"lines not understood: {shorten(unread)}", "check them yourself")
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
        return Check(name, "warning", found, "make sure that they are the right ones")
    return Check(name, "ok", f"{len(weights)} file{'s'[: len(weights) != 1]}, {total}, verified")


def check_lfs(repository: Repository, files: Sequence[Blob]) -> Check:
    """Whether git-lfs works here and carries every large file of the commit."""
    name = "git-lfs"
    if large := too_large(files):
        paths = sorted({str(PurePosixPath(blob.path)) for blob in large})
        advice = (
            f"git lfs track {' '.join(paths)}; git add --renormalize .gitattributes {' '.join(paths)}; commit"
        )
        return Check(name, "failed", f"larger than 5 MB and not in git-lfs: {with_sizes(large)}", advice)
    pointers = repository.lfs_bytes(files)
    if not pointers:
        return Check(name, "ok", "no file needs it")
    if not repository.has_lfs():
        found = f"not installed, but {len(pointers)} files need it"
        return Check(name, "failed", found, "install git-lfs (apt install git-lfs), then: git lfs install")
    if not repository.has_lfs_filter():
        return Check(name, "failed", "installed, but not in use in this repository", "git lfs install")
    return Check(name, "ok", f"{len(pointers)} files, {size_text(sum(pointers.values()))}")


def too_large(blobs: Sequence[Blob]) -> list[Blob]:
    """The files that git-lfs should carry, but does not."""
    return [blob for blob in blobs if blob.path and blob.bytes > LFS_BYTES]


def with_sizes(blobs: Sequence[Blob]) -> str:
    """Names and sizes of files, in words."""
    return shorten([f"{blob.path} ({size_text(blob.bytes)})" for blob in blobs])
