"""What `--help` says of every command."""

import argparse
from collections.abc import Iterator
from typing import Any

from sdx.__main__ import add_parsers


def parsers_in(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    actions: list[Any] = parser._actions
    for action in actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in dict.fromkeys(action.choices.values()):
                yield from parsers_in(inner)


def test_help_has_no_marks_of_its_formatting() -> None:
    whole = argparse.ArgumentParser(prog="sdx")
    add_parsers(whole)
    for parser in parsers_in(whole):
        assert "%%" not in parser.format_help(), parser.prog
        assert "%(" not in parser.format_help(), parser.prog
