"""What an architecture must say about itself to be used in a manifest, and where architectures are found.

A file in `models/` registers its architecture with one call:

    register(Architecture(name="mdx_net", suffixes=(".onnx",), parameters=MdxNetParameters, load=load))

A package outside this repository gives its `Architecture` an entry point in the group `sdx23.architectures`, named
like the architecture. A manifest row may also name any object as `architecture: package.module:object`.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from my_submission.schema import Record, brief, choice_text

if TYPE_CHECKING:
    import torch

    from my_submission.models import ChunkModel
    from my_submission.runtime.devices import Work
    from my_submission.weights import Checkpoint

ENTRY_POINTS = "sdx23.architectures"
MODELS = "my_submission.models"
"""The package whose modules register themselves; named, not imported, since readers of manifests are below it."""


class Loader(Protocol):
    """Opens a checkpoint's file as a callable on chunks; WeightsError if it is not what its row says.

    checkpoint: its manifest row; `checkpoint.parameters` is a record of the architecture's own kind.
    dtype: float32, or the lower precision that was asked for.
    needed: the sources to compute, None: all; a network may compute others, too.
    """

    def __call__(
        self,
        checkpoint: Checkpoint,
        path: Path,
        device: torch.device,
        dtype: torch.dtype,
        needed: Collection[str] | None,
    ) -> ChunkModel: ...


class Joiner(Protocol):
    """Makes one callable on chunks of those of a row's parts, in the row's order."""

    def __call__(
        self, checkpoint: Checkpoint, parts: Sequence[ChunkModel], device: torch.device
    ) -> ChunkModel: ...


@runtime_checkable
class NamesFiles(Protocol):
    """Parameters that name small files besides the checkpoint's own. They lie beside the manifest, and are copied
    with it into a submission; the loader finds them in `checkpoint.folder`."""

    @property
    def files(self) -> tuple[str, ...]:
        """Their names, without folders."""


class PieceOfWork(Protocol):
    """Makes a call that runs a checkpoint's network on noise, over a share of its chunk. Precision "auto" times it to
    find out what is fastest, unless the file is large. None for a network that computes only in float32."""

    def __call__(
        self, checkpoint: Checkpoint, path: Path, device: torch.device, dtype: torch.dtype
    ) -> Work | None: ...


class TrainingSettings(Protocol):
    """The `model` section of a training configuration, and what training does with it."""

    @property
    def architecture(self) -> str:
        """A field: the name that chose these settings."""

    @property
    def sources(self) -> tuple[str, ...]:
        """In the order of the network's outputs."""

    @property
    def example_samples(self) -> int:
        """The length of a training example, the only one that the network is made for."""

    def build(self) -> torch.nn.Module:
        """A network with fresh weights from torch's global random state: mixtures (batch, 2, samples) ->
        estimates (batch, sources, 2, samples)."""

    def parameter_groups(self, network: torch.nn.Module) -> list[dict[str, Any]]:
        """For the optimiser: groups of parameters, each with the `scale` of its learning rate."""

    def chunk_model(self, network: torch.nn.Module, device: torch.device) -> ChunkModel:
        """The network, in evaluation mode, as the project's own inference takes it."""

    def read_weights(self, path: Path, checkpoint: Checkpoint) -> Mapping[str, torch.Tensor]:
        """The weights of a checkpoint to continue from; WeightsError if its file has none that can be trained."""

    def export(
        self, network: torch.nn.Module, folder: Path, name: str, record: Mapping[str, Any]
    ) -> tuple[Path, Mapping[str, Any]]:
        """Write a checkpoint that the loader can open; return its file, and the `parameters` of its manifest row.

        record: plain values that say how it was trained, kept in the file if its format has room for them.
        """


@dataclass(frozen=True)
class Architecture:
    """A kind of network: everything that the rest of the kit needs to know about it.

    name: what manifests call it. suffixes: of its files; none: it has no files, and members name it themselves, as
        `wiener`. parameters: what a manifest row says besides the file.
    load: see `Loader`. join: for rows of this architecture that have parts, other rows, instead of a file. training:
        the settings for training it here, or None.
    sources: how many each of its networks has, or None if that varies. refines: its networks take an estimate of each
        of their sources beside a mixture, and make better ones (`Geometry.signals`). lower_precision: whether it may
        be loaded in a dtype other than float32; the kit itself recomputes in float32 whatever overflows.
    piece_of_work: only for an architecture that was shown to agree with float32 to 45 dB in lower precision, so that
        "auto" may choose that; None: auto means float32.
    """

    name: str
    suffixes: tuple[str, ...]
    load: Loader
    parameters: type[Record] = Record
    training: type[TrainingSettings] | None = None
    sources: int | None = None
    refines: bool = False
    join: Joiner | None = None
    lower_precision: bool = True
    piece_of_work: PieceOfWork | None = None


_OBJECT = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
"""`package.module:object`: identifiers with dots on both sides."""


class UnknownArchitecture(ValueError):  # noqa: N818, the name says it
    """No architecture has this name, or the object is not one; the message says what was found and allowed."""


_registered: dict[str, Architecture] = {}


def register(architecture: Architecture) -> Architecture:
    """Make an architecture of `models/` known; ValueError if another one has its name."""
    if _registered.setdefault(architecture.name, architecture) is not architecture:
        raise ValueError(
            f"architecture {architecture.name!r} is registered twice; give each a name of its own"
        )
    return architecture


def find_architecture(name: str) -> Architecture:
    """The architecture of this name, or the object at `package.module:object`; else UnknownArchitecture.

    Other people's architectures are imported only when they are asked for.
    """
    entry = _others(name)
    return _registered[name] if entry is None else _loaded(entry)


def others_module(name: str) -> str | None:
    """The module of an architecture that is not one of the kit's own; UnknownArchitecture as `find_architecture`."""
    entry = _others(name)
    return None if entry is None else entry.module


def _others(name: str) -> EntryPoint | None:
    """Where somebody else's architecture is; None for one of the kit's own."""
    if ":" in name:
        if not _OBJECT.fullmatch(name):
            raise UnknownArchitecture(f"found {brief(name)}; expected package.module:object")
        return EntryPoint(name, name, ENTRY_POINTS)
    _import_own()
    if name in _registered:
        return None
    found = {entry.value: entry for entry in entry_points(group=ENTRY_POINTS, name=name)}
    if len(found) > 1:
        raise UnknownArchitecture(
            f"found {name!r}, which several installed packages have; write one of {', '.join(sorted(found))}"
        )
    for entry in found.values():
        return entry
    raise UnknownArchitecture(f"{choice_text(name, architecture_names())}, or package.module:object")


def architecture_names() -> list[str]:
    """All names, including those of installed packages."""
    _import_own()
    return sorted({*_registered, *(entry.name for entry in entry_points(group=ENTRY_POINTS))})


@cache
def _import_own() -> None:
    models = importlib.import_module(MODELS)
    for module in pkgutil.iter_modules(models.__path__):
        importlib.import_module(f"{MODELS}.{module.name}")


def _loaded(entry: EntryPoint) -> Architecture:
    try:
        architecture = entry.load()
    except Exception as error:  # whatever another's module raises
        raise UnknownArchitecture(
            f"found {entry.name!r}; {entry.value} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(architecture, Architecture):
        raise UnknownArchitecture(
            f"found {entry.name!r}; {entry.value} is {brief(architecture)}, expected an Architecture"
        )
    return architecture
