"""How to repeat a run, from its result."""

import shlex
from pathlib import Path

from evaluator import text_table
from evaluator.challenge import CHALLENGES, of_name
from evaluator.isolation.sandbox import Limits
from evaluator.locations import REPOSITORY, command
from evaluator.measures.catalogue import MEASURES
from evaluator.runs.records import Plan
from evaluator.runs.results import Result

OPTIONS = {
    "time_factor": "--time-factor",
    "setup_seconds": "--setup-timeout",
    "cpus": "--cpus",
    "memory_bytes": "--memory",
}


def commands(result: Result) -> list[str]:
    """Shell commands that run the same code on the same data under the same limits; notes begin with #."""
    plan, submission, data = result.plan, result.plan.submission, result.plan.data
    if submission is None:
        return _of_estimates(plan)
    lines = []
    elsewhere = Path(submission.path) != REPOSITORY
    if submission.commit is not None:
        where = f"git -C {shlex.quote(submission.path)}" if elsewhere else "git"
        lines.append(f"{where} checkout {submission.commit}")
    if submission.commit is None or submission.dirty:
        lines.append(f"# not committed as it ran: my_submission/ had SHA-256 {submission.files_sha256}")
    arguments = [*command("eval").split(), "--data", data.path]
    if elsewhere:
        arguments += ["--submission", submission.path]
    if submission.requested_preset is not None:
        arguments += ["--preset", submission.requested_preset]
    if plan.challenge not in CHALLENGES:
        arguments += of_name(plan.challenge).option.split()
    if submission.requested_time_factor is not None:
        arguments += ["--fit"]
    if plan.runner != "process":
        arguments += ["--runner", plan.runner]
    arguments += _limits(plan.limits)
    if plan.jobs > 1:
        arguments += ["--jobs", str(plan.jobs)]
    return [*lines, *_scoring(plan, arguments)]


def _of_estimates(plan: Plan) -> list[str]:
    """The commands for estimates that were given."""
    assert plan.predictions is not None
    arguments = [*command("eval").split(), "--data", plan.data.path, "--predictions", plan.predictions.path]
    arguments += of_name(plan.challenge).option.split()
    return [*_scoring(plan, arguments), f"# the estimates had SHA-256 {plan.predictions.files_sha256}"]


def _scoring(plan: Plan, arguments: list[str]) -> list[str]:
    """The command with what is scored, and a note on the data."""
    if plan.metrics != ("sdr",):
        arguments = [*arguments, "--metrics", ",".join(MEASURES[name].option for name in plan.metrics)]
    if plan.data.only is not None:
        arguments = [*arguments, "--only", plan.data.only]
    if plan.data.left_out:
        arguments = [*arguments, "--skip-bad"]
    tracks = text_table.count(plan.data.number, "track")
    return [shlex.join(arguments), f"# the data: {tracks} with hash {plan.data.hash}"]


def _limits(limits: Limits) -> list[str]:
    """The options for limits that are not the usual ones."""
    given = {option: getattr(limits, name) for name, option in OPTIONS.items()}
    if set(given.values()) == {None}:
        return ["--no-limits"]
    usual = {option: getattr(Limits(), name) for name, option in OPTIONS.items()}
    return [
        text
        for option, value in given.items()
        if value is not None and value != usual[option]
        for text in (option, f"{value:g}" if isinstance(value, float) else str(value))
    ]
