"""The first two versions of Demucs: their code as python-audio-separator carries it, and files as they wrote them.

    modules = old_demucs()          # skips the test where the package is not installed
    modules.v1.Demucs(4), modules.v2.Demucs(["drums", "bass", "other", "vocals"])
    modules.utils.apply_model_v1, modules.utils.apply_model_v2

The package itself is not imported, which would need much that it asks for: only these modules of it, by their paths.
They ask for `diffq`, of which nothing is used.
"""

import gzip
import importlib
import importlib.util
import io
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class OldDemucs:
    """Its modules."""

    v1: Any
    v2: Any
    utils: Any


def old_demucs() -> OldDemucs:
    """The reference's modules; the test is skipped, and says so, without them."""
    found = importlib.util.find_spec("audio_separator")
    if found is None or not found.submodule_search_locations:
        pytest.skip("the reference audio-separator is not installed (tests/requirements-alone.txt)")
    package = ModuleType("old_demucs")
    package.__path__ = [str(Path(found.submodule_search_locations[0], "separator", "uvr_lib_v5", "demucs"))]
    stub = ModuleType("diffq")
    for name in ("UniformQuantizer", "DiffQuantizer"):
        setattr(stub, name, object)
    sys.modules.setdefault("old_demucs", package)
    before = sys.modules.get("diffq")
    sys.modules["diffq"] = stub
    try:
        v1, v2, utils = (
            importlib.import_module(f"old_demucs.{name}") for name in ("model", "model_v2", "utils")
        )
    finally:
        del sys.modules["diffq"]
        if before is not None:
            sys.modules["diffq"] = before
    return OldDemucs(v1, v2, utils)


@contextmanager
def class_in_files() -> Iterator[type[nn.Module]]:
    """What stands for the class that files name, demucs.model.Demucs, of which today's `demucs` has no module."""
    module = ModuleType("demucs.model")
    module.Demucs = type("Demucs", (nn.Module,), {"__module__": "demucs.model"})  # type: ignore[attr-defined]
    sys.modules["demucs.model"] = module
    try:
        yield module.Demucs
    finally:
        del sys.modules["demucs.model"]


def save_v1(path: Path, kwargs: Mapping[str, Any], state: Mapping[str, Tensor]) -> Path:
    """A file as the first version wrote it, in the format of its PyTorch: (class, args, kwargs, state), with a mark
    that the class is one; compressed, if the name ends in `.gz`."""
    content = io.BytesIO()
    with class_in_files() as named, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has no source code to be saved with
        torch.save((named, (), dict(kwargs), dict(state)), content, _use_new_zipfile_serialization=False)
    path.write_bytes(gzip.compress(content.getvalue()) if path.suffix == ".gz" else content.getvalue())
    return path
