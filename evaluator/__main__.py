"""`python -m evaluator COMMAND`: everything around evaluations except running one."""

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib import import_module

from evaluator import printable

UNUSABLE, INTERRUPTED = 2, 130

# name -> (module with add_parser(subparsers), which sets the default `run`: arguments -> exit code; help)
COMMANDS = {
    name: (f"evaluator.commands.{name}", text)
    for name, text in {
        "leaderboard": "rank the recorded runs",
        "baseline": "save a run as what later runs are checked against, or show it",
        "compare": "tell whether run B is better than run A",
        "report": "write the page of a run",
        "ablate": "show what each part of an ensemble is worth",
        "table": "score models and ensembles side by side, as the paper's tables do",
        "tune": "find an ensemble's weights on your data",
        "dataset": "build a data set from your own recordings",
        "serve": "run the quality checker: a site where people upload estimates and are ranked",
        "benchmark": "add a data set to the quality checker, list them, invite people",
        "upload": "send a folder of estimates to a quality checker",
        "submit": "check, tag and push a submission",
    }.items()
}


def main(arguments: Sequence[str] | None = None, prog: str = "python -m evaluator") -> int:
    """Parse, call, print; the exit code is the command's, 2 for input that cannot be used, or 130."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (module, text) in COMMANDS.items():
        if words[:1] == [name]:
            import_module(module).add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=text)
    given = parser.parse_args(words)
    try:
        return int(given.run(given))
    except BrokenPipeError:  # as in `… | head`
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except _expected_errors() as error:
        print(f"{parser.prog}: {printable.lines(str(error))}", file=sys.stderr)
        return UNUSABLE


def _expected_errors() -> tuple[type[Exception], ...]:
    """Those that say in their message what cannot be used; imported only once there is one, so that help is quick."""
    from evaluator.running.dataset import DataError
    from evaluator.runs.documents import ResultError
    from evaluator.runs.leaderboard import LeaderboardError
    from evaluator.service.client import UploadError
    from evaluator.service.errors import Refused, SetupError
    from evaluator.tuning.estimator import EstimatorError
    from evaluator.tuning.tune import TuneError

    ours = (LeaderboardError, ResultError, DataError, EstimatorError, TuneError)
    return *ours, UploadError, SetupError, Refused


if __name__ == "__main__":
    sys.exit(main())
