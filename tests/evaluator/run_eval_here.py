"""`run_eval.py` without a process of its own, whose start takes longer than most evaluations of the tests."""

import contextlib
import io
import signal
import subprocess
from collections.abc import Sequence

from evaluator.commands import evaluate


def run_eval_here(arguments: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """What the command with these arguments would print and return; the submission has its process all the same."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    printed, told = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(told):
            code = evaluate.main(list(arguments))
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return subprocess.CompletedProcess(list(arguments), code, printed.getvalue(), told.getvalue())
