"""Opens checkpoints as the untrusted input that they are. This has the only torch.load of my_submission.

A `.th`, `.ckpt` or `.pt` file is an archive with a pickle. What it holds and names is looked at first
(`archives.py`); then torch's weights-only unpickler opens it, which runs nothing that is not on an allow-list. A
`.safetensors` file holds tensors and text. An architecture takes what it needs from either; `build` checks the
tensors against the shapes of the network before any of the network's memory is allocated.

One law bounds memory: a file describes no more values than it has bytes for. What no such number can bound is opened
in a process of its own first, where no hash vouches for the file (`trial.py`).
"""

from __future__ import annotations

import pickle
import re
import struct
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.overrides import TorchFunctionMode

from ..plain_files import open_regular
from ..schema import brief
from .archives import check_archive, readable
from .errors import UnsafeFile, WeightsError, first_sentence
from .limits import MOST_TENSORS, file_bytes
from .tensors import check_finite, check_shapes, check_state

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
DEEPEST_WRAPPER = 3  # wrappers within each other
PREFIXES = ("module.", "model.", "_orig_mod.")  # of every name, left by training frameworks
COUNTERS = ("n_averaged", "initted", "step")  # what moving averages keep beside their weights
AVERAGED, NOT_AVERAGED = "ema_model.", ("online_model.", "model.")  # where a file has both

LARGEST_HEADER_BYTES = 2 << 20
"""Of a `.safetensors` file: the names and shapes of its tensors, and its metadata."""
MOST_UNSAVED_VALUES = 1 << 26
"""Of tensors that a network has besides those of its file, such as windows."""


class Unread:
    """Stands in for a value that nothing reads: a numpy number among the training arguments or metrics."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


class CheckedFraction(Fraction):
    """Makes a Fraction; of text only if it is short, since 1e999999999 would be written out."""

    def __new__(cls, numerator: Any = 0, denominator: Any = None) -> Fraction:  # type: ignore[misc]
        if isinstance(numerator, str) and not re.fullmatch(r"-?[0-9]{1,18}(/[0-9]{1,18})?", numerator):
            raise ValueError(f"found a fraction of {brief(numerator)}")
        return Fraction(numerator, denominator)


# What released checkpoints name besides tensors and plain containers. htdemucs was seen to hold
# Fraction (its segment), numpy.core.multiarray.scalar and numpy.dtype (numbers among the
# metrics): Anjok07/ultimatevocalremovergui#2377 and the reports it answers, #1729 and #1868.
# numpy 2 writes the scalar's module as numpy._core. A checkpoint of Lightning keeps the settings
# of its training, which are OmegaConf's own classes where Hydra read them. The types are those that
# their entries may have, under their names in Python 3 and, as pickles have them, in Python 2.
ALLOWED_GLOBALS: list[tuple[Callable[..., Any], str]] = [
    (CheckedFraction, "fractions.Fraction"),
    *(
        (Unread, name)
        for name in (
            *("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype"),
            *(f"omegaconf.{name}" for name in ("dictconfig.DictConfig", "listconfig.ListConfig")),
            *(f"omegaconf.base.{name}" for name in ("ContainerMetadata", "Metadata")),
            *(f"omegaconf.nodes.{kind}Node" for kind in ("Any", "String", "Integer", "Float", "Boolean")),
            *("typing.Any", "collections.defaultdict"),
            *(f"builtins.{kind}" for kind in ("dict", "list", "int", "str", "float", "bool")),
            *(f"__builtin__.{kind}" for kind in ("dict", "list", "long", "int", "unicode", "float", "bool")),
        )
    ),
]

# What the weights-only unpickler raises for a file that is not a checkpoint, cut short, or hostile.
_UNPICKLING_ERRORS = (
    pickle.UnpicklingError, RuntimeError, EOFError, LookupError, TypeError, ValueError, AttributeError,
    ArithmeticError, AssertionError, struct.error, MemoryError, OSError,
)  # fmt: skip


def open_pickle(path: Path, stand_ins: Mapping[str, type] | None = None, holds_values: bool = False) -> Any:
    """What a pickle holds: tensors, plain containers, numbers and text; tensors on the CPU.

    stand_ins: dotted names of classes that the file may mention -> what to construct instead of them.
    holds_values: whether it has the values themselves in it, and not only what is said of them, so may be large.
    Raises UnsafeFile for anything else, without running any of it; FileNotFoundError.
    """
    allowed: dict[str, Callable[..., Any]] = {name: made for made, name in ALLOWED_GLOBALS}
    allowed.update(stand_ins or {})
    with readable(path) as plain:
        check_archive(plain, allowed, path, holds_values)
        try:
            with torch.serialization.safe_globals([(made, name) for name, made in allowed.items()]):
                return torch.load(plain, map_location="cpu", weights_only=True)
        except _UNPICKLING_ERRORS as error:
            raise UnsafeFile(
                f"{path}: refused: it is not a checkpoint, is damaged, or asks for code to be run."
                f" No code of it was run. torch says: {first_sentence(error)}"
            ) from error


def open_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a `.safetensors` file. Raises UnsafeFile, FileNotFoundError.

    They are copies: those that safetensors gives are the file itself, mapped, and would change or vanish with it.
    """
    size = file_bytes(path)
    with open_regular(path) as file:
        header = int.from_bytes(file.read(8), "little")
    if header > min(size, LARGEST_HEADER_BYTES):
        raise UnsafeFile(
            f"{path}: not a safetensors file, or damaged: a header of {header:,} bytes,"
            f" expected at most {LARGEST_HEADER_BYTES:,} of the file's {size:,}"
        )
    try:
        with safe_open(str(path), framework="pt") as tensors:
            keys = tensors.keys()
            if len(keys) > MOST_TENSORS:
                raise UnsafeFile(f"{path}: has {len(keys):,} tensors, expected at most {MOST_TENSORS:,}")
            return {key: tensors.get_tensor(key).clone() for key in keys}, tensors.metadata() or {}
    except (SafetensorError, LookupError, ValueError, TypeError, ArithmeticError, MemoryError) as error:
        raise UnsafeFile(f"{path}: not a safetensors file, or damaged: {first_sentence(error)}") from error


