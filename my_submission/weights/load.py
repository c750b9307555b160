"""Opens checkpoints as the untrusted input that they are. This has the only torch.load of my_submission.

A `.th`, `.ckpt` or `.pt` file is a pickle, so torch's weights-only unpickler opens it, which runs nothing that is not
on an allow-list. A `.safetensors` file holds tensors and text. An architecture takes what it needs from either;
`build` checks the tensors against the shapes of the network before any of the network's memory is allocated.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .errors import UnsafeFile, WeightsError

Network = TypeVar("Network", bound=torch.nn.Module)

PICKLES = (".th", ".pt", ".pth", ".ckpt", ".chpt")
WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "ema_state_dict",
    "ema",
    "model",
    "state",
)  # of the weights in a pickle
PREFIXES = ("module.", "model.", "ema_model.", "_orig_mod.")  # of every name, left by training frameworks


class _Unread:
    """Stands in for a value that nothing reads: a numpy number among the training arguments or metrics."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


# What released checkpoints name besides tensors and plain containers. htdemucs was seen to hold
# Fraction (its segment), numpy.core.multiarray.scalar and numpy.dtype (numbers among the
# metrics): Anjok07/ultimatevocalremovergui#2377 and the reports it answers, #1729 and #1868.
# numpy 2 writes the scalar's module as numpy._core.
ALLOWED_GLOBALS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    Fraction,
    *(
        (_Unread, name)
        for name in ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype")
    ),
]

# What the weights-only unpickler raises for a file that is not a checkpoint, cut short, or hostile.
_UNPICKLING_ERRORS = (
    pickle.UnpicklingError, RuntimeError, EOFError, LookupError, TypeError, ValueError, AttributeError,
    ArithmeticError, AssertionError, struct.error,
)  # fmt: skip


def open_pickle(path: Path, stand_ins: Mapping[str, type] | None = None) -> Any:
    """What a pickle holds: tensors, plain containers, numbers and text; tensors on the CPU.

    stand_ins: dotted names of classes that the file may mention -> what to construct instead of them.
    Raises UnsafeFile for anything else, without running any of it; FileNotFoundError.
    """
    allowed = [*ALLOWED_GLOBALS, *((stand_in, name) for name, stand_in in (stand_ins or {}).items())]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except _UNPICKLING_ERRORS as error:
        raise UnsafeFile(
            f"{path}: refused: it is not a checkpoint, is damaged, or asks for code to be run."
            f" No code of it was run. torch says: {first_sentence(error)}"
        ) from error


def open_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a `.safetensors` file. Raises UnsafeFile, FileNotFoundError."""
    try:
        with safe_open(str(path), framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, no mapping
            return state, file.metadata() or {}
    except SafetensorError as error:
        raise UnsafeFile(f"{path}: not a safetensors file, or damaged: {first_sentence(error)}") from error


def open_tensors(path: Path, inside: Iterable[str] = ()) -> dict[str, Tensor]:
    """The named tensors of a `.safetensors` file or a pickle.

    inside: the keys under which a pickle may keep them (state_dict, …), tried in order; without any, they are all of
        its content.
    Raises UnsafeFile, WeightsError for another suffix, FileNotFoundError.
    """
    if path.suffix == ".safetensors":
        return open_safetensors(path)[0]
    if path.suffix not in PICKLES:
        raise WeightsError(f"{path}: expected a file that ends in .safetensors or {', '.join(PICKLES)}")
    content = open_pickle(path)
    for key in inside:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    return check_state(path, content)


def open_network_state(path: Path, dropped: Callable[[str], bool] = lambda name: False) -> dict[str, Tensor]:
    """The weights of a network published with a training framework: unwrapped, without prefixes, in float32.

    dropped: whether a name belongs to something else than the network (a loss, a metric), or is computed anyway.
    Raises as `open_tensors`.
    """
    state = open_tensors(path, inside=WRAPPERS)
    while state and (prefix := next((each for each in PREFIXES if _all_begin(state, each, dropped)), None)):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    kept = {name: value for name, value in state.items() if not dropped(name)}
    return {name: value.float() if value.is_floating_point() else value for name, value in kept.items()}


def _all_begin(state: Mapping[str, Tensor], prefix: str, dropped: Callable[[str], bool]) -> bool:
    return all(name.startswith(prefix) or dropped(name) for name in state)


def check_state(path: Path, state: Any) -> dict[str, Tensor]:
    """`state`, if it consists of named tensors; else UnsafeFile."""
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UnsafeFile(f"{path}: expected a state of named tensors (a quantised checkpoint?)")
    return state


def build(
    path: Path,
    make: Callable[[], Network],
    state: Mapping[str, Tensor],
    said: Mapping[str, Any] = MappingProxyType({}),
    seen: Callable[[Mapping[str, Tensor]], Mapping[str, Any]] = lambda state: {},
) -> Network:
    """The network that `make` constructs, with the tensors of `path`: on the CPU, its own dtypes, evaluation mode.

    It is first constructed on torch's meta device, which allocates nothing, draws no random numbers, and is fast. If
    it has tensors that no state dict holds, such as windows, it is constructed again on the CPU.
    said: the network in terms of its manifest row; seen: what the tensors of `path` tell of it, in the same terms.
    Raises UnsafeFile if the tensors are not those of the network: the error names the terms in which they differ.
    """
    try:
        with torch.device("meta"):
            module = make()
    except (RuntimeError, TypeError, ValueError, LookupError, ArithmeticError, AssertionError) as error:
        raise UnsafeFile(f"{path}: the network refuses its arguments: {first_sentence(error)}") from error
    expected = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in state.items()}
    if expected != found:
        key = min(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
        raise UnsafeFile(
            f"{path}: {_differences(said, seen(state))}tensor {key!r}: its arguments describe shape"
            f" {expected.get(key, 'none')}, found {found.get(key, 'none')}"
        )
    if _holds_more_than(module, expected):
        with torch.random.fork_rng(devices=()):
            module = make()
    else:
        module = module.to_empty(device="cpu")
    module.load_state_dict(dict(state))
    return module.requires_grad_(False).eval()


def _differences(said: Mapping[str, Any], seen: Mapping[str, Any]) -> str:
    """`the manifest row says depth 12, dim 256; the file has 6, 384; `, or nothing."""
    differing = [key for key in said if key in seen and said[key] != seen[key]]
    if not differing:
        return ""
    expected = ", ".join(f"{key} {said[key]!s:.60}" for key in differing)
    found = ", ".join(f"{seen[key]!s:.60}" for key in differing)
    return f"its manifest row says {expected}; the file has {found}; "


def _holds_more_than(module: torch.nn.Module, names: Iterable[str]) -> bool:
    """Whether a network has tensors besides these names: buffers that are not saved, or plain attributes."""
    attributes = (value for part in module.modules() for value in vars(part).values())
    unsaved = {name for name, _ in module.named_buffers()} - set(names)
    return bool(unsaved) or any(isinstance(value, Tensor) for value in attributes)


def first_sentence(error: BaseException) -> str:
    """The reason, without torch's screenful of advice (on how to switch the protection off)."""
    inner = error.__context__
    text = " ".join(str(inner if isinstance(inner, pickle.UnpicklingError) else error).split())
    return text.split(" Please use", 1)[0][:300] or type(error).__name__
