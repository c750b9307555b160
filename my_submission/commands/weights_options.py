"""The options of `weights fetch|list|verify|pack`."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Make `parser` that of `weights` with its four actions."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="fetch|list|verify|pack")
    names = "presets (by name or YAML file), manifest files, bags or checkpoints (default: "
    for action, default, text in (
        ("fetch", "the submitted preset", "download what is missing, and verify it"),
        ("list", "all presets", "show what is here, where it is from, and whether it is verified"),
        ("verify", "all presets", "hash the files again; wrong ones are moved aside"),
    ):
        action_parser = actions.add_parser(action, help=text)
        action_parser.add_argument("names", nargs="*", metavar="NAME", help=f"{names}{default})")
        _add_weights_dir(action_parser)
        if action == "fetch":
            action_parser.add_argument(
                "--accept-licence",
                action="store_true",
                help="accept the terms of files whose licence is not stated, non-commercial, or not known here",
            )
        if action == "list":
            action_parser.add_argument("--submitted", action="store_true", help="only the submitted preset")
            action_parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    pack_parser = actions.add_parser(
        "pack", help="copy what a preset needs into DIR/weights, for a machine without internet"
    )
    pack_parser.add_argument("dir", type=Path, metavar="DIR", help="the submission's repository")
    pack_parser.add_argument("--preset", metavar="NAME", help="default: the submitted preset")
    _add_weights_dir(pack_parser)


def _add_weights_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights-dir", type=Path, metavar="DIR", help="a folder to search first")
