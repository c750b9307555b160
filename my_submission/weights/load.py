"""Opening Demucs checkpoints as the untrusted input they are. The only torch.load of my_submission.

A `.th` file is a pickle, so it is opened by torch's weights-only unpickler, which runs nothing but an
allow-list. A `.safetensors` file names its class as text. In both cases the class is looked up in a
table of two, its arguments are checked against its constructor, and its tensors against the shapes of
the network that those arguments describe, before any of that network's memory is allocated.
"""

from __future__ import annotations

import inspect
import json
import pickle
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .errors import UnsafeFile, WeightsError, WrongContent
from .manifest import Checkpoint

SAMPLE_RATE = 44100
CHANNELS = 2

CLASSES: Mapping[str, tuple[str, type[HTDemucs | HDemucs]]] = {
    "demucs.htdemucs.HTDemucs": ("htdemucs", HTDemucs),
    "demucs.hdemucs.HDemucs": ("hdemucs", HDemucs),
}

# Checkpoints trained on DnR name their sources as that data set does.
RENAMED_SOURCES = {"sfx": "effect", "speech": "dialog"}


class _Unread:
    """Stands for a value that nothing reads: a numpy number among the training arguments or metrics."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


# A class named in a pickle becomes an empty stand-in, so that unpickling cannot construct a network.
_STAND_INS: Mapping[str, type] = {name: type(name.rsplit(".", 1)[1], (), {}) for name in CLASSES}

# What released checkpoints name besides tensors and plain containers. htdemucs was seen to hold
# HTDemucs, Fraction (its segment), numpy.core.multiarray.scalar and numpy.dtype (numbers among the
# metrics): Anjok07/ultimatevocalremovergui#2377 and the reports it answers, #1729 and #1868.
# numpy 2 writes the scalar's module as numpy._core.
ALLOWED_GLOBALS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    *((stand_in, name) for name, stand_in in _STAND_INS.items()),
    Fraction,
    *(
        (_Unread, name)
        for name in ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype")
    ),
]

# What the weights-only unpickler raises on a file that is no checkpoint, cut short, or hostile.
_UNPICKLING_ERRORS = (
    pickle.UnpicklingError, RuntimeError, EOFError, LookupError, TypeError, ValueError, AttributeError,
    ArithmeticError, AssertionError, struct.error,
)  # fmt: skip


@dataclass(frozen=True)
class _Package:
    """What a checkpoint file says: the class by its dotted name, its arguments, its tensors."""

    class_name: str
    args: list[Any]
    kwargs: dict[str, Any]
    state: dict[str, Tensor]


def load_torch(path: Path, checkpoint: Checkpoint) -> HTDemucs | HDemucs:
    """Load a Demucs checkpoint (`.th` or `.safetensors`) as a module: CPU, float32, eval mode.

    Architecture and sources must be those of its manifest row, and the row's segment_seconds, if it has
    one, becomes the module's `segment`. Does not verify hashes: see `verify`.
    Raises UnsafeFile (not a checkpoint, or one that asks for more than a known network) and
    WrongContent (a checkpoint, but not the row's); each names file, expected and found.
    """
    if path.suffix not in _READERS:
        raise WeightsError(f"{path}: expected a file that ends in {' or '.join(_READERS)}")
    package = _READERS[path.suffix](path)
    if package.class_name not in CLASSES:
        raise UnsafeFile(f"{path}: found the class {package.class_name!r}, allowed: {', '.join(CLASSES)}")
    architecture, network = CLASSES[package.class_name]
    sources = _check_arguments(path, network, package)
    _check_row(path, checkpoint, architecture, sources)
    module = _build(path, network, package)
    if "segment_seconds" in checkpoint.parameters:
        module.segment = checkpoint.parameters["segment_seconds"]
    return module


def _read_pickle(path: Path) -> _Package:
    try:
        with torch.serialization.safe_globals(ALLOWED_GLOBALS):
            package = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except _UNPICKLING_ERRORS as error:
        raise UnsafeFile(
            f"{path}: refused: no Demucs checkpoint, damaged, or it asks for code to be run."
            f" Nothing of it was run. torch says: {_first_sentence(error)}"
        ) from error
    keys = ("klass", "args", "kwargs", "state")
    if not isinstance(package, dict) or not set(keys) <= set(package):
        found = sorted(map(str, package)) if isinstance(package, dict) else type(package).__name__
        raise UnsafeFile(f"{path}: expected a dict with {', '.join(keys)}, found {found}")
    names = [name for name, stand_in in _STAND_INS.items() if package["klass"] is stand_in]
    class_name = names[0] if names else repr(package["klass"])
    return _package(path, class_name, package["args"], package["kwargs"], package["state"])


def _read_safetensors(path: Path) -> _Package:
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, no mapping
        missing = [key for key in ("klass", "args", "kwargs") if key not in metadata]
        if missing:
            raise UnsafeFile(f"{path}: the metadata has no {missing[0]!r}; expected klass, args and kwargs")
        args, kwargs = _from_json(json.loads(metadata["args"])), _from_json(json.loads(metadata["kwargs"]))
    except (SafetensorError, ValueError, LookupError, TypeError, ZeroDivisionError, RecursionError) as error:
        raise UnsafeFile(f"{path}: no Demucs checkpoint, or damaged: {_first_sentence(error)}") from error
    if "structure" in metadata:
        raise UnsafeFile(f"{path}: a diffq-quantised checkpoint; expected plain tensors (fp16 or fp32)")
    return _package(path, metadata["klass"], args, kwargs, state)


_READERS = {".th": _read_pickle, ".safetensors": _read_safetensors}


def _from_json(value: Any) -> Any:
    """Undo the encoding of demucs 4.1's exporter: a fraction is {_type, numerator, denominator}."""
    if isinstance(value, dict):
        if value.get("_type") == "fraction":
            return Fraction(int(value["numerator"]), int(value["denominator"]))
        return {key: _from_json(item) for key, item in value.items()}
    return [_from_json(item) for item in value] if isinstance(value, list) else value


def _first_sentence(error: BaseException) -> str:
    """The reason, without the screenful of advice that torch wraps it in (to switch the protection off)."""
    inner = error.__context__
    text = " ".join(str(inner if isinstance(inner, pickle.UnpicklingError) else error).split())
    return text.split(" Please use", 1)[0][:300] or type(error).__name__


def _package(path: Path, class_name: str, args: Any, kwargs: Any, state: Any) -> _Package:
    if not isinstance(args, list | tuple) or not isinstance(kwargs, dict):
        raise UnsafeFile(f"{path}: expected args as a list and kwargs as a dict, found {args!r}, {kwargs!r}")
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UnsafeFile(f"{path}: expected a state of named tensors (a quantised checkpoint?)")
    return _Package(class_name, list(args), kwargs, state)


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str | Fraction)


