"""Weights that a worker of an engine lacks: fetched once for its machine, since one process at a time fetches a file.

Only for the kit's own submission and presets: nothing of anybody else's runs outside of the sandbox, which has no
network. `SDX_DOWNLOAD=0` in a worker's environment forbids it. Terms that have to be accepted are refused.
"""

import os
import subprocess
import sys
from pathlib import Path

from evaluator import printable
from evaluator.isolation.sandbox import Outcome
from evaluator.locations import REPOSITORY

DOWNLOAD_VARIABLE = "SDX_DOWNLOAD"  # what my_submission.weights.required reads
ADVICE = "weights fetch"  # the command that a submission of ours names where its weights are missing


def allow_download() -> None:
    """What models lack is fetched from now on by this process and its children, unless its environment forbids it."""
    os.environ.setdefault(DOWNLOAD_VARIABLE, "1")


def lacks_weights(submission: Path, outcome: Outcome) -> bool:
    """Whether a submission could not be constructed for want of weights that may be fetched here."""
    is_ours = submission.resolve() == REPOSITORY and os.environ.get(DOWNLOAD_VARIABLE) != "0"
    return is_ours and (ADVICE in (outcome.reason or "") or ADVICE in outcome.log)


def fetch(preset: str | None) -> str | None:
    """Fetch and verify what a preset needs, by default the submitted one; why that failed, if it did."""
    command = [sys.executable, "-m", "my_submission", "weights", "fetch", *([preset] if preset else [])]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return None
    return printable.plain(" ".join(done.stderr.split())) or f"exit code {done.returncode}"
