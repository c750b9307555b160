"""A signal on disk in place of memory, so that a recording's length does not matter."""

import tempfile
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from my_submission.files.errors import OutputFailed
from my_submission.signal.chunking import reader

_BYTES = 4  # of a float32


class SpooledSignal:
    """A (channels, samples) float32 signal in a temporary file without a name: nothing is left when the process ends.

    folder: on whose disk it lies. Raises OutputFailed where that cannot be written.
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
        self._file.seek(first * self.channels * _BYTES)
        data = bytearray(self._file.read((last - first) * self.channels * _BYTES))
        held = torch.frombuffer(data, dtype=torch.float32).reshape(-1, self.channels).T
        return reader(held)(start - first, length)

    def _failure(self, error: OSError) -> OutputFailed:
        return OutputFailed(
            f"{self._folder}: temporary data of the separation cannot be written there: {error.strerror}; "
            f"choose an output folder on a disk with room"
        )
