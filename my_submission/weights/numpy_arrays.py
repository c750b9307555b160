"""Opens pickles that hold a network's weights as numpy arrays instead of tensors.

numpy's own functions make arrays of any stated size, so nothing of numpy runs: stand-ins keep what the file says of
an array, and one is only made where its bytes are all there.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..schema import brief
from .errors import UnsafeFile
from .limits import file_bytes
from .load import open_pickle
from .tensors import check_state

_KINDS = ("f2", "f4", "f8", "i4", "i8")


class _Kind:
    """`numpy.dtype`: a letter and a size, and the order of bytes."""

    def __init__(self, code: object = None, *_: object) -> None:
        self._code, self._order = code, "<"

    def __setstate__(self, state: Any) -> None:
        self._order = state[1]

    def dtype(self) -> np.dtype[Any]:
        """ValueError unless it is one of networks' kinds, lowest byte first."""
        if self._code not in _KINDS or self._order not in ("<", "="):
            raise ValueError(f"found values of the kind {brief(self._order)} {brief(self._code)}")
        return np.dtype(f"<{self._code}")


class _Class:
    """`numpy.ndarray`, which is only named."""


class _Array:
    """`numpy.core.multiarray._reconstruct`: an array whose content follows."""

    size = 0
    _values: np.ndarray[Any, Any] | None = None

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, columns_first, content = state
        if not (isinstance(kind, _Kind) and isinstance(content, bytes) and columns_first is False):
            raise ValueError("found an array of another kind")
        if not all(isinstance(axis, int) and axis >= 0 for axis in shape):
            raise ValueError(f"found the shape {brief(shape)}")
        dtype = kind.dtype()
        if len(content) != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"the shape {brief(shape)} does not take {len(content):,} bytes")
        self.size, self._values = len(content), np.frombuffer(content, dtype).reshape(shape)

    def tensor(self) -> Tensor | None:
        """A copy of the values: the file's own may be shared, and cannot be written. None if they did not follow."""
        return None if self._values is None else torch.from_numpy(self._values.copy())


_STAND_INS: dict[str, type] = {
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy._core.multiarray._reconstruct": _Array,
    "numpy.ndarray": _Class,
    "numpy.dtype": _Kind,
}


def open_arrays(path: Path) -> dict[str, Tensor]:
    """The named arrays of a pickle, as tensors. Raises UnsafeFile, FileNotFoundError."""
    content = open_pickle(path, _STAND_INS, holds_values=True)
    if not isinstance(content, dict):
        raise UnsafeFile(f"{path}: expected named arrays, found {type(content).__name__}")
    arrays = {name: value for name, value in content.items() if isinstance(value, _Array)}
    stated, held = sum(value.size for value in arrays.values()), file_bytes(path)
    if stated > held:
        raise UnsafeFile(f"{path}: its arrays state {stated:,} bytes, but it has {held:,}")
    state = {name: value.tensor() for name, value in arrays.items()}
    for name in content:
        if state.get(name) is None:
            raise UnsafeFile(f"{path}: {brief(name)}: expected an array of numpy, found something else")
    return check_state(path, state)
