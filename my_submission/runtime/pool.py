"""The loaded models of a preset: each checkpoint opened as a callable on chunks, in the dtype that suits it."""

import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from my_submission.models import ChunkModel, chunk_bytes
from my_submission.registry import find_architecture
from my_submission.runtime.devices import Precision, Work
from my_submission.runtime.guarded import Guarded
from my_submission.weights import Checkpoint, WeightsError
from my_submission.weights.trial import admit

NO_FILE = Path()
"""What the loader of a checkpoint without a file is given."""
LARGE_BYTES = 32 << 20
"""Networks of such files take most of their time for large products, and where those are quicker in lower precision,
so are they: those of 50 MiB and more 1.48 to 2.1 times on Zen 4 (benchmarks/README.md), HTDemucs 1.75 times with AMX.
A trial of seconds found the same, but not always, and two processes of one machine could disagree."""
ON_X86 = platform.machine() in ("x86_64", "AMD64")
"""Nowhere else was that measured."""


class ModelPool:
    """The loaded models of a preset, by checkpoint name; owns their memory.

    checkpoints: each after its parts.
    dtypes: what each computes in.
    needed: checkpoint name -> the sources to compute; by default all that a checkpoint has.
    Raises WeightsError if a file is not what its row says.
    """

    def __init__(
        self,
        checkpoints: Iterable[Checkpoint],
        paths: Mapping[str, Path],
        precision: Precision,
        needed: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        checkpoints = list(checkpoints)
        needed = needed or {}
        self.dtypes = {row.name: dtype_of(row, paths.get(row.name), precision) for row in checkpoints}
        self._models: dict[str, ChunkModel] = {}
        for row in checkpoints:
            self._models[row.name] = (
                join_model(row, [self._models[part] for part in row.parts], precision.device)
                if row.parts
                else load_model(
                    row, paths.get(row.name), precision.device, self.dtypes[row.name], needed.get(row.name)
                )
            )
        self.kinds = {row.name: network_kind(row, self._models[row.name]) for row in checkpoints}

    def get(self, name: str) -> ChunkModel:
        return self._models[name]

    def largest_chunk_bytes(self) -> int:
        """Memory for computing one chunk with the model that needs most."""
        return max(chunk_bytes(model) for model in self._models.values())


def _checked(model: ChunkModel, checkpoint: Checkpoint, needed: Collection[str] | None = None) -> ChunkModel:
    """The model, if it computes what it was loaded for; else WeightsError. A loader may be anybody's."""
    wanted = [source for source in checkpoint.sources if needed is None or source in needed]
    if missing := [source for source in wanted if source not in model.sources]:
        raise WeightsError(
            f"{checkpoint.name}: {checkpoint.architecture} loads a model of {', '.join(model.sources)}, expected"
            f" also {', '.join(missing)}, which its row in {checkpoint.manifest} states"
        )
    return model


def network_kind(checkpoint: Checkpoint, model: ChunkModel) -> str:
    """Equal for checkpoints whose networks do the same work."""
    return f"{checkpoint.architecture} {len(model.sources)} {checkpoint.parameters!r}"


def dtype_of(checkpoint: Checkpoint, path: Path | None, precision: Precision) -> torch.dtype:
    """What a checkpoint's network computes in: float32, whatever is asked for, if that is all it can do."""
    architecture = find_architecture(checkpoint.architecture)
    if not architecture.lower_precision or path is None:
        return torch.float32
    size = path.stat().st_size
    kind = f"{checkpoint.architecture} of {size >> 20} MiB {checkpoint.parameters!r}"
    trial = None if architecture.piece_of_work is None else partial(_work, checkpoint, path, precision.device)
    return precision.of(checkpoint.name, kind, trial, timed=size < LARGE_BYTES or not ON_X86)


def _work(checkpoint: Checkpoint, path: Path, device: torch.device, dtype: torch.dtype) -> Work | None:
    admit(checkpoint, path)
    work = find_architecture(checkpoint.architecture).piece_of_work
    assert work
    return work(checkpoint, path, device, dtype)


def join_model(checkpoint: Checkpoint, parts: Sequence[ChunkModel], device: torch.device) -> ChunkModel:
    """The model of a row that has parts, made of theirs."""
    join = find_architecture(checkpoint.architecture).join
    assert join
    return _checked(join(checkpoint, parts, device), checkpoint)


def load_model(
    checkpoint: Checkpoint,
    path: Path | None,
    device: torch.device,
    dtype: torch.dtype,
    needed: Collection[str] | None = None,
) -> ChunkModel:
    """Open a checkpoint's file as a callable on chunks. WeightsError if it is not what the row says.

    path: None for a checkpoint without a file.
    needed: the sources to compute, by default all; a network may compute others, too.
    A file that no hash vouches for is opened in a process of its own first (`trial.admit`), once.
    """
    admit(checkpoint, path)
    architecture = find_architecture(checkpoint.architecture)
    path = path or NO_FILE
    if dtype == torch.float32 or not architecture.lower_precision:
        return _checked(
            architecture.load(checkpoint, path, device, torch.float32, needed), checkpoint, needed
        )
    return Guarded(
        checkpoint.name,
        _checked(architecture.load(checkpoint, path, device, dtype, needed), checkpoint, needed),
        lambda: architecture.load(checkpoint, path, device, torch.float32, needed),
    )
