"""Imports of much at once."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def has_torch() -> bool:
    """Whether this process has imported what takes longest."""
    return "torch" in sys.modules


@contextmanager
def imported_for_good() -> Iterator[None]:
    """What a process first imports in the block stays until its end: no garbage is looked for in it, then or later.

    Of PyTorch's imports, that saves a tenth of the time. A process that already has it is left as it is.
    """
    if has_torch() or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
