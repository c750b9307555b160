"""`run_eval.py --submissions DIR`: every submission of a folder, one after the other, and a table of them all."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from evaluator import printable, text_table
from evaluator.commands import upload
from evaluator.digests import sha256_of_file
from evaluator.isolation.sandbox import SandboxError
from evaluator.measures.means import MEAN
from evaluator.running.dataset import DataError
from evaluator.running.options import Options, UsageError
from evaluator.running.submission import SubmissionError
from evaluator.runs import results
from evaluator.runs.documents import ResultError
from evaluator.runs.labels import NAME_CHARACTERS
from evaluator.runs.leaderboard import LeaderboardError
from evaluator.runs.passing import would_pass
from evaluator.runs.results import Result
from evaluator.runs.run_folder import RESULT_FILE
from evaluator.service.client import Client, UploadError, team_problem
from sdx.terminal import INTERRUPTED

OK, FAILED = 0, 1
NOT_RUN = (UsageError, SubmissionError, DataError, ResultError, SandboxError, LeaderboardError)
REASON_CHARACTERS = 300
SENT_FILE = "sent.json"  # in a run's folder: where its estimates went


@dataclass(frozen=True)
class Line:
    """One submission: what came of it, or why it was not run."""

    name: str
    result: Result | None
    reason: str = ""

    @property
    def mean(self) -> float | None:
        """Its score, if every track has one."""
        score = None if self.result is None else self.result.score()
        return None if score is None else score[MEAN]


@dataclass(frozen=True)
class Board:
    """Where the estimates of the submissions go: a benchmark of a quality checker, each as an entry of a team."""

    sender: Client
    benchmark: str

    def add(self, team: str, out: Path) -> bool:
        """Whether the estimates of the run in `out` are there; else it is said why.

        Those that were sent before, as noted in the run's folder, are not sent again.
        """
        said = {"name": team, "team": team, "visibility": "public"}
        sent = {
            "server": self.sender.server,
            "benchmark": self.benchmark,
            "files": _digest(out / "estimates"),
        }
        note = out / SENT_FILE
        if _noted(note) == sent:
            print(f"{printable.plain(team)}: on the board already")
            return True
        try:
            upload.send(self.sender, out / "estimates", self.benchmark, said)
            note.write_text(json.dumps(sent), encoding="utf-8")
        except UploadError as error:
            print(
                f"{printable.plain(team)}: not on the board: {printable.lines(str(error))}", file=sys.stderr
            )
            return False
        return True


def _noted(file: Path) -> object:
    """What a note says; None if there is none, or one that makes no sense."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _digest(folder: Path) -> str:
    """A hash of the files in a folder, by their names and contents."""
    total = sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(f"{path.relative_to(folder).as_posix()}\0{sha256_of_file(path)}\n".encode())
    return total.hexdigest()


def run(folder: Path, options: Options, one: Callable[[Options], int], board: Board | None = None) -> int:
    """Evaluate each folder in `folder` by `one`, and print the table; the exit code is 0 if all was scored.

    What has a score then goes onto `board`, if there is one.

    The run of each is kept in a folder of its name below `options.out`. What is wrong with one does not stop the
    others; an interruption does. Raises UsageError where there is nothing to run, no place to keep it, or a name that
    no team of the board can have.
    """
    if options.out is None:
        raise UsageError("--submissions: needs --out DIR, in which each submission's run has a folder")
    if options.out.resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            f"--out {options.out}: lies in {folder}, where every folder is a submission; choose another"
        )
    submissions = find(folder)
    if board is not None:
        _require_teams(submissions)
    lines: list[Line] = []
    worst = OK
    for number, path in enumerate(submissions, 1):
        print(f"\n{number} of {len(submissions)}: {printable.plain(path.name)}", file=sys.stderr)
        out = options.out / path.name
        label = replace(options.label, name=printable.plain(path.name, NAME_CHARACTERS))
        own = replace(options, submission=path, out=out, label=label)
        line, code = _evaluated(own, path.name, one)
        if code == INTERRUPTED:
            return INTERRUPTED
        if board is not None and line.mean is not None and not board.add(line.name, out):
            code = FAILED
        worst = max(worst, code)
        lines.append(line)
    print(f"\n{table(lines)}")
    return worst


def find(folder: Path) -> list[Path]:
    """The folders in a folder, by name; UsageError if there are none. Hidden ones are no submissions."""
    try:
        found = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise UsageError(f"--submissions {folder}: cannot be read ({error.strerror})") from None
    if not found:
        raise UsageError(
            f"--submissions {folder}: no folder in it; expected one for each submission, with my_submission/ inside"
        )
    return found


def _require_teams(submissions: Sequence[Path]) -> None:
    """UsageError, before hours of work, if a folder has a name that no team of a board may have."""
    problems = [
        f"{printable.plain(path.name)}: {problem}"
        for path in submissions
        if (problem := team_problem(path.name))
    ]
    if problems:
        raise UsageError(
            "\n  ".join(["--server: these folders cannot be teams on the board; rename them:", *problems])
        )


def _evaluated(options: Options, name: str, one: Callable[[Options], int]) -> tuple[Line, int]:
    """What came of one submission, and its exit code."""
    assert options.out is not None
    try:
        code = one(options)
        result = None if code == INTERRUPTED else results.read(options.out / RESULT_FILE)
        return Line(name, result), code
    except NOT_RUN as error:
        problems = error.problems if isinstance(error, DataError) else [str(error)]
        reason = printable.plain("; ".join(problems), REASON_CHARACTERS)
        print(f"{printable.plain(name)}: not run: {reason}", file=sys.stderr)
        return Line(name, None, reason), FAILED


def table(lines: Sequence[Line]) -> str:
    """The submissions, best first; those without a score follow, with the reason."""
    ordered = sorted(lines, key=lambda line: (line.mean is None, -(line.mean or 0.0), line.name))
    every = [line.result.stems for line in lines if line.result is not None]
    stems = every[0] if every and all(found == every[0] for found in every) else ()
    rows = [["submission", "status", "tracks", "passes", *stems, MEAN, "reason"]]
    rows += [_row(line, stems) for line in ordered]
    return "\n".join(text_table.align(rows, left=(0, 1, 3, len(rows[0]) - 1)))


def _row(line: Line, stems: Sequence[str]) -> list[str]:
    name, result = printable.plain(line.name), line.result
    if result is None:
        return [name, "not run", "-", "-", *("-" for _ in stems), "-", line.reason]
    score = result.score() or {}
    tracks = f"{len(result.worked)} of {result.plan.data.number}"
    scores = [text_table.db(score.get(column)) for column in (*stems, MEAN)]
    failed = result.failed[:1]
    reason = f"{failed[0].name}: {failed[0].status}, {failed[0].why}" if failed else ""
    return [
        *(name, result.status, tracks, would_pass(result), *scores),
        printable.plain(reason, REASON_CHARACTERS),
    ]
