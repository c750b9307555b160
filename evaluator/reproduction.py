"""How to repeat a run, from its result."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluator import text_table
from evaluator.sandbox import REPOSITORY, Limits

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
    arguments = ["python", "run_eval.py", "--data", data["path"]]
    if elsewhere:
        arguments += ["--submission", submission["path"]]
    if submission["requested_preset"] is not None:
        arguments += ["--preset", submission["requested_preset"]]
    if result["runner"] != "process":
        arguments += ["--runner", result["runner"]]
    arguments += _limits(result["limits"])
    if (
        metrics := [
            name.removesuffix("_sdr") if name == "bss_eval_sdr" else name for name in result["metrics"]
        ]
    ) != ["sdr"]:
        arguments += ["--metrics", ",".join(metrics)]
    if data["number"] == 1:
        arguments += ["--only", result["tracks"][0]["name"]]
    lines.append(shlex.join(arguments))
    lines.append(f"# the data: {text_table.count(data['number'], 'track')} with hash {data['hash']}")
    return lines


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
