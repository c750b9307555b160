"""Evaluate a submission on local data, as the organisers would: `python run_eval.py --help`."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 (it may well be started by an older one)
    print(
        "run_eval.py: Python 3.11 or later is needed. Where there is one, run `make eval PYTHON=python3.11`: it "
        "makes .venv with all that is needed, and .venv/bin/python runs every command from then on",
        file=sys.stderr,
    )
    raise SystemExit(2)

from sdx.missing import explained
from sdx.terminal import interruptible


@interruptible
def main() -> int:
    """Evaluate; the exit code."""
    with explained():
        from evaluator.commands import evaluate
    return evaluate.main()


if __name__ == "__main__":
    sys.exit(main())
