"""`python -m evaluator COMMAND`: everything around evaluations except running one."""

import argparse
import logging
import sys
from collections.abc import Collection, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from evaluator import printable
from evaluator.commands import Subparsers
from sdx.described import describe
from sdx.missing import explained
from sdx.terminal import interruptible, prepare

UNUSABLE = 2

# Of each, `commands/NAME.py` has `add_parser(subparsers)`, which sets the default `run`: arguments -> exit code.
COMMANDS = {
    "leaderboard": "rank the recorded runs",
    "baseline": "save a run to check later ones against, or show it",
    "compare": "tell whether run B is better than run A",
    "report": "write the page of a run",
    "paper": "write tables and figures of runs for a paper",
    "ablate": "show what each part of an ensemble is worth",
    "table": "score models and ensembles side by side, as the paper does",
    "tune": "find an ensemble's weights on your data",
    "dataset": "build a data set from your own recordings",
    "serve": "run the quality checker, a site that ranks uploads",
    "worker": "score what the checker's queue holds, here or elsewhere",
    "benchmark": "add data to the quality checker, list it, invite people",
    "upload": "send a folder of estimates to a quality checker",
    "submit": "check, tag and push a submission",
}


@interruptible
def main(arguments: Sequence[str] | None = None, prog: str = "python -m evaluator") -> int:
    """Parse, call, print; the exit code is the command's, 2 for input that cannot be used, or 130."""
    words = prepare(arguments)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    with explained():
        add_parsers(subparsers, words[:1])
    describe(parser)
    given = parser.parse_args(words)
    try:
        return int(given.run(given))
    except FileNotFoundError:
        if _working_folder_is_there():
            raise
        print("error: the working folder was removed; go to another one", file=sys.stderr)
        return UNUSABLE
    except _expected_errors() as error:
        print(f"error: {printable.lines(str(error))}", file=sys.stderr)
        return UNUSABLE


def add_parsers(subparsers: Subparsers, names: Collection[str] = tuple(COMMANDS)) -> None:
    """Add every command; those of these names with their options, for which their modules are imported."""
    for name, text in COMMANDS.items():
        if name in names:
            import_module(f"evaluator.commands.{name}").add_parser(_Listing(subparsers, text))
        else:
            subparsers.add_parser(name, help=text)


class _Listing:
    """The subparsers for one command, which is listed among the others with what it does."""

    def __init__(self, subparsers: Subparsers, text: str) -> None:
        self._subparsers, self._text = subparsers, text

    def add_parser(self, name: str, **options: Any) -> argparse.ArgumentParser:
        return self._subparsers.add_parser(name, help=self._text, **options)


def _working_folder_is_there() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def _expected_errors() -> tuple[type[Exception], ...]:
    """Those that say in their message what cannot be used; imported only once there is one, so that help is quick."""
    from evaluator.reporting.site import SiteError
    from evaluator.running.dataset import DataError
    from evaluator.runs.documents import ResultError
    from evaluator.runs.leaderboard import LeaderboardError
    from evaluator.service.client import UploadError
    from evaluator.service.errors import Refused, SetupError
    from evaluator.tables import TableError
    from evaluator.tuning.estimator import EstimatorError
    from evaluator.tuning.tune import TuneError
    from sdx.engines.address import AddressError
    from sdx.engines.engine import EngineError

    ours = (LeaderboardError, ResultError, DataError, EstimatorError, TuneError, TableError, SiteError)
    return *ours, UploadError, SetupError, Refused, AddressError, EngineError


if __name__ == "__main__":
    sys.exit(main())
