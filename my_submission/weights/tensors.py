"""What the tensors of a file must be to become those of a network: ordinary numbers, of which the file has each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..schema import brief
from .errors import UnsafeFile
from .limits import MOST_TENSORS

MOST_SHARING = 4
"""How often the values of a file may be used, all in all: once, unless tensors share them."""

_DTYPES = frozenset(
    (
        torch.float16, torch.bfloat16, torch.float32, torch.float64,
        torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool,
    )
)  # fmt: skip


def check_state(path: Path, state: Any) -> dict[str, Tensor]:
    """`state`, if it consists of named tensors with values, of which the file has each; else UnsafeFile."""
    if not isinstance(state, dict):
        raise UnsafeFile(f"{path}: expected a state of named tensors, found the kind {type(state).__name__}")
    for key, value in state.items():
        if not isinstance(value, Tensor):
            raise UnsafeFile(
                f"{path}: expected a state of named tensors, found {brief(key)} of the kind {type(value).__name__}"
            )
    if len(state) > MOST_TENSORS:
        raise UnsafeFile(f"{path}: has {len(state):,} tensors, expected at most {MOST_TENSORS:,}")
    for key, value in state.items():
        if not isinstance(key, str):
            raise UnsafeFile(f"{path}: expected tensors with names, found one called {brief(key)}")
        if oddity := _oddity(value):
            raise UnsafeFile(f"{path}: tensor {brief(key)}: expected numbers in memory, found {oddity}")
    stated = sum(value.numel() * value.element_size() for value in state.values())
    storages = {value.untyped_storage().data_ptr(): value.untyped_storage() for value in state.values()}
    held = sum(storage.nbytes() for storage in storages.values())
    if stated > MOST_SHARING * held:
        raise UnsafeFile(
            f"{path}: its tensors state {stated:,} bytes and share {held:,}, expected at most {MOST_SHARING} times as"
            " many"
        )
    return state


def _oddity(value: Tensor) -> str:
    """What is unusual about a tensor: anything but numbers that lie in memory, each by itself."""
    if type(value) not in (Tensor, torch.nn.Parameter) or value.is_nested:
        return f"a {type(value).__name__} of another kind"
    if value.layout != torch.strided:
        return f"a sparse tensor ({value.layout})"
    if value.device.type != "cpu":
        return f"a tensor on the device {value.device.type}"
    if value.is_quantized or value.dtype not in _DTYPES:
        return f"values of the kind {value.dtype}"
    if value.numel() == 0:
        return f"no values (shape {tuple(value.shape)})"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return (
            f"{value.numel():,} values (shape {tuple(value.shape)}) that share"
            f" {value.untyped_storage().nbytes():,} bytes"
        )
    return ""


def check_shapes(
    path: Path,
    module: torch.nn.Module,
    state: Mapping[str, Tensor],
    differences: Callable[[], str] = lambda: "",
) -> None:
    """Refuse tensors that are not those of a network, by name, shape and kind; differences: words before those."""
    own = module.state_dict()
    expected = {key: tuple(value.shape) for key, value in own.items()}
    found = {key: tuple(value.shape) for key, value in state.items()}
    if expected != found:
        key = min(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
        raise UnsafeFile(
            f"{path}: {differences()}tensor {brief(key)}: its arguments describe shape {expected.get(key, 'none')},"
            f" found {brief(found[key]) if key in found else 'none'}"
        )
    for key, value in own.items():
        if value.is_floating_point() != state[key].is_floating_point():
            raise UnsafeFile(
                f"{path}: tensor {brief(key)}: expected values of the kind {value.dtype}, found {state[key].dtype}"
            )


def check_finite(path: Path, state: Mapping[str, Tensor]) -> None:
    """Refuse NaN and infinity, also where a number becomes that in float32."""
    for key, value in state.items():
        if value.is_floating_point() and not _is_finite(value.detach()):
            raise UnsafeFile(f"{path}: tensor {brief(key)}: expected finite numbers, found NaN or infinity")


def _is_finite(values: Tensor) -> bool:
    """Almost always the sum tells, in a tenth of the time of looking at each."""
    return math.isfinite(values.sum(dtype=torch.float32)) or bool(values.float().isfinite().all())
