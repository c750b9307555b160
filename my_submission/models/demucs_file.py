"""Demucs' checkpoint files: a class name, its arguments, its tensors; each is checked, none is trusted.

The class is looked up in a table of two, its arguments are checked against its constructor, and its tensors against
the shapes of the network that those arguments describe.
"""

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from pydantic import Field
from torch import Tensor

from my_submission.schema import LONGEST_NAME, Record, brief, expecting
from my_submission.signal.audio import MODEL_SAMPLE_RATE
from my_submission.weights import Checkpoint, UnsafeFile, WeightsError, WrongContent
from my_submission.weights.errors import first_sentence, printable
from my_submission.weights.load import build, open_pickle, open_safetensors
from my_submission.weights.tensors import check_state

CHANNELS = 2

CLASSES: Mapping[str, tuple[str, type[HTDemucs | HDemucs]]] = {
    "demucs.htdemucs.HTDemucs": ("htdemucs", HTDemucs),
    "demucs.hdemucs.HDemucs": ("hdemucs", HDemucs),
}
# A class named in a pickle becomes an empty stand-in, so that unpickling cannot construct a network.
_STAND_INS: Mapping[str, type] = {name: type(name.rsplit(".", 1)[1], (), {}) for name in CLASSES}

# Checkpoints trained on DnR name their sources as that data set does.
RENAMED_SOURCES = {"sfx": "effect", "speech": "dialog"}


LEAST_SEGMENT_SECONDS, LARGEST_SEGMENT_SECONDS = 0.1, 600

SegmentSeconds = Annotated[
    float,
    Field(ge=LEAST_SEGMENT_SECONDS, le=LARGEST_SEGMENT_SECONDS),
    expecting(f"a number from {LEAST_SEGMENT_SECONDS} to {LARGEST_SEGMENT_SECONDS}"),
]


class DemucsParameters(Record):
    """segment_seconds: replaces the file's own."""

    segment_seconds: SegmentSeconds | None = None


@dataclass(frozen=True)
class _Package:
    """What a checkpoint file says: the class by its dotted name, its arguments, its tensors."""

    class_name: str
    args: list[Any]
    kwargs: dict[str, Any]
    state: dict[str, Tensor]


def load_torch(path: Path, checkpoint: Checkpoint) -> HTDemucs | HDemucs:
    """Load a Demucs checkpoint (`.th` or `.safetensors`) as a module: CPU, float32, eval mode.

    Architecture and sources must be those of its manifest row. The row's segment_seconds, if it has one, becomes the
    module's `segment`. Hashes are not verified here: see `weights.verify`.
    Raises UnsafeFile (not a checkpoint, or one that asks for more than a known network) and WrongContent (a
    checkpoint, but not the row's); each names file, expected and found.
    """
    if path.suffix not in _READERS:
        raise WeightsError(f"{path}: expected a file that ends in {' or '.join(_READERS)}")
    package = _READERS[path.suffix](path)
    if package.class_name not in CLASSES:
        raise UnsafeFile(
            f"{path}: found the class {brief(package.class_name)}, allowed: {', '.join(CLASSES)}"
        )
    architecture, network = CLASSES[package.class_name]
    arguments = _check_arguments(path, network, package)
    _check_row(path, checkpoint, architecture, _our_names(arguments["sources"]))
    # `rescale` is of the weights at their birth alone, and a fifth of the time.
    module = build(path, lambda: network(**arguments | {"rescale": 0}), package.state)
    parameters = checkpoint.parameters
    assert isinstance(parameters, DemucsParameters)
    if parameters.segment_seconds is not None:
        module.segment = parameters.segment_seconds
    return module


def _read_pickle(path: Path) -> _Package:
    package = open_pickle(path, _STAND_INS)
    keys = ("klass", "args", "kwargs", "state")
    if not isinstance(package, dict) or not all(key in package for key in keys):
        found = brief(list(package)) if isinstance(package, dict) else type(package).__name__
        raise UnsafeFile(f"{path}: expected a dict with {', '.join(keys)}, found {found}")
    names = [name for name, stand_in in _STAND_INS.items() if package["klass"] is stand_in]
    class_name = names[0] if names else brief(package["klass"])
    return _package(path, class_name, package["args"], package["kwargs"], package["state"])


def _read_safetensors(path: Path) -> _Package:
    state, metadata = open_safetensors(path)
    missing = [key for key in ("klass", "args", "kwargs") if key not in metadata]
    if missing:
        raise UnsafeFile(f"{path}: the metadata has no {missing[0]!r}; expected klass, args and kwargs")
    try:
        args, kwargs = _from_json(json.loads(metadata["args"])), _from_json(json.loads(metadata["kwargs"]))
    except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError) as error:
        raise UnsafeFile(f"{path}: not a Demucs checkpoint, or damaged: {first_sentence(error)}") from error
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