def open_tensors(path: Path, inside: Iterable[str] = ()) -> dict[str, Tensor]:
    """The named tensors of a `.safetensors` file or a pickle.

    inside: the keys under which a pickle may keep them (state_dict, …), tried in order; without any, they are all of
        its content.
    Raises UnsafeFile, WeightsError for another suffix, FileNotFoundError.
    """
    if path.suffix == ".safetensors":
        return check_state(path, open_safetensors(path)[0])
    if path.suffix not in PICKLES:
        raise WeightsError(f"{path}: expected a file that ends in .safetensors or {', '.join(PICKLES)}")
    return check_state(path, _inside(open_pickle(path), list(inside)))


def _inside(content: Any, wrappers: list[str]) -> Any:
    for _ in range(DEEPEST_WRAPPER):
        held = content if isinstance(content, dict) else {}
        content = next((held[key] for key in wrappers if isinstance(held.get(key), dict)), content)
    return content


def open_network_state(path: Path, dropped: Callable[[str], bool] = lambda name: False) -> dict[str, Tensor]:
    """The weights of a network published with a training framework: unwrapped, without prefixes, in float32.

    Of weights and their moving average, it is the latter. What belongs to a loss is left out.
    dropped: whether a name belongs to something else than the network, or is computed anyway.
    Raises as `open_tensors`.
    """

    def kept(name: str) -> bool:
        return not (name in COUNTERS or name.startswith("loss") or dropped(name))

    state = {name: value for name, value in open_tensors(path, inside=WRAPPERS).items() if kept(name)}
    while prefix := _prefix(state):
        named = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        state = {name: value for name, value in named.items() if kept(name)}
    return {name: value.float() if value.is_floating_point() else value for name, value in state.items()}


def _prefix(names: Collection[str]) -> str | None:
    """Which of the prefixes a network's names have, if any."""
    others = [name for name in names if not name.startswith(AVERAGED)]
    if len(others) < len(names) and all(name.startswith(NOT_AVERAGED) for name in others):
        return AVERAGED
    return next((each for each in PREFIXES if names and all(name.startswith(each) for name in names)), None)


