"""`--junit`, `--summary` and `--badge`: what a CI system reads of a run, and GitHub's step summary by itself."""

import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from evaluator import printable, regular_files
from evaluator.reporting import badge, junit, summary
from evaluator.runs import results
from evaluator.runs.baseline import Check
from evaluator.runs.results import Result

STEP_SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"  # the file that GitHub shows on the page of a job
STEP_SUMMARY_BYTES = 1 << 20  # of a step; GitHub drops all of one that is longer


@dataclass(frozen=True)
class CiFiles:
    """Where to write what."""

    junit: Path | None = None
    summary: Path | None = None
    badges: tuple[Path, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.junit or self.summary or self.badges)


def add(parser: ArgumentParser) -> None:
    """Add the options."""
    group = parser.add_argument_group("for CI", "docs/ci.md has a workflow to copy")
    group.add_argument(
        "--junit", type=_file, metavar="FILE", help="write the tracks as test cases, in JUnit's XML"
    )
    group.add_argument(
        "--summary",
        type=_file,
        metavar="FILE.md",
        help="write verdict, scores and failures as Markdown; a job of GitHub's has them in its summary anyway",
    )
    group.add_argument(
        "--badge",
        type=_badge,
        action="append",
        default=[],
        metavar="FILE",
        help="write the score as a badge: .json for shields.io, or .svg; may be repeated",
    )


def of(given: Namespace) -> CiFiles:
    """What was asked for."""
    return CiFiles(given.junit, given.summary, tuple(given.badge))


def _file(text: str) -> Path:
    path = Path(text)
    if path.is_dir():
        raise ArgumentTypeError(f"{text}: a folder, expected the name of a file")
    return path


def _badge(text: str) -> Path:
    path = _file(text)
    if path.suffix.lower() not in badge.SUFFIXES:
        raise ArgumentTypeError(f"{text}: expected a name that ends in {' or '.join(badge.SUFFIXES)}")
    return path


def write(files: CiFiles, result: Result, check: Check | None) -> bool:
    """Write what was asked for; False where something could not be written, which is said.

    The step summary is GitHub's file, to which other steps may have written, so it is added to; once, even where
    --summary names it.
    """
    regressed = check is not None and not check.passed
    made = badge.of_result(result, regressed)
    wanted: list[tuple[Path, Callable[[], bytes]]] = []
    if files.junit is not None:
        wanted.append((files.junit, lambda: junit.document(result, check)))
    if files.summary is not None and not _is_step_summary(files.summary):
        wanted.append((files.summary, lambda: summary.document(result, check).encode()))
    for path in files.badges:
        as_text = badge.as_json if path.suffix.lower() == ".json" else badge.as_svg
        wanted.append((path, lambda as_text=as_text: as_text(made).encode()))  # type: ignore[misc]
    done = [_written(path, content()) for path, content in wanted]
    return all([*done, _add_to_step_summary(result, check)])


def write_json(path: Path, result: Result) -> bool:
    """Write the result here, too; False where that cannot be, which is said."""
    try:
        results.write(path, result.to_json())
    except OSError as error:
        return _said(path, error)
    return True


def _is_step_summary(path: Path) -> bool:
    step = os.environ.get(STEP_SUMMARY_VARIABLE)
    return bool(step) and path.resolve() == Path(step or "").resolve()


def _written(path: Path, content: bytes) -> bool:
    """Write a file whole or not at all; to a device or a pipe as it is."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not regular_files.is_replaceable(path):
            path.write_bytes(content)
            return True
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        return _said(path, error)
    return True


def _add_to_step_summary(result: Result, check: Check | None) -> bool:
    if not (path := os.environ.get(STEP_SUMMARY_VARIABLE)):
        return True
    content = summary.document(result, check).encode()
    try:
        with Path(path).open("ab") as file:
            if file.tell() + len(content) <= STEP_SUMMARY_BYTES:
                file.write(content)
    except OSError as error:
        return _said(Path(path), error)
    return True


def _said(path: Path, error: OSError) -> bool:
    print(
        f"{printable.plain(str(path))}: not written ({error.strerror or error}); the run itself is kept",
        file=sys.stderr,
    )
    return False
