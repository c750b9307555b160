"""`sdx COMMAND`: separate recordings, evaluate, compare, tune, train and submit ensembles."""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from sdx import ROOT, __version__

# What has a command line of its own: name -> (module with `main(arguments, prog=…)`, help). The other commands are in
# the tables of the two packages that they belong to.
OWN = {
    "eval": ("evaluator.commands.evaluate", "evaluate a submission as the organisers would"),
    "train": ("training.__main__", "train, validate and export networks"),
}
PACKAGES = ("my_submission.__main__", "evaluator.__main__")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. Only the module of that command is imported."""
    # First, so that the kit's own packages run wherever this is started: a submission in the current folder has a
    # `my_submission`, too, and other people's packages may be called `training` or `evaluator`.
    sys.path.insert(0, str(ROOT))
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in OWN:
        return _main(OWN[words[0]][0])(words[1:], prog=f"sdx {words[0]}")
    parser = argparse.ArgumentParser(prog="sdx", description=__doc__)
    parser.add_argument("--version", action="version", version=f"sdx {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for package in PACKAGES:
        table = import_module(package).COMMANDS
        if words and words[0] in table:
            return _main(package)(words, prog="sdx")
        for name, (_, text) in table.items():
            commands.add_parser(name, help=text)
    for name, (_, text) in OWN.items():
        commands.add_parser(name, help=text)
    parser.parse_args(words)  # ends the process: with help, the version, or what is wrong
    return 2


def _main(module: str) -> Callable[..., int]:
    function: Callable[..., int] = import_module(module).main
    return function


if __name__ == "__main__":
    sys.exit(main())
