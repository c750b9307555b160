"""Demucs' checkpoint files: a class name, its arguments, its tensors; each is checked, none is trusted.

The class is looked up in a table, its arguments are checked against its constructor, and its tensors against the
shapes of the network that those arguments describe. Files of the second version are tensors alone: a network of its
default arguments, as wide as its first layer.
"""

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from pydantic import Field
from torch import Tensor

from my_submission.models.demucs_v2 import DemucsV1, DemucsV2
from my_submission.schema import LARGEST_FFT, LONGEST_NAME, Record, brief, expecting
from my_submission.signal.audio import MODEL_SAMPLE_RATE
from my_submission.weights import Checkpoint, UnsafeFile, WeightsError, WrongContent
from my_submission.weights.errors import first_sentence, printable
from my_submission.weights.load import Unread, build, open_pickle, open_safetensors
from my_submission.weights.shapes import size
from my_submission.weights.tensors import check_state

CHANNELS = 2

Network: TypeAlias = HTDemucs | HDemucs | Demucs | DemucsV2

ARCHITECTURES: Mapping[str, type[Network]] = {
    "htdemucs": HTDemucs,
    "hdemucs": HDemucs,
    "demucs_v3": Demucs,
    "demucs_v2": DemucsV2,
    "demucs_v1": DemucsV1,
}
CLASSES: Mapping[str, str] = {
    "demucs.htdemucs.HTDemucs": "htdemucs",
    "demucs.hdemucs.HDemucs": "hdemucs",
    "demucs.demucs.Demucs": "demucs_v3",
    "demucs.model.Demucs": "demucs_v2",  # or demucs_v1
}
# A class named in a pickle becomes an empty stand-in, so that unpickling cannot construct a network.
_STAND_INS: Mapping[str, type] = {name: type(name.rsplit(".", 1)[1], (), {}) for name in CLASSES}
# What else files hold, which nothing reads: with what their users trained, and what quantised them.
_UNREAD: Mapping[str, type] = dict.fromkeys(
    (
        "argparse.Namespace", "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib._local.PosixPath",
        "diffq.diffq.DiffQuantizer", "diffq.uniform.UniformQuantizer",
    ),
    Unread,
)  # fmt: skip

# Checkpoints trained on DnR name their sources as that data set does; Ultimate Vocal Remover's name what is left.
RENAMED_SOURCES = {"sfx": "effect", "speech": "dialog", "non_vocals": "instrumental"}


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
    """What a checkpoint file says: the architecture, its arguments, its tensors."""

    architecture: str
    args: list[Any]
    kwargs: dict[str, Any]
    state: dict[str, Tensor]


def load_torch(path: Path, checkpoint: Checkpoint) -> Network:
    """Load a Demucs checkpoint (`.th`, `.th.gz` or `.safetensors`) as a module: CPU, float32, eval mode.

    Architecture and sources must be those of its manifest row. The row's segment_seconds, if it has one, becomes the
    module's `segment`. Hashes are not verified here: see `weights.verify`.
    Raises UnsafeFile (not a checkpoint, or one that asks for more than a known network) and WrongContent (a
    checkpoint, but not the row's); each names file, expected and found.
    """
    reader = next((reader for suffix, reader in _READERS.items() if path.name.endswith(suffix)), None)
    if reader is None:
        raise WeightsError(f"{path}: expected a file that ends in {' or '.join(_READERS)}")
    package = reader(path, checkpoint)
    network = ARCHITECTURES[package.architecture]
    arguments = _check_arguments(path, network, package)
    _check_row(path, checkpoint, package.architecture, arguments["sources"])
    # These are of the weights at their birth alone, a fifth of the time, and a second for what the second imports.
    born = {key: value for key, value in {"rescale": 0, "emb_smooth": False}.items() if key in arguments}
    module = build(path, lambda: network(**arguments | born), package.state)
    parameters = checkpoint.parameters
    assert isinstance(parameters, DemucsParameters)
    if parameters.segment_seconds is not None:
        module.segment = parameters.segment_seconds
    return module


def _read_pickle(path: Path, checkpoint: Checkpoint) -> _Package:
    content = open_pickle(path, {**_STAND_INS, **_UNREAD})
    if isinstance(content, tuple) and len(content) == len(_KEYS):  # the first version's
        content = dict(zip(_KEYS, content, strict=True))
    if _is_quantised(content):
        raise UnsafeFile(f"{path}: {_QUANTISED}")
    if checkpoint.architecture == "demucs_v2" and isinstance(content, dict) and _FIRST in content:
        return _bare(path, content, checkpoint)
    if not isinstance(content, dict) or not all(key in content for key in _KEYS):
        found = brief(list(content)) if isinstance(content, dict) else type(content).__name__
        raise UnsafeFile(f"{path}: expected a dict with {', '.join(_KEYS)}, found {found}")
    named = content["klass"]
    if isinstance(named, tuple) and len(named) == 1 and isinstance(named[0], tuple) and len(named[0]) > 1:
        named = named[0][1]  # as `archives.readable` leaves the class of an old file
    names = [name for name, stand_in in _STAND_INS.items() if named is stand_in]
    class_name = names[0] if names else brief(named)
    return _package(path, class_name, content["args"], content["kwargs"], content["state"])


_KEYS = ("klass", "args", "kwargs", "state")
_FIRST = "encoder.0.0.weight"
"""The first layer of the first two versions, (channels, audio channels, kernel)."""
_QUANTISED = (
    "a diffq-quantised checkpoint; diffq is for non-commercial use (CC BY-NC 4.0) and no part of this kit."
    " Expected plain tensors: use mdx instead of mdx_q, mdx_extra of mdx_extra_q, demucs_v2 of demucs_quantized"
)


