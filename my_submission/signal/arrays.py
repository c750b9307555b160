"""Arrays for the stems of a track: in memory, or in a file of no name where memory would not hold them."""

import logging
import math
import shutil
import tempfile
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from my_submission.runtime.memory import available_bytes

log = logging.getLogger(__name__)

_SHARE_OF_THE_FREE = 0.5
"""What results may take of the memory that is left; the rest is for what is computed meanwhile."""


def result_arrays(names: Collection[str], shape: Sequence[int]) -> dict[str, npt.NDArray[np.float32]]:
    """An array of zeros, float32, for each name.

    Where they would take more than half of the free memory they are `numpy.memmap`s of files in the system's folder
    for temporary files, which are gone with the arrays. Raises MemoryError if there is no room for those either.
    """
    wanted = 4 * len(names) * math.prod(shape)
    free = available_bytes()
    if free is None or wanted <= _SHARE_OF_THE_FREE * free:
        return {name: np.zeros(shape, np.float32) for name in names}
    folder = tempfile.gettempdir()
    room = shutil.disk_usage(folder).free
    if wanted > room:
        raise MemoryError(
            f"the stems take {wanted / 2**30:.1f} GiB: expected twice as much free memory or as much room in "
            f"{folder}, found {free / 2**30:.1f} and {room / 2**30:.1f} GiB; set TMPDIR to a folder with more room"
        )
    log.info("%.1f GiB of stems are kept in files in %s, not in memory", wanted / 2**30, folder)
    return {name: _mapped(shape) for name in names}


def _mapped(shape: Sequence[int]) -> npt.NDArray[np.float32]:
    """The map outlives the open file; the file has no name from the start."""
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.float32, "w+", shape=tuple(shape))