def _package(path: Path, class_name: str, args: Any, kwargs: Any, state: Any) -> _Package:
    if not isinstance(args, list | tuple) or not isinstance(kwargs, dict):
        raise UnsafeFile(
            f"{path}: expected args as a list and kwargs as a dict, found {brief(args)}, {brief(kwargs)}"
        )
    return _Package(class_name, list(args), kwargs, check_state(path, state))


# What the shapes of the tensors do not tell, and so nothing else checks: least and largest.
_LIMITS: Mapping[str, tuple[float, float]] = {
    "segment": (LEAST_SEGMENT_SECONDS, LARGEST_SEGMENT_SECONDS),
    "nfft": (16, 1 << 16),
    "stride": (1, 64),
    "time_stride": (1, 64),
    "wiener_iters": (0, 16),
    "end_iters": (0, 16),
    "t_max_period": (1e-3, 1e9),
}
LARGEST_ARGUMENT = 1e6
"""Of any other number among a network's arguments."""
MOST_ARGUMENTS = 64
"""In a list among them."""


def _is_plain(value: Any, deep: int = 0) -> bool:
    """Whether an argument is what a file may say: a number of ordinary size, a word, or a short list of them."""
    if isinstance(value, list | tuple):
        return deep < 2 and len(value) <= MOST_ARGUMENTS and all(_is_plain(item, deep + 1) for item in value)
    if isinstance(value, str):
        return len(value) <= LONGEST_NAME
    return value is None or isinstance(value, bool | int | float | Fraction)


def _numbers(value: Any) -> list[int | float | Fraction]:
    """The numbers in an argument that is plain."""
    if isinstance(value, list | tuple):
        return [number for item in value for number in _numbers(item)]
    return [value] if isinstance(value, int | float | Fraction) and not isinstance(value, bool) else []


def _check_arguments(path: Path, network: type[HTDemucs | HDemucs], package: _Package) -> dict[str, Any]:
    """A package's arguments by name, with the constructor's defaults, if it takes them and we do."""
    try:
        bound = inspect.signature(network).bind(*package.args, **package.kwargs)
    except TypeError as error:
        raise UnsafeFile(
            f"{path}: its arguments do not fit {network.__name__}: {first_sentence(error)}"
        ) from error
    for key, value in bound.arguments.items():
        if not _is_plain(value):
            raise UnsafeFile(
                f"{path}: argument {key!r}: expected numbers, text or lists, found {brief(value)}"
            )
    bound.apply_defaults()
    for key, expected in (("samplerate", MODEL_SAMPLE_RATE), ("audio_channels", CHANNELS)):
        if bound.arguments[key] != expected:
            raise UnsafeFile(f"{path}: {key}: expected {expected}, found {brief(bound.arguments[key])}")
    for key, value in bound.arguments.items():
        _check_numbers(path, key, value)
    sources = bound.arguments["sources"]
    if not isinstance(sources, list | tuple) or not all(isinstance(source, str) for source in sources):
        raise UnsafeFile(f"{path}: sources: expected a list of names, found {brief(sources)}")
    return dict(bound.arguments)


def _check_numbers(path: Path, key: str, value: Any) -> None:
    least, most = _LIMITS.get(key, (-LARGEST_ARGUMENT, LARGEST_ARGUMENT))
    numbers = _numbers(value)
    if key in _LIMITS and numbers != [value]:
        raise UnsafeFile(f"{path}: {key}: expected a number, found {brief(value)}")
    for number in numbers:
        if not least <= number <= most:  # NaN is neither
            raise UnsafeFile(f"{path}: {key}: expected from {least:,} to {most:,}, found {brief(number)}")


def _our_names(sources: Sequence[str]) -> tuple[str, ...]:
    return tuple(RENAMED_SOURCES.get(source, source) for source in sources)


def _check_row(path: Path, checkpoint: Checkpoint, architecture: str, sources: tuple[str, ...]) -> None:
    if architecture != checkpoint.architecture:
        raise WrongContent(
            f"{path}: expected {checkpoint.architecture}, as {checkpoint.name} is in {checkpoint.manifest},"
            f" found {architecture}"
        )
    if sources != checkpoint.sources:
        raise WrongContent(
            f"{path}: expected the sources {', '.join(checkpoint.sources)} in this order"
            f" (row {checkpoint.name} of {checkpoint.manifest}), found {printable(', '.join(sources)[:200])}"
        )
