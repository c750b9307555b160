"""What the shapes of a file's tensors tell of its network: so `load.build` can say where its manifest row differs."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

State = Mapping[str, Tensor]


def size(state: State, name: str, axis: int) -> int | None:
    """Of a tensor along an axis; None without such a tensor or axis."""
    shape = state[name].shape if name in state else ()
    return shape[axis] if axis < len(shape) else None


def count(state: State, prefix: str) -> int | None:
    """How many numbers follow a prefix in names: 2 for "layers." in `layers.0.bias`, `layers.1.bias`; None for 0."""
    following = (name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix))
    return len({number for number in following if number.isdecimal()}) or None


def told(**values: Any) -> dict[str, Any]:
    """Those that are known: neither None nor a tuple with None in it."""
    return {
        name: value
        for name, value in values.items()
        if value is not None and not (isinstance(value, tuple) and None in value)
    }