def build(
    path: Path,
    make: Callable[[], Network],
    state: Mapping[str, Tensor],
    said: Mapping[str, Any] = MappingProxyType({}),
    seen: Callable[[Mapping[str, Tensor]], Mapping[str, Any]] = lambda state: {},
) -> Network:
    """The network that `make` constructs, with the tensors of `path`: on the CPU, its own dtypes, evaluation mode.

    The tensors of `state` become its own; another network of the same ones would share them.
    It is first constructed on torch's meta device, which allocates nothing, draws no random numbers, and is fast. If
    it has tensors that no state dict holds, such as windows, it is constructed again on the CPU.
    said: the network in terms of its manifest row; seen: what the tensors of `path` tell of it, in the same terms.
    Raises UnsafeFile if the tensors are not those of the network (the error names the terms in which they differ), if
    they are not finite, or if the network would be larger than any file of this size describes.
    """
    check_state(path, dict(state))
    try:
        with torch.device("meta"), _Unfilled(), _counted(1_000 + 4 * len(state)):
            module = make()
    except Exception as error:  # whatever a constructor raises for arguments that it was not written for
        raise UnsafeFile(
            f"{path}: {_differences(said, seen(state))}the network refuses its arguments: {first_sentence(error)}"
        ) from error
    check_shapes(path, module, state, lambda: _differences(said, seen(state)))
    check_finite(path, state)
    again = _holds_more_than(path, module, state)
    try:
        if again:
            with torch.random.fork_rng(devices=()):
                module = make()
            module.load_state_dict(dict(state))
        else:
            _fill(module, state)
    except (RuntimeError, MemoryError) as error:
        raise WeightsError(f"{path}: its network cannot be made: {first_sentence(error)}") from error
    return module.requires_grad_(False).eval()


def _fill(module: torch.nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a network of the meta device the tensors of a file.

    They are not copied unless they must be: for a moment the weights would be there twice, and what the copies leave
    between them is too small for a chunk's images, so that it would be lost to the process.
    """
    for prefix, layer in module.named_modules():
        start = f"{prefix}." if prefix else ""
        for name, weight in [*layer.named_parameters(recurse=False, remove_duplicate=False)]:
            own = _own(state[start + name], weight)
            setattr(layer, name, torch.nn.Parameter(own, requires_grad=False))
        for name, buffer in [*layer.named_buffers(recurse=False, remove_duplicate=False)]:
            setattr(layer, name, _own(state[start + name], buffer))


def _own(found: Tensor, like: Tensor) -> Tensor:
    """A file's tensor in the dtype of its place in the network; a copy if it is but a part of what it holds.

    Without what a pickle may say of it besides: that it is a parameter, or wants a gradient.
    """
    found = found.detach()
    whole = found.is_contiguous() and found.untyped_storage().nbytes() == found.nbytes
    return found.to(like.dtype) if whole else found.to(like.dtype, copy=True).contiguous()


def _differences(said: Mapping[str, Any], seen: Mapping[str, Any]) -> str:
    """`the manifest row says depth 12, dim 256; the file has 6, 384; `, or nothing."""
    differing = [key for key in said if key in seen and said[key] != seen[key]]
    if not differing:
        return ""
    expected = ", ".join(f"{key} {said[key]!s:.60}" for key in differing)
    found = ", ".join(f"{seen[key]!s:.60}" for key in differing)
    return f"its manifest row says {expected}; the file has {found}; "


class _Unfilled(TorchFunctionMode):
    """Within it, no normal first values are drawn: on the meta device, torch imports its compiler for them."""

    def __torch_function__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), options: Any = None
    ) -> Any:
        if function in (torch.Tensor.normal_, torch.nn.init.normal_):
            return arguments[0] if arguments else options["tensor"]
        return function(*arguments, **(options or {}))


@contextmanager
def _counted(most: int) -> Iterator[None]:
    """Within it, a network that this thread constructs may have no more layers, nor tensors, than that."""
    thread, counts = threading.get_ident(), {"layers": 0, "tensors": 0}

    def count(kind: str) -> None:
        if threading.get_ident() == thread:
            counts[kind] += 1
            if counts[kind] > most:
                raise ValueError(f"they describe more than {most:,} {kind}")

    hooks = (
        register_module_module_registration_hook(lambda *_: count("layers")),
        register_module_parameter_registration_hook(lambda *_: count("tensors")),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _holds_more_than(path: Path, module: torch.nn.Module, names: Iterable[str]) -> bool:
    """Whether a network has tensors besides these names: buffers that are not saved, or plain attributes."""
    attributes = (value for part in module.modules() for value in vars(part).values())
    saved = set(names)
    unsaved = [buffer for name, buffer in module.named_buffers() if name not in saved]
    unsaved += [value for value in attributes if isinstance(value, Tensor)]
    values = sum(value.numel() for value in unsaved)
    if values > MOST_UNSAVED_VALUES:
        raise UnsafeFile(
            f"{path}: its arguments describe tables of {values:,} values besides its tensors,"
            f" expected at most {MOST_UNSAVED_VALUES:,}"
        )
    return bool(unsaved)
