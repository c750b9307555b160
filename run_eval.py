"""Evaluate a submission on local data, as the organisers would: `python run_eval.py --help`."""

import sys

SETUP_HINT = "set up the environment with `make setup`, then run `.venv/bin/python run_eval.py`"

if sys.version_info < (3, 11):  # noqa: UP036 (it may well be started by an older one)
    print(f"run_eval.py: Python 3.11 or later is needed; {SETUP_HINT}", file=sys.stderr)
    raise SystemExit(2)
try:
    from evaluator.commands.evaluate import main
except ModuleNotFoundError as missing:
    print(f"run_eval.py: the package {missing.name} is missing; {SETUP_HINT}", file=sys.stderr)
    raise SystemExit(2) from None

if __name__ == "__main__":
    sys.exit(main())
