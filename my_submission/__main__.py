"""`python -m my_submission …`: separate recordings, list models, make queries, and manage weights."""

import argparse
import sys
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from importlib import import_module
from typing import TypeAlias

from sdx.described import describe
from sdx.imports import imported_for_good
from sdx.missing import explained
from sdx.terminal import interruptible, prepare

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

# Of each command, `commands/NAME_options.py` parses, and imports nothing that takes long; `commands/NAME.py` runs.
# `ahead` of the former, if it has one, is entered before the latter is imported.
COMMANDS = {
    "separate": "separate recordings into one file per stem",
    "studio": "a page on this machine: drop songs, hear and save stems",
    "models": "list all systems: stems, size, licence, score, here or not",
    "query": "make a query, for a network that separates by example",
    "weights": "fetch, list, verify and pack checkpoints",
}


@interruptible
def main(arguments: Sequence[str] | None = None, prog: str = "python -m my_submission") -> int:
    """Parse, run, and return the exit code: 0 done, 1 failed (the reason is on stderr), 2 wrong usage."""
    words = prepare(arguments)
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    with explained():
        add_parsers(commands, words[:1])
    describe(parser)
    options = parser.parse_args(words)
    module = f"my_submission.commands.{options.command}"
    with getattr(import_module(f"{module}_options"), "ahead", nullcontext)(options):
        with explained(), imported_for_good():
            command = import_module(module)
        result: int = command.run(options)
    return result


def add_parsers(subparsers: Subparsers, names: Collection[str] = tuple(COMMANDS)) -> None:
    """Add every command; those of these names with their options, for which their modules are imported."""
    for name, text in COMMANDS.items():
        parser = subparsers.add_parser(name, help=text)
        if name in names:
            import_module(f"my_submission.commands.{name}_options").add_arguments(parser)


if __name__ == "__main__":
    sys.exit(main())
