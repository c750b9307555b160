"""Repositories of git that a test makes."""

import functools
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

CODE = "my_submission/code.py"


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def write(file: Path, content: str | bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def commit(folder: Path, message: str = "message") -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")


def make(folder: Path, *options: str, **files: str) -> Path:
    """A repository with one commit: the code, and other files by their names."""
    if not options and not files:
        return Path(shutil.copytree(Path(_kept().name) / "repository", folder))
    return _made(folder, *options, **files)


@functools.cache
def _kept() -> "TemporaryDirectory[str]":
    """A folder with the repository that most tests begin with, which takes git five processes."""
    kept = TemporaryDirectory()
    _made(Path(kept.name) / "repository")
    return kept


def _made(folder: Path, *options: str, **files: str) -> Path:
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", *options)
    for name, content in {CODE: "x = 1\n", **files}.items():
        write(folder / name, content)
    commit(folder)
    return folder