def _check_arguments(path: Path, network: type[HTDemucs | HDemucs], package: _Package) -> tuple[str, ...]:
    """Check a package's arguments against the constructor; returns its sources in our terms."""
    try:
        bound = inspect.signature(network).bind(*package.args, **package.kwargs)
    except TypeError as error:
        raise UnsafeFile(f"{path}: its arguments do not fit {network.__name__}: {error}") from error
    for key, value in bound.arguments.items():
        if not _is_plain(value):
            raise UnsafeFile(
                f"{path}: argument {key!r}: expected numbers, text or lists, found {value!r:.80}"
            )
    bound.apply_defaults()
    for key, expected in (("samplerate", SAMPLE_RATE), ("audio_channels", CHANNELS)):
        if bound.arguments[key] != expected:
            raise UnsafeFile(f"{path}: {key}: expected {expected}, found {bound.arguments[key]!r}")
    sources = bound.arguments["sources"]
    if not isinstance(sources, list | tuple) or not all(isinstance(source, str) for source in sources):
        raise UnsafeFile(f"{path}: sources: expected a list of names, found {sources!r:.80}")
    return tuple(RENAMED_SOURCES.get(str(source), str(source)) for source in sources)


def _check_row(path: Path, checkpoint: Checkpoint, architecture: str, sources: tuple[str, ...]) -> None:
    if architecture != checkpoint.architecture:
        raise WrongContent(
            f"{path}: expected {checkpoint.architecture}, as {checkpoint.name} is in {checkpoint.manifest},"
            f" found {architecture}"
        )
    if sources != checkpoint.sources:
        raise WrongContent(
            f"{path}: expected the sources {', '.join(checkpoint.sources)} in this order"
            f" (row {checkpoint.name} of {checkpoint.manifest}), found {', '.join(sources)}"
        )


def _build(path: Path, network: type[HTDemucs | HDemucs], package: _Package) -> HTDemucs | HDemucs:
    """The network with the package's tensors, after checking their shapes without allocating it.

    Built on torch's meta device first: that allocates nothing, draws no random numbers, and is quick.
    """
    try:
        with torch.device("meta"):
            module = network(*package.args, **package.kwargs)
    except (RuntimeError, TypeError, ValueError, LookupError, ArithmeticError, AssertionError) as error:
        raise UnsafeFile(
            f"{path}: {network.__name__} refuses its arguments: {_first_sentence(error)}"
        ) from error
    expected = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in package.state.items()}
    if expected != found:
        key = min(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
        raise UnsafeFile(
            f"{path}: tensor {key!r}: its arguments describe shape {expected.get(key, 'none')},"
            f" found {found.get(key, 'none')}"
        )
    module = module.to_empty(device="cpu")
    module.load_state_dict(package.state)
    return module.requires_grad_(False).eval()
