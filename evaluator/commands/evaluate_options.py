"""The options of `run_eval.py` and `sdx eval`, in the groups in which --help lists them."""

import argparse
from dataclasses import dataclass, field
from pathlib import Path

from evaluator.commands import ci_files, converters, label_options, report
from evaluator.commands.ci_files import CiFiles
from evaluator.isolation.sandbox import Limits
from evaluator.locations import submission_folder
from evaluator.running.options import RUNNERS, UNLIMITED, Options
from evaluator.runs import baseline
from sdx.engines.options import add_engine, engine_of


@dataclass(frozen=True)
class Outputs:
    """What to do with the result besides printing it."""

    json: Path | None
    check: Path | None
    tolerance_db: float
    report: bool
    audio: str | None = None  # of the report; None is what fits
    ci: CiFiles = field(default_factory=CiFiles)
    board: tuple[str, str] | None = None  # a quality checker's address, and the name of its benchmark


def parse(arguments: list[str] | None, prog: str) -> tuple[Options, Outputs, Path | None]:
    """What to evaluate and how, what to do with the result, and the folder of submissions, if there are several."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Run a submission on local data under the organisers' limits, and score it as they do. Or score"
        " estimates that are there already (--predictions).",
        epilog="Exit codes: 0 every track scored; 1 some track failed, or --check found a regression; "
        "2 wrong usage or unusable data.",
    )
    add_arguments(parser)
    given = parser.parse_args(arguments)
    _check(parser, given)
    return _options(parser, given), _outputs(given), given.submissions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All options, in their groups."""
    _add_subject(parser)
    _add_limits(parser)
    _add_course(parser)
    _add_outputs(parser)
    ci_files.add(parser)
    label_options.add(parser)


def _check(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    """What does not go together is wrong usage, before anything is read."""
    if given.submissions is not None and given.json is not None:
        parser.error("--json: with --submissions, each result is in OUT/SUBMISSION/result.json")
    if given.submissions is not None and ci_files.of(given):
        parser.error("--junit, --summary and --badge: are of one run, and do not go with --submissions")
    if given.audio is not None and not given.report:
        parser.error("--audio: chooses what can be heard on the page; give --report, too")
    if given.send_estimates and given.engine is None:
        parser.error("--send-estimates: goes with --engine")
    if (given.server is None) != (given.benchmark is None):
        parser.error("--server and --benchmark: expected both, or neither")
    if given.server is not None and given.submissions is None:
        parser.error("--server: needs --submissions; `upload` sends the estimates of one run")


def _options(parser: argparse.ArgumentParser, given: argparse.Namespace) -> Options:
    return Options(
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
        engine=engine_of(parser, given),
        send_estimates=given.send_estimates,
        predictions=given.predictions,
        label=label_options.label_of(parser, given),
        skip_bad=given.skip_bad,
    )


def _outputs(given: argparse.Namespace) -> Outputs:
    return Outputs(
        given.json,
        given.check,
        given.tolerance_db,
        given.report,
        given.audio,
        ci_files.of(given),
        None if given.server is None else (given.server, given.benchmark),
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
    add(
        "--server",
        metavar="URL",
        help="with --submissions: send the estimates of each that has a score to this quality checker, as a public"
        " entry of a team of its folder's name; needs an organiser's token in SDX_SERVICE_TOKEN",
    )
    add("--benchmark", metavar="NAME", help="of --server, with the same data as --data")
    add("--preset", metavar="NAME-OR-FILE", help="ensemble to use (default: the one in user_config.py)")
    converters.add_challenge_or_stems(
        parser, default="what the submission makes, or the files are of, else that of the data"
    )
    add("--only", metavar="GLOB", help="evaluate the tracks whose name matches")
    converters.add_skip_bad(parser)


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
        help="tell the submission the time factor, so that it can plan, print its forecast, and use its preset's"
        " savings where a track would be late",
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
    add_engine(parser, "do the tracks, one each at a time")
    add(
        "--send-estimates",
        action="store_true",
        help="with --engine: have workers that do not share the folder --out send their estimates, which are large",
    )
    add("--runner", choices=RUNNERS, default="process", help="default: %(default)s")
    add(
        "--metrics",
        type=converters.metrics,
        default=("sdr",),
        metavar="LIST",
        help=f"one or several of {', '.join(converters.METRICS)}, separated by commas (default: sdr); of all, higher "
        "is better",
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
    report.add_audio(parser)
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
