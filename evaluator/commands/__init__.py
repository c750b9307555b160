"""The subcommands of `python -m evaluator`: each parses, calls the library and prints."""

from argparse import ArgumentParser, _SubParsersAction
from typing import TypeAlias

Subparsers: TypeAlias = "_SubParsersAction[ArgumentParser]"
