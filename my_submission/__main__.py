"""`python -m my_submission …`: separate recordings, list models, make queries, and manage weights."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

# name -> (module with add_arguments(parser), which sets the default `run`: arguments -> exit code; help)
COMMANDS = {
    "separate": ("my_submission.commands.separate", "separate recordings into one file per stem"),
    "models": (
        "my_submission.commands.models",
        "list all systems: stems, size, licence, score, here or not",
    ),
    "query": (
        "my_submission.commands.query",
        "make a query of recordings, for a network that separates by query",
    ),
    "weights": ("my_submission.commands.weights", "fetch, list, verify and pack checkpoints"),
}


def main(arguments: Sequence[str] | None = None, prog: str = "python -m my_submission") -> int:
    """Parse, run, and return the exit code: 0 done, 1 failed (the reason is on stderr), 2 wrong usage."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (module, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        if words[:1] == [name]:
            import_module(module).add_arguments(command)
    options = parser.parse_args(words)
    try:
        result: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # as in `… | head`
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # else Python flushes once more at its end
        return 0
    return result


if __name__ == "__main__":
    sys.exit(main())
