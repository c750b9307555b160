"""Signals on disk instead of in memory, in files without a name: nothing is left when the process ends."""

import logging
import math
import shutil
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from my_submission.signal.chunking import reader

log = logging.getLogger(__name__)

_SHARE_OF_THE_FREE = 0.5
"""How much of the free memory results may take; the rest is for computing them."""
_SAMPLE_BYTES = 4  # of a float32


def result_arrays(
    names: Collection[str], shape: Sequence[int], free_bytes: int | None
) -> dict[str, npt.NDArray[np.float32]]:
    """An array of zeros, float32, for each name.

    free_bytes: the free memory, if known.
    Arrays that would take more than half of it are `numpy.memmap`s of files in the system's temporary folder, which
    vanish with the arrays. Raises MemoryError if there is no room for those either.
    """
    wanted = _SAMPLE_BYTES * len(names) * math.prod(shape)
    if free_bytes is None or wanted <= _SHARE_OF_THE_FREE * free_bytes:
        return {name: np.zeros(shape, np.float32) for name in names}
    folder = tempfile.gettempdir()
    room = shutil.disk_usage(folder).free
    if wanted > room:
        raise MemoryError(
            f"the stems take {wanted / 2**30:.1f} GiB: expected twice as much free memory or as much room in "
            f"{folder}, found {free_bytes / 2**30:.1f} and {room / 2**30:.1f} GiB; set TMPDIR to a folder with more "
            f"room"
        )
    log.info("keeping %.1f GiB of stems in files in %s, not in memory", wanted / 2**30, folder)
    return {name: _mapped(shape) for name in names}


def _mapped(shape: Sequence[int]) -> npt.NDArray[np.float32]:
    """A map of a file that never has a name; the map outlives the open file."""
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.float32, "w+", shape=tuple(shape))


class SpoolFailed(OSError):  # noqa: N818, the name says it
    """A signal could not be written to its file."""


class SpooledSignal:
    """A (channels, samples) float32 signal in a temporary file without a name: nothing is left when the process ends.

    folder: on the disk to use. Raises SpoolFailed if it cannot be written.
    """

    def __init__(self, channels: int, folder: Path) -> None:
        self.channels = channels
        self.samples = 0
        self._folder = folder
        try:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115, closed by __exit__
        except OSError as error:
            raise self._failure(error) from error

    def __enter__(self) -> "SpooledSignal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, block: Tensor) -> None:
        """Add (channels, any length) float32 at the end."""
        try:
            self._file.seek(0, 2)
            self._file.write(np.ascontiguousarray(block.T.numpy()).tobytes())
            self._file.flush()
        except OSError as error:
            raise self._failure(error) from error
        self.samples += block.shape[-1]

    def read(self, start: int, length: int) -> Tensor:
        """(channels, length) from `start`; zeros outside the signal: a `chunking.Reader`."""
        first, last = max(0, start), min(self.samples, start + length)
        if last <= first:
            return torch.zeros(self.channels, length)
        self._file.seek(first * self.channels * _SAMPLE_BYTES)
        data = bytearray(self._file.read((last - first) * self.channels * _SAMPLE_BYTES))
        held = torch.frombuffer(data, dtype=torch.float32).reshape(-1, self.channels).T
        return reader(held)(start - first, length)

    def _failure(self, error: OSError) -> SpoolFailed:
        return SpoolFailed(
            f"{self._folder}: cannot write the separation's temporary data there: {error.strerror}; "
            f"choose an output folder on a disk with room"
        )
