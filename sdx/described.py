"""What `--help` and completion say of the commands below a command."""

import argparse
from collections.abc import Iterator


def commands_below(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """(the line that lists it, its parser) of every command below a parser, and of every one below those."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for listed in action._choices_actions:
                command = action.choices[listed.dest]
                yield listed.help or "", command
                yield from commands_below(command)


def describe(parser: argparse.ArgumentParser) -> None:
    """Have the help of a command without a description begin with the line that lists it, as a sentence."""
    for line, command in commands_below(parser):
        command.description = command.description or f"{line[:1].upper()}{line[1:]}."
