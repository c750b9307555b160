"""`python run_eval.py` and `sdx eval`: evaluate a submission on local data, as the organisers would."""

import logging
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType

from tqdm import tqdm

from evaluator import printable
from evaluator.commands import ci_files, evaluate_options, evaluate_several, upload
from evaluator.commands import report as report_page
from evaluator.commands.evaluate_options import Outputs
from evaluator.isolation.sandbox import Isolation, Limits, SandboxError
from evaluator.locations import command
from evaluator.reporting import display, report
from evaluator.reporting.progress import CheckBar, ProgressBar
from evaluator.running import evaluation
from evaluator.running.dataset import BadTracksError, DataError
from evaluator.running.job import Job
from evaluator.running.options import Options, UsageError
from evaluator.running.predictions import PredictionsError
from evaluator.running.preparation import prepare
from evaluator.running.submission import SubmissionError
from evaluator.runs import baseline, leaderboard, run_scores
from evaluator.runs.documents import ResultError
from evaluator.runs.entries import SHORT, make_entry
from evaluator.runs.leaderboard import LeaderboardError, Store
from evaluator.runs.results import Result
from evaluator.runs.run_folder import DISK_FULL, REPORT_PAGE, RESULT_FILE
from evaluator.runs.run_scores import RunScores
from evaluator.service.client import UploadError
from sdx import terminal
from sdx.engines.engine import EngineError

OK, FAILED, UNUSABLE = 0, 1, 2
NOT_RUN = (UsageError, SubmissionError, ResultError, SandboxError, LeaderboardError, UploadError, EngineError)
OTHER_BASELINE = f"check against another: `{command('baseline save RUN')}` makes one"


@terminal.interruptible
def main(arguments: list[str] | None = None, prog: str = "run_eval.py") -> int:
    """Parse, evaluate, print; the exit code is 0 (all tracks scored), 1 (not all, or worse) or 2 (unusable input)."""
    words = terminal.prepare(arguments)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    options, outputs, several = evaluate_options.parse(words, prog)
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, _interrupt)
    try:
        if several is not None:
            board = None if outputs.board is None else _board(*outputs.board)
            return evaluate_several.run(several, options, lambda each: run(each, outputs), board)
        return run(options, outputs)
    except DataError as error:
        problems = map(printable.lines, error.problems)
        print("error: the data cannot be used:", *problems, sep="\n  ", file=sys.stderr)
        if isinstance(error, BadTracksError):
            print(display.mend_or_skip(error), file=sys.stderr)
    except PredictionsError as error:
        problems = map(printable.lines, error.problems)
        print("error: the estimates cannot be used:", *problems, sep="\n  ", file=sys.stderr)
    except NOT_RUN as error:
        print(f"error: {printable.lines(str(error))}", file=sys.stderr)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        where = f" at {error.filename}" if error.filename else ""
        print(
            f"error: the disk is full{where}; finished tracks are kept; make room, and continue with --resume",
            file=sys.stderr,
        )
    return UNUSABLE


def _board(server: str, benchmark: str) -> evaluate_several.Board:
    """The board of a quality checker, which answers and takes entries of teams; UploadError otherwise."""
    sender = upload.connect(server)
    if not sender.benchmark(benchmark).get("for_teams", True):  # a service from before does not say
        raise UploadError(
            f"{sender.server}: this token submits for its own account alone; expected one of an organiser, since each"
            " submission is a team's"
        )
    return evaluate_several.Board(sender, benchmark)


class Acceptance:
    """Says once, before anything of the submission runs, what of SECURITY.md this system does not let us keep."""

    def __init__(self, limits: Limits, required: bool) -> None:
        self._limits = limits
        self._required = required
        self._is_said = False

    def __call__(self, isolation: Isolation) -> None:
        """SandboxError if something is open although all is required."""
        promises = isolation.open_promises()
        if promises and self._required:
            raise SandboxError(f"--require-isolation: on this system {'; '.join(promises)}; nothing was run")
        phrases = "; ".join([*promises, *isolation.open_limits(self._limits)])
        if phrases and not self._is_said:
            tqdm.write(f"Not held on this system: {phrases}. See SECURITY.md.", file=sys.stderr)
        self._is_said = True


def run(options: Options, outputs: Outputs) -> int:
    """Evaluate, record and print; the exit code."""
    before = None
    if outputs.check is not None:
        old, _ = leaderboard.read_baseline(outputs.check, Store(), advice=OTHER_BASELINE)
        before = run_scores.of_result(old, printable.plain(str(outputs.check)))
    with CheckBar() as checked:
        job = prepare(options, checked, Acceptance(options.limits, options.require_isolation))
    for note in job.dataset.notes:
        print(printable.plain(note), file=sys.stderr)
    if before is not None:
        run_scores.require_checkable(before, run_scores.of_plan(job.plan))
    _make_folder(job.out)
    bar = ProgressBar(job.dataset, job.plan.jobs)
    try:
        result = evaluation.evaluate(job, bar, options.resume)
    except evaluation.Interrupted as interrupt:
        bar.close()
        _record(interrupt.result, job.out)
        print(
            f"interrupted; finished tracks are kept in {job.out}; the same command with --resume continues",
            file=sys.stderr,
        )
        return terminal.INTERRUPTED
    finally:
        bar.close()
    _record(result, job.out)
    print(f"Logs and result: {job.out}\n", file=sys.stderr)
    print(display.table(result))
    found = None
    if before is not None:
        found = baseline.check(before, run_scores.of_result(result, "this run"), outputs.tolerance_db)
        print(f"\n{baseline.describe(found)}")
    is_written = outputs.json is None or ci_files.write_json(outputs.json, result)
    is_written &= ci_files.write(outputs.ci, result, found)
    if outputs.report:
        _report(job, result, before, outputs)
    if not is_written:
        return UNUSABLE
    return OK if result.status == "ok" and (found is None or found.passed) else FAILED


def _make_folder(out: Path) -> None:
    """The folder of a run; UsageError where there can be none."""
    if (wrong := printable.fault(str(out.resolve()))) is not None:
        raise UsageError(
            f"--out {out}: has the character {wrong}, which no name may have; name another folder"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out}: cannot be made ({error.strerror}); name another folder") from None


def _report(job: Job, result: Result, before: RunScores | None, outputs: Outputs) -> None:
    """Write the run's page and print where it is."""
    page = job.out / REPORT_PAGE
    entry = make_entry(result, job.out)
    sources = report.gather(entry, before, outputs.tolerance_db, job.dataset.tracks)
    report_page.write(page, sources, outputs.audio)
    print(f"\nReport: {page}")


def _record(result: Result, out: Path) -> None:
    """Append the run to the leaderboard, if it is not there; where that fails, the run itself is not lost."""
    try:
        run = _recorded(result, out) or Store().record(result, out)
    except LeaderboardError as error:
        again = f"{command('leaderboard import')} {out / RESULT_FILE}"
        print(f"not recorded: {error}\nlater: {again}", file=sys.stderr)
    else:
        print(f"Recorded as run {run[:SHORT]}", file=sys.stderr)


def _recorded(result: Result, out: Path) -> str | None:
    """The id of this run where --resume found nothing left to do: it is on record, but for the time of looking."""
    document = replace(result, duration_seconds=0.0).to_json()
    same = (
        entry.id
        for entry in Store().entries(withdrawn=True)
        if entry.folder == str(out.resolve())
        and replace(entry.result, duration_seconds=0.0).to_json() == document
    )
    return next(same, None)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