def _is_quantised(content: Any) -> bool:
    """Whether a file is the third version's with packed numbers, or the second's, compressed."""
    if not isinstance(content, dict):
        return False
    state = content.get("state", content)
    return isinstance(state, dict) and ("__quantized" in state or "compressed" in state)


def _bare(path: Path, state: dict[Any, Any], checkpoint: Checkpoint) -> _Package:
    """The second version's tensors, with the arguments of its published networks. Only the row names the sources."""
    tensors = check_state(path, state)
    channels = size(tensors, _FIRST, 0) or 1
    return _Package("demucs_v2", [list(checkpoint.sources)], {"channels": channels}, tensors)


def _read_safetensors(path: Path, _: Checkpoint) -> _Package:
    state, metadata = open_safetensors(path)
    missing = [key for key in ("klass", "args", "kwargs") if key not in metadata]
    if missing:
        raise UnsafeFile(f"{path}: the metadata has no {missing[0]!r}; expected klass, args and kwargs")
    try:
        args, kwargs = _from_json(json.loads(metadata["args"])), _from_json(json.loads(metadata["kwargs"]))
    except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError) as error:
        raise UnsafeFile(f"{path}: not a Demucs checkpoint, or damaged: {first_sentence(error)}") from error
    if "structure" in metadata:
        raise UnsafeFile(f"{path}: {_QUANTISED}")
    return _package(path, metadata["klass"], args, kwargs, state)


_READERS = {".th": _read_pickle, ".th.gz": _read_pickle, ".safetensors": _read_safetensors}


def _from_json(value: Any) -> Any:
    """Undo the encoding of demucs 4.1's exporter: a fraction is {_type, numerator, denominator}."""
    if isinstance(value, dict):
        if value.get("_type") == "fraction":
            return Fraction(int(value["numerator"]), int(value["denominator"]))
        return {key: _from_json(item) for key, item in value.items()}
    return [_from_json(item) for item in value] if isinstance(value, list) else value


def _package(path: Path, class_name: str, args: Any, kwargs: Any, state: Any) -> _Package:
    if class_name not in CLASSES:
        raise UnsafeFile(f"{path}: found the class {brief(class_name)}, allowed: {', '.join(CLASSES)}")
    if not isinstance(args, list | tuple) or not isinstance(kwargs, dict):
        raise UnsafeFile(
            f"{path}: expected args as a list and kwargs as a dict, found {brief(args)}, {brief(kwargs)}"
        )
    architecture = CLASSES[class_name]
    if architecture == "demucs_v2" and isinstance(args[0] if args else kwargs.get("sources", 4), int):
        architecture = "demucs_v1"  # which only counted its sources; the class has the same name
    state = check_state(path, state)
    if architecture == "demucs_v3":
        state = {_name_of_today(name, state): value for name, value in state.items()}
    return _Package(architecture, list(args), kwargs, state)


def _name_of_today(name: str, state: Mapping[str, Tensor]) -> str:
    """Of a tensor of the third version, whose layers once had no norm between them.

    Source: `load_state_dict` of `demucs.demucs.Demucs`.
    """
    old = re.fullmatch(r"((?:en|de)coder\.\d+)\.2\.(weight|bias)", name)
    today = f"{old[1]}.3.{old[2]}" if old else name
    return name if today in state else today


# What the shapes of the tensors do not tell, and so nothing else checks: least and largest.
_LIMITS: Mapping[str, tuple[float, float]] = {
    "segment": (LEAST_SEGMENT_SECONDS, LARGEST_SEGMENT_SECONDS),
    "segment_length": (
        LEAST_SEGMENT_SECONDS * MODEL_SAMPLE_RATE,
        LARGEST_SEGMENT_SECONDS * MODEL_SAMPLE_RATE,
    ),
    "context": (0, 64),
    "nfft": (16, LARGEST_FFT),
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


def _check_arguments(path: Path, network: type[Network], package: _Package) -> dict[str, Any]:
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
        if wrong := number_problem(key, value):
            raise UnsafeFile(f"{path}: {key}: {wrong}")
    sources = bound.arguments["sources"]
    names = isinstance(sources, list | tuple) and all(isinstance(source, str) for source in sources)
    if not names and network is not DemucsV1:
        raise UnsafeFile(f"{path}: sources: expected a list of names, found {brief(sources)}")
    return dict(bound.arguments)


def number_problem(key: str, value: Any) -> str | None:
    """What is wrong with the numbers in an argument, if anything."""
    least, most = _LIMITS.get(key, (-LARGEST_ARGUMENT, LARGEST_ARGUMENT))
    numbers = _numbers(value)
    if key in _LIMITS and numbers != [value]:
        return f"expected a number, found {brief(value)}"
    outside = (number for number in numbers if not least <= number <= most)  # NaN is neither
    return next((f"expected from {least:,} to {most:,}, found {brief(number)}" for number in outside), None)


def _check_row(path: Path, checkpoint: Checkpoint, architecture: str, sources: Sequence[str] | int) -> None:
    """sources: their names in the file, or how many there are."""
    if architecture != checkpoint.architecture:
        raise WrongContent(
            f"{path}: expected {checkpoint.architecture}, as {checkpoint.name} is in {checkpoint.manifest},"
            f" found {architecture}"
        )
    if isinstance(sources, int):
        found, same = str(sources), sources == len(checkpoint.sources)
    else:
        names = tuple(RENAMED_SOURCES.get(source, source) for source in sources)
        found, same = printable(", ".join(names)[:200]), names == checkpoint.sources
    if not same:
        raise WrongContent(
            f"{path}: expected the sources {', '.join(checkpoint.sources)} in this order"
            f" (row {checkpoint.name} of {checkpoint.manifest}), found {found}"
        )
