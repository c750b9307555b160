"""Values of options that several benchmarks have, looked at before anything is computed for minutes."""

import argparse
import math
from pathlib import Path

from my_submission.runtime.devices import resolve_device
from my_submission.runtime.precisions import NAMES
from my_submission.signal.audio import MODEL_SAMPLE_RATE

PRECISIONS = ("auto", *NAMES)


def device(text: str) -> str:
    """A device that there is."""
    try:
        resolve_device(text)
    except (RuntimeError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def seconds(text: str) -> float:
    """A length of audio that has samples."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 1 <= found * MODEL_SAMPLE_RATE < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of seconds, for example 12, found {text!r}")
    return found


def overlap(text: str) -> float:
    """A fraction of a chunk, less than all of it."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < 1:
        raise argparse.ArgumentTypeError(f"expected a fraction, 0 or more and below 1, found {text!r}")
    return found


def file(text: str) -> Path:
    """Where a file can be written."""
    path = Path(text)
    if path.is_dir() or not path.resolve().parent.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file in a folder that exists, found {text!r}")
    return path
