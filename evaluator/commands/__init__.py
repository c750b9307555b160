"""The subcommands of `python -m evaluator`: each parses, calls the library and prints."""

from argparse import ArgumentParser
from typing import Any, Protocol


class Subparsers(Protocol):
    """What every command adds its parser to, as argparse's `add_subparsers` returns it."""

    def add_parser(self, name: str, **options: Any) -> ArgumentParser: ...
