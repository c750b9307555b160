"""The options of `query`: without torch, so that `--help` comes at once."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Make `parser` that of `query`."""
    parser.description = (
        "Make a query of recordings of one source, which a zero-shot network then looks for: the mean over "
        "recordings of the mean over their segments of two seconds, without silent ones."
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="recordings of the source alone: files, folders (for all audio and video in them) and patterns",
    )
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        metavar="FILE",
        help="the encoder HTS-AT: htsat_audioset_2048d.ckpt, or a separator's file that holds it, too",
    )
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="ends in .safetensors")
    parser.add_argument("--device", default="auto", help="auto (the default), cpu, cuda or cuda:N")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing query")
