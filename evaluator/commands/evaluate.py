"""`python run_eval.py` and `sdx eval`: evaluate a submission on local data, as the organisers would."""

import argparse
import errno
import logging
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from tqdm import tqdm

from evaluator import printable
from evaluator.commands import converters, evaluate_several
from evaluator.commands import report as report_page
from evaluator.isolation.sandbox import Isolation, Limits, SandboxError
from evaluator.locations import command, submission_folder
from evaluator.reporting import display, report
from evaluator.running import evaluation
from evaluator.running.dataset import DataError
from evaluator.running.job import Job
from evaluator.running.predictions import PredictionsError
from evaluator.running.preparation import RUNNERS, UNLIMITED, Options, UsageError, prepare
from evaluator.running.submission import SubmissionError
from evaluator.runs import baseline, leaderboard, results, run_scores
from evaluator.runs.documents import ResultError
from evaluator.runs.entries import SHORT, make_entry
from evaluator.runs.leaderboard import LeaderboardError, Store
from evaluator.runs.results import Result
from evaluator.runs.run_folder import REPORT_PAGE, RESULT_FILE
from evaluator.runs.run_scores import RunScores

OK, FAILED, UNUSABLE, INTERRUPTED = 0, 1, 2, 130
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
OTHER_BASELINE = f"check against another: `{command('baseline save RUN')}` makes one"


@dataclass(frozen=True)
class Outputs:
    """What to do with the result besides printing it."""

    json: Path | None
    check: Path | None
    tolerance_db: float
    report: bool


def main(arguments: list[str] | None = None, prog: str = "run_eval.py") -> int:
    """Parse, evaluate, print; the exit code is 0 (all tracks scored), 1 (not all, or worse) or 2 (unusable input)."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    options, outputs, several = parse(arguments, prog)
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, _interrupt)
    try:
        if several is not None:
            return evaluate_several.run(several, options, lambda each: run(each, outputs))
        return run(options, outputs)
    except DataError as error:
        problems = map(printable.lines, error.problems)
        print(f"{prog}: the data cannot be used:", *problems, sep="\n  ", file=sys.stderr)
    except PredictionsError as error:
        problems = map(printable.lines, error.problems)
        print(f"{prog}: the estimates cannot be used:", *problems, sep="\n  ", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (UsageError, SubmissionError, ResultError, SandboxError, LeaderboardError) as error:
        print(f"{prog}: {printable.lines(str(error))}", file=sys.stderr)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        where = f" at {error.filename}" if error.filename else ""
        print(
            f"{prog}: the disk is full{where}; finished tracks are kept; make room, and continue with --resume",
            file=sys.stderr,
        )
    return UNUSABLE


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
        old = leaderboard.read_baseline(outputs.check, Store(), advice=OTHER_BASELINE)
        before = run_scores.of_result(old, printable.plain(str(outputs.check)))
    with display.CheckBar() as checked:
        job = prepare(options, checked, Acceptance(options.limits, options.require_isolation))
    for note in job.dataset.notes:
        print(printable.plain(note), file=sys.stderr)
    if before is not None:
        run_scores.require_same_data(before, run_scores.of_plan(job.plan))
    bar = display.ProgressBar(job.dataset, job.plan.jobs)
    try:
        result = evaluation.evaluate(job, bar, options.resume)
    except evaluation.Interrupted as interrupt:
        bar.close()
        _record(interrupt.result, job.out)
        print(
            f"interrupted; finished tracks are kept in {job.out}; the same command with --resume continues",
            file=sys.stderr,
        )
        return INTERRUPTED
    finally:
        bar.close()
    if outputs.json is not None:
        results.write(outputs.json, result.to_json())
    _record(result, job.out)
    print(f"Logs and result: {job.out}\n", file=sys.stderr)
    print(display.table(result))
    fallen = before is not None and not _check(before, result, outputs.tolerance_db)
    if outputs.report:
        _report(job, result, before, outputs.tolerance_db)
    return OK if result.status == "ok" and not fallen else FAILED


def _check(before: RunScores, result: Result, tolerance_db: float) -> bool:
    """Print what moved since the baseline, and say whether nothing fell."""
    found = baseline.check(before, run_scores.of_result(result, "this run"), tolerance_db)
    print(f"\n{baseline.describe(found)}")
    return found.passed


def _report(job: Job, result: Result, before: RunScores | None, tolerance_db: float) -> None:
    """Write the run's page and print where it is."""
    page = job.out / REPORT_PAGE
    entry = make_entry(result, job.out)
    report_page.write(page, report.gather(entry, before, tolerance_db, job.dataset.tracks))
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


