"""The code of a submission: which files it is, and their hash. Nothing outside of its folder is read for that.

A submission's folder may hold links to anywhere, pipes that block, and files without end.
"""

import hashlib
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from evaluator import regular_files
from evaluator.digests import sha256_of_file
from evaluator.regular_files import IrregularFileError

PACKAGE = "my_submission"
CODE_BYTES = 5_000_000  # larger files are weights, by which the code is not known
MOST_BYTES = 1 << 30
MOST_ENTRIES = 100_000
MOST_DEPTH = 100


class CodeError(Exception):
    """The folder holds more than any submission's code, or what cannot be read; the message says what to do."""


def hash_of(submission: Path, preset: Path | None) -> str:
    """SHA-256 over names and contents of all files of my_submission/ under 5 MB, and of a preset file.

    A link inside of the submission counts as what it leads to, any other as the path that it holds.
    """
    files = [(file.relative_to(submission).as_posix(), file) for file in _files(submission)]
    if preset is not None:
        inside = preset.is_relative_to(submission)
        files.append((preset.relative_to(submission).as_posix() if inside else preset.name, preset))
    digest, total = hashlib.sha256(), 0
    for name, file in sorted(files, key=lambda pair: pair[1]):
        if file is preset:
            content, size = sha256_of_file(file), 0
        elif (found := _content(submission, file)) is None:
            continue
        else:
            content, size = found
        digest.update(f"{_one_line(name)}\n{_one_line(content)}\n".encode(errors="surrogateescape"))
        total += size
        if total > MOST_BYTES:
            raise CodeError(
                f"{submission / PACKAGE}: more than {regular_files.size_words(MOST_BYTES)} of files under 5 MB;"
                " keep what is not code elsewhere"
            )
    return digest.hexdigest()


def _one_line(text: str) -> str:
    """The text without line ends, by which one name could pass for several files; equal for equal texts only."""
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def mentions(submission: Path, word: str) -> bool:
    """Whether any module of the submission has this word in it."""
    for file in _files(submission):
        if file.suffix == ".py" and (target := _inside(submission, file)) is not None:
            try:
                text = regular_files.read(target, CODE_BYTES, links=False)
            except IrregularFileError:
                continue
            except OSError as error:
                raise CodeError(f"{file}: cannot be read ({error.strerror})") from None
            if word.encode() in text:
                return True
    return False


def _content(submission: Path, file: Path) -> tuple[str, int] | None:
    """The hash of a file's content, and its size; None for what is no code."""
    target = _inside(submission, file)
    if target is None:
        return f"-> {os.readlink(file)}", 0
    try:
        return regular_files.sha256_of(target, CODE_BYTES - 1, links=False)
    except IrregularFileError:
        return None
    except OSError as error:
        raise CodeError(f"{file}: cannot be read ({error.strerror})") from None


def _inside(submission: Path, file: Path) -> Path | None:
    """The file itself, or what a link leads to; None for a link out of the submission, or to nowhere."""
    if not file.is_symlink():
        return file
    target = Path(os.path.realpath(file))
    return target if target.is_relative_to(submission) and target.is_file() else None


def _files(submission: Path) -> Iterator[Path]:
    """Files and links below my_submission/; CodeError where there is no end."""
    package = submission / PACKAGE
    if not Path(os.path.realpath(package)).is_relative_to(submission):
        yield package
        return
    folders, number = [(package, 1)], 0
    while folders:
        folder, depth = folders.pop()
        for entry in _entries(folder):
            number += 1
            if number > MOST_ENTRIES:
                raise CodeError(f"{package}: more than {MOST_ENTRIES} files; keep what is not code elsewhere")
            if entry.is_dir(follow_symlinks=False):
                if depth >= MOST_DEPTH:
                    raise CodeError(f"{package}: folders in folders, deeper than {MOST_DEPTH}")
                if entry.name != "__pycache__":
                    folders.append((Path(entry.path), depth + 1))
            elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
                yield Path(entry.path)


def _entries(folder: Path) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as entries:
            return list(islice(entries, MOST_ENTRIES + 1))
    except OSError as error:
        raise CodeError(f"{folder}: cannot be read ({error.strerror})") from None
