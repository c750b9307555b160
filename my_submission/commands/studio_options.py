"""The options of `studio`."""

import argparse
from pathlib import Path

from my_submission.commands.separate_options import positive
from my_submission.files.formats import FORMATS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Make `parser` that of `studio`."""
    parser.description = (
        "A page on this machine: drop a song, watch it being separated, solo and mute its stems, save them. It "
        "answers to nobody else. Songs and stems are deleted when it ends, with Ctrl-C."
    )
    parser.add_argument("--port", type=_port, default=0, metavar="N", help="default: any that is free")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="DIR",
        help="keep all stems there, in a folder for each song, when it ends",
    )
    parser.add_argument(
        "--preset", metavar="NAME", help="a preset or its YAML file (default: as for `separate`)"
    )
    parser.add_argument(
        "--stems",
        type=lambda text: tuple(text.split(",")),
        default=(),
        metavar="A,B,…",
        help="as for `separate`",
    )
    parser.add_argument(
        "--format", choices=list(FORMATS), default="wav", help="of what is saved (default: wav)"
    )
    parser.add_argument("--bitrate", type=positive, metavar="KBPS", help="as for `separate`")
    parser.add_argument("--device", default="auto", help="auto (the default), cpu, cuda or cuda:N")
    parser.add_argument(
        "--weights-dir", type=Path, metavar="DIR", help="a folder to search for weights first"
    )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"expected a port, 0 to 65535, found {text!r}")
    return int(text)
