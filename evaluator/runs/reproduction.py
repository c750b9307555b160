"""How to repeat a run, from its result."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluator.isolation.sandbox import Limits
from evaluator.locations import REPOSITORY, command
from evaluator.reporting import text_table
from evaluator.runs import results

OPTIONS = {
    "time_factor": "--time-factor",
    "setup_seconds": "--setup-timeout",
    "cpus": "--cpus",
    "memory_bytes": "--memory",
}


def commands(result: Mapping[str, Any]) -> list[str]:
    """Shell commands that run the same code on the same data under the same limits; # begins what to heed."""
    submission, data = result["submission"], result["data"]
    lines = []
    elsewhere = Path(submission["path"]) != REPOSITORY
    if submission["commit"] is not None:
        where = f"git -C {shlex.quote(submission['path'])}" if elsewhere else "git"
        lines.append(f"{where} checkout {submission['commit']}")
    if submission["commit"] is None or submission["dirty"]:
        lines.append(f"# not committed as it ran: my_submission/ had SHA-256 {submission['files_sha256']}")
    arguments = [*command("eval").split(), "--data", data["path"]]
    if elsewhere:
        arguments += ["--submission", submission["path"]]
    if submission["requested_preset"] is not None:
        arguments += ["--preset", submission["requested_preset"]]
    if submission.get("requested_time_factor") is not None:
        arguments += ["--fit"]
    if result["runner"] != "process":
        arguments += ["--runner", result["runner"]]
    arguments += _limits(result["limits"])
    if (
        metrics := [
            name.removesuffix("_sdr") if name == "bss_eval_sdr" else name for name in result["metrics"]
        ]
    ) != ["sdr"]:
        arguments += ["--metrics", ",".join(metrics)]
    if results.jobs_of(result) > 1:
        arguments += ["--jobs", str(result["jobs"])]
    if (only := _only(result)) is not None:
        arguments += ["--only", only]
    lines.append(shlex.join(arguments))
    lines.append(f"# the data: {text_table.count(data['number'], 'track')} with hash {data['hash']}")
    return lines


def _only(result: Mapping[str, Any]) -> str | None:
    """The pattern of --only; of a single track its name, where the pattern was not recorded yet."""
    data = result["data"]
    only = data.get("only")
    if "only" not in data and data["number"] == 1:
        only = result["tracks"][0]["name"]
    return None if only is None else str(only)


def _limits(limits: Mapping[str, Any]) -> list[str]:
    if all(limits[name] is None for name in OPTIONS):
        return ["--no-limits"]
    usual = Limits()
    different = {name: limits[name] for name in OPTIONS if limits[name] != getattr(usual, name)}
    return [
        text
        for name, value in different.items()
        if value is not None
        for text in (OPTIONS[name], f"{value:g}" if isinstance(value, float) else str(value))
    ]
