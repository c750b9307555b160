"""The options of `models`."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Make `parser` that of `models`."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all)")
    parser.add_argument("--makes", metavar="STEM", help="only what makes this stem, such as vocals")
    parser.add_argument("--here", action="store_true", help="only those whose files are all here")
    parser.add_argument(
        "--json", action="store_true", help="print JSON, for programs, with all published scores"
    )
    parser.add_argument("--weights-dir", type=Path, metavar="DIR", help="a folder to search first")