def parse(arguments: list[str] | None, prog: str) -> tuple[Options, Outputs, Path | None]:
    """What to evaluate and how, what to do with the result, and the folder of submissions, if there are several."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Run a submission on local data under the organisers' limits, and score it as they do. Or score"
        " estimates that are there already (--predictions).",
        epilog="Exit codes: 0 every track scored; 1 some track failed, or --check found a regression; "
        "2 wrong usage or unusable data.",
    )
    _add_subject(parser)
    _add_limits(parser)
    _add_course(parser)
    _add_outputs(parser)
    given = parser.parse_args(arguments)
    if given.submissions is not None and given.json is not None:
        parser.error("--json: with --submissions, each result is in OUT/SUBMISSION/result.json")
    return (
        Options(
            submission=given.submission or submission_folder(),
            data=given.data,
            preset=given.preset,
            challenge=given.challenge,
            only=given.only,
            limits=UNLIMITED
            if given.no_limits
            else Limits(given.time_factor, given.setup_timeout, given.cpus, given.memory, given.scratch),
            runner=given.runner,
            out=given.out,
            metrics=given.metrics,
            resume=given.resume,
            jobs=given.jobs,
            fit=given.fit,
            keep_estimates=given.report,
            readable=tuple(given.readable),
            require_isolation=given.require_isolation,
            predictions=given.predictions,
        ),
        Outputs(given.json, given.check, given.tolerance_db, given.report),
        given.submissions,
    )


def _add_subject(parser: argparse.ArgumentParser) -> None:
    """What is evaluated on what."""
    add = parser.add_argument
    add("--data", type=Path, metavar="DIR", help="tracks with references (default: the demo tracks)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--submission", type=Path, metavar="DIR", help="folder above my_submission/ (default: here)"
    )
    what.add_argument(
        "--submissions",
        type=Path,
        metavar="DIR",
        help="evaluate every folder in this one, one after the other, and keep each run in a folder of its name in"
        " --out",
    )
    what.add_argument(
        "--predictions",
        type=Path,
        metavar="DIR",
        help="run nothing, and score the estimates in this folder: TRACK/STEM.wav, as runs keep them, or"
        " TRACK_STEM.wav side by side, .wav or .flac; which stems there are decides what is scored",
    )
    add("--preset", metavar="NAME-OR-FILE", help="ensemble to use (default: the one in user_config.py)")
    converters.add_challenge_or_stems(
        parser, default="what the submission makes, or the files are of, else that of the data"
    )
    add("--only", metavar="GLOB", help="evaluate the tracks whose name matches")


def _add_limits(parser: argparse.ArgumentParser) -> None:
    """What the submission may use."""
    limits = Limits()
    add = parser.add_argument
    add(
        "--time-factor",
        type=converters.positive,
        default=limits.time_factor,
        metavar="X",
        help="seconds allowed per second of audio (default: %(default)s)",
    )
    add(
        "--setup-timeout",
        type=converters.positive,
        default=limits.setup_seconds,
        metavar="SECONDS",
        help="seconds allowed for loading (default: %(default)s)",
    )
    add(
        "--cpus",
        type=converters.count,
        default=limits.cpus,
        metavar="N",
        help="cores (default: %(default)s)",
    )
    add(
        "--memory",
        type=converters.size,
        default="16g",
        metavar="SIZE",
        help="for example 512m or 16g (default: %(default)s)",
    )
    add(
        "--scratch",
        type=converters.size,
        default=limits.scratch_bytes,
        metavar="SIZE",
        help="temporary files and shared memory, which count as memory, too (default: 4g)",
    )
    add("--no-limits", action="store_true", help="no limit on time, cores, memory and temporary files")
    add(
        "--readable",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="let the submission read this, too (weights outside of its folder); may be repeated",
    )
    add(
        "--require-isolation",
        action="store_true",
        help="run nothing where this system cannot wall the submission in (SECURITY.md)",
    )
    add(
        "--fit",
        action="store_true",
        help="tell the submission the time factor, so that it can plan, and use its preset's savings where a track"
        " would be late",
    )


def _add_course(parser: argparse.ArgumentParser) -> None:
    """How the run goes."""
    add = parser.add_argument
    add(
        "--jobs",
        type=converters.count,
        default=1,
        metavar="N",
        help="tracks at a time, each in its own session with these limits; they share the machine, so only the"
        " times of --jobs 1, the default, show whether a submission would pass",
    )
    add("--runner", choices=RUNNERS, default="process", help="default: %(default)s")
    add(
        "--metrics",
        type=converters.metrics,
        default=("sdr",),
        metavar="LIST",
        help=f"of {','.join(converters.METRICS)}, separated by commas (default: sdr); of all, higher is better",
    )
    add("--resume", action="store_true", help="continue an interrupted run")


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    """What is kept of it, and what it is compared with."""
    add = parser.add_argument
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="keep estimates, logs and the result here (default: runs/…, without estimates)",
    )
    add("--json", type=Path, metavar="FILE", help="write the result here, too")
    add("--report", action="store_true", help="also write the run as a page to look at and listen to")
    add(
        "--check",
        type=Path,
        metavar="BASELINE.json",
        help="exit 1 if a score or a status is worse than in this baseline (or result) of the same data",
    )
    add(
        "--tolerance-db",
        type=converters.not_negative,
        default=baseline.DEFAULT_TOLERANCE_DB,
        metavar="DB",
        help="how much a score may fall in --check, in dB or the measure's own unit (default: %(default)s)",
    )
