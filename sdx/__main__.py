"""`sdx COMMAND`: separate recordings, evaluate, compare, tune, train and submit ensembles."""

import argparse
import difflib
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

from sdx import ROOT, __version__
from sdx.missing import explained
from sdx.terminal import interruptible, prepare

# What has a command line of its own: name -> (module with `main(arguments, prog=…)`, module with
# `add_arguments(parser)`, help). The other commands are in the tables of the two packages that they belong to.
OWN = {
    "eval": (
        "evaluator.commands.evaluate",
        "evaluator.commands.evaluate_options",
        "evaluate a submission as the organisers would",
    ),
    "train": ("training.__main__", "training.__main__", "train, validate and export networks"),
    "completion": (
        "sdx.completion",
        "sdx.completion",
        "print what makes bash, zsh or fish complete commands",
    ),
}
PACKAGES = ("my_submission.__main__", "evaluator.__main__")

# In the order in which people need them.
GROUPS = {
    "Separate": ("separate", "studio", "models", "weights", "query"),
    "Evaluate": ("eval", "report", "leaderboard", "compare", "baseline", "submit"),
    "Improve": ("tune", "ablate", "table", "paper", "train", "dataset"),
    "Benchmark": ("serve", "worker", "benchmark", "upload"),
    "Shell": ("completion",),
}


@interruptible
def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. Only the module of that command is imported."""
    # First, so that the kit's own packages run wherever this is started: a submission in the current folder has a
    # `my_submission`, too, and other people's packages may be called `training` or `evaluator`.
    sys.path.insert(0, str(ROOT))
    words = prepare(arguments)
    if words[:1] == ["help"] and len(words) > 1:
        words = [*words[1:], "--help"]
    first = words[0] if words else "help"
    if first in OWN:
        return _main(OWN[first][0])(words[1:], prog=f"sdx {first}")
    for package in PACKAGES:
        if first in import_module(package).COMMANDS:
            return _main(package)(words, prog="sdx")
    if first in ("help", "-h", "--help"):
        print("\n".join(overview()))
        return 0
    if first == "--version":
        print(f"sdx {__version__}")
        return 0
    print(_unknown(first), file=sys.stderr)
    return 2


def commands() -> dict[str, str]:
    """Every command, and what it does."""
    found = {name: text for name, (_, _, text) in OWN.items()}
    for package in PACKAGES:
        found |= import_module(package).COMMANDS
    return found


def overview() -> Iterator[str]:
    """What there is, on one screen of 80 columns and 24 lines."""
    texts = commands()
    yield "usage: sdx COMMAND …     `sdx COMMAND --help` says more; or sdx --version"
    for group, names in GROUPS.items():
        for label, name in zip([group, *[""] * len(names)], names, strict=False):
            yield f"{label:10}{name:12}{texts[name]}"


def add_parsers(parser: argparse.ArgumentParser) -> None:
    """Make `parser` that of `sdx` as a whole, with every command and its options: for what completes them."""
    actions: Any = parser.add_subparsers(metavar="COMMAND")
    for name, (_, options, text) in OWN.items():
        import_module(options).add_arguments(actions.add_parser(name, help=text))
    for package in PACKAGES:
        import_module(package).add_parsers(actions)


def _unknown(word: str) -> str:
    close = difflib.get_close_matches(word, commands(), 1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return f"error: there is no command {word!r}.{hint} `sdx` lists them all."


def _main(module: str) -> Callable[..., int]:
    with explained():
        function: Callable[..., int] = import_module(module).main
    return function


if __name__ == "__main__":
    sys.exit(main())
