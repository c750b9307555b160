"""`python -m my_submission …`: what can be done with the submission besides submitting it."""

import argparse
import sys

from my_submission.files import cli as files_cli
from my_submission.weights import cli as weights_cli


def main(arguments: list[str] | None = None) -> int:
    """Parse, run, and return the exit code: 0 done, 1 it failed (the reason is on stderr), 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m my_submission", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    files_cli.add_command(commands)
    weights_cli.add_command(commands)
    options = parser.parse_args(arguments)
    result: int = options.run(options)
    return result


if __name__ == "__main__":
    sys.exit(main())
