"""`python run_eval.py` and `sdx eval`: evaluate a submission on local data, as the organisers would."""

import argparse
import logging
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from evaluator.challenge import CHALLENGES
from evaluator.commands import report as report_page
from evaluator.isolation.sandbox import Limits, SandboxError
from evaluator.locations import command, submission_folder
from evaluator.reporting import display, report
from evaluator.running import evaluation
from evaluator.running.dataset import DataError
from evaluator.running.job import Job
from evaluator.running.preparation import RUNNERS, Options, UsageError, prepare
from evaluator.running.submission import SubmissionError
from evaluator.runs import baseline, leaderboard, results, run_scores
from evaluator.runs.leaderboard import SHORT, LeaderboardError, Store
from evaluator.runs.run_folder import REPORT_PAGE, RESULT_FILE
from evaluator.runs.run_scores import RunScores

OK, FAILED, UNUSABLE, INTERRUPTED = 0, 1, 2, 130
METRICS = {"sdr": "sdr", "si_sdr": "si_sdr", "bss_eval": "bss_eval_sdr"}


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
    options, outputs = parse(arguments, prog)
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, _interrupt)
    try:
        return run(options, outputs)
    except DataError as error:
        print(f"{prog}: the data cannot be used:", *error.problems, sep="\n  ", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (UsageError, SubmissionError, results.ResultError, SandboxError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
    return UNUSABLE


def run(options: Options, outputs: Outputs) -> int:
    """Evaluate, record and print; the exit code."""
    before = None if outputs.check is None else baseline.read(outputs.check)
    with display.CheckBar() as checked:
        job = prepare(options, checked)
    for note in job.dataset.notes:
        print(note, file=sys.stderr)
    if before is not None:
        run_scores.require_same_data(before, run_scores.of_plan(job.plan))
    bar = display.ProgressBar(job.dataset, job.plan.jobs)
    try:
        result = evaluation.evaluate(job, bar, options.resume)
    except KeyboardInterrupt:
        bar.close()
        _record(job.out)
        print(
            f"interrupted; finished tracks are kept in {job.out}; the same command with --resume goes on",
            file=sys.stderr,
        )
        return INTERRUPTED
    finally:
        bar.close()
    if outputs.json is not None:
        results.write(outputs.json, result.to_json())
    _record(job.out)
    print(f"Logs and result: {job.out}\n", file=sys.stderr)
    print(display.table(result))
    fallen = before is not None and not _check(before, result, outputs.tolerance_db)
    if outputs.report:
        _report(job, before, outputs.tolerance_db)
    return OK if result.status == "ok" and not fallen else FAILED


def _check(before: RunScores, result: results.Result, tolerance_db: float) -> bool:
    """Print what moved since the baseline, and say whether nothing fell."""
    found = baseline.check(before, run_scores.from_json(result.to_json(), "this run"), tolerance_db)
    print(f"\n{baseline.describe(found)}")
    return found.passed


def _report(job: Job, before: RunScores | None, tolerance_db: float) -> None:
    """Write the run's page and print where it is."""
    entry = leaderboard.make_entry(results.read(job.out / RESULT_FILE), job.out)
    page = job.out / REPORT_PAGE
    report_page.write(page, report.gather(entry, before, tolerance_db, job.dataset.tracks))
    print(f"\nReport: {page}")


def _record(out: Path) -> None:
    """Append the run to the leaderboard; where that fails, the run itself is not lost."""
    file = out / RESULT_FILE
    try:
        run = Store().record(results.read(file), out)
    except (LeaderboardError, results.ResultError) as error:
        print(f"not recorded: {error}\nlater: {command('leaderboard import')} {file}", file=sys.stderr)
    else:
        print(f"Recorded as run {run[:SHORT]}", file=sys.stderr)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def parse(arguments: list[str] | None, prog: str) -> tuple[Options, Outputs]:
    """What to evaluate and how, and what to do with the result."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Run a submission under the organisers' limits on local data and score it as they do.",
        epilog="Exit codes: 0 every track scored; 1 some track failed, or --check found a regression; "
        "2 wrong usage or unusable data.",
    )
    limits = Limits()
    add = parser.add_argument
    add("--data", type=Path, metavar="DIR", help="tracks with references (default: the demo tracks)")
    add(
        "--submission",
        type=Path,
        metavar="DIR",
        default=submission_folder(),
        help="folder above my_submission/ (default: here)",
    )
    add("--preset", metavar="NAME-OR-FILE", help="ensemble to use (default: the one in user_config.py)")
    add("--track", choices=CHALLENGES, help="default: that of the data, else of the submission")
    add("--only", metavar="GLOB", help="evaluate the tracks whose name matches")
    add(
        "--time-factor",
        type=_positive,
        default=limits.time_factor,
        metavar="X",
        help="seconds allowed per second of audio (default: %(default)s)",
    )
    add(
        "--setup-timeout",
        type=_positive,
        default=limits.setup_seconds,
        metavar="SECONDS",
        help="seconds allowed for loading (default: %(default)s)",
    )
    add("--cpus", type=_count, default=limits.cpus, metavar="N", help="cores (default: %(default)s)")
    add(
        "--memory",
        type=_bytes,
        default="16g",
        metavar="SIZE",
        help="as in 512m or 16g (default: %(default)s)",
    )
    add(
        "--fit",
        action="store_true",
        help="tell the submission the time factor, so that it plans to fit and takes its preset's economies where"
        " a track needs them",
    )
    add("--no-limits", action="store_true", help="no limit on time, cores and memory")
    add(
        "--jobs",
        type=_count,
        default=1,
        metavar="N",
        help="tracks at a time, each in a session of its own with these limits; they share the machine, so"
        " only with 1, the default, do times say whether a submission would pass",
    )
    add("--runner", choices=RUNNERS, default="process", help="default: %(default)s")
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="keep estimates, logs and the result here (default: runs/…, without estimates)",
    )
    add("--json", type=Path, metavar="FILE", help="write the result here, too")
    add(
        "--metrics",
        type=_metrics,
        default=("sdr",),
        metavar="LIST",
        help=f"of {','.join(METRICS)}, separated by commas (default: sdr)",
    )
    add("--resume", action="store_true", help="go on with an interrupted run")
    add(
        "--check",
        type=Path,
        metavar="BASELINE.json",
        help="exit 1 where a score or a status is worse than in this baseline (or result) of the same data",
    )
    add(
        "--tolerance-db",
        type=_not_negative,
        default=baseline.DEFAULT_TOLERANCE_DB,
        metavar="DB",
        help="by how much a score may fall in --check (default: %(default)s)",
    )
    add("--report", action="store_true", help="also write the run as a page to look at and listen to")
    given = parser.parse_args(arguments)
    none = Limits(time_factor=None, setup_seconds=None, cpus=None, memory_bytes=None)
    return Options(
        submission=given.submission,
        data=given.data,
        preset=given.preset,
        track=given.track,
        only=given.only,
        limits=none
        if given.no_limits
        else Limits(given.time_factor, given.setup_timeout, given.cpus, given.memory),
        runner=given.runner,
        out=given.out,
        metrics=given.metrics,
        resume=given.resume,
        jobs=given.jobs,
        fit=given.fit,
        keep_estimates=given.report,
    ), Outputs(given.json, given.check, given.tolerance_db, given.report)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: expected a number above 0")
    return value


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: expected a number from 0")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number from 1")
    return value


def _bytes(text: str) -> int:
    units = {"k": 10, "m": 20, "g": 30, "t": 40}
    number, shift = (text[:-1], units[text[-1:].lower()]) if text[-1:].lower() in units else (text, 0)
    try:
        value = int(float(number) * (1 << shift))
    except (ValueError, OverflowError):
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a size such as 512m or 16g")
    return value


def _metrics(text: str) -> tuple[str, ...]:
    unknown = [name for name in text.split(",") if name not in METRICS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: unknown; there are {', '.join(METRICS)}")
    asked = {METRICS[name] for name in text.split(",")} | {"sdr"}
    return tuple(name for name in METRICS.values() if name in asked)
