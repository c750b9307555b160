"""`python -m evaluator COMMAND`: everything around evaluations except running one."""

import argparse
import logging
import sys
from collections.abc import Sequence

from evaluator.commands import ablate, baseline, compare, dataset, leaderboard, report, submit, tune
from evaluator.running.dataset import DataError
from evaluator.runs.documents import ResultError
from evaluator.runs.leaderboard import LeaderboardError
from evaluator.tuning.estimator import EstimatorError
from evaluator.tuning.tune import TuneError

UNUSABLE, INTERRUPTED = 2, 130

# Each has add_parser(subparsers), which sets the default `run`: arguments -> exit code.
COMMANDS = (leaderboard, baseline, compare, report, ablate, tune, dataset, submit)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, call, print; the exit code is the command's, 2 for input that cannot be used, or 130."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    parser = argparse.ArgumentParser(prog="python -m evaluator", description=__doc__)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(subparsers)
    given = parser.parse_args(arguments)
    try:
        return int(given.run(given))
    except BrokenPipeError:  # as in `… | head`
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (LeaderboardError, ResultError, DataError, EstimatorError, TuneError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return UNUSABLE


if __name__ == "__main__":
    sys.exit(main())
