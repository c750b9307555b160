"""Other people's networks: what their loaders get wrong is said in a sentence, and never computed with."""

from collections.abc import Collection
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from torch import Tensor

from my_submission import registry
from my_submission.registry import Architecture, UnknownArchitecture, find_architecture
from my_submission.runtime.devices import Precision
from my_submission.runtime.inference import estimate_track
from my_submission.runtime.pool import ModelPool
from my_submission.schema import Record
from my_submission.signal.augment import Augmentation
from my_submission.signal.chunking import Geometry, reader
from my_submission.weights import Checkpoint, WeightsError

pytestmark = pytest.mark.quick


class Stranger:
    """Gives estimates of a shape of its own."""

    geometry = Geometry(1_000)
    bytes_per_sample = 1

    def __init__(self, shape: tuple[int, ...] = (), sources: tuple[str, ...] = ("vocals", "other")) -> None:
        self.shape, self.sources = shape, sources

    def __call__(self, chunks: Tensor) -> Tensor:
        return torch.ones(self.shape)


@pytest.mark.parametrize(
    "shape",
    [(1, 2, 1, 1_000), (1, 1, 2, 1_000), (1, 2, 2, 999), (1, 2, 2, 1_001), (2, 2, 2, 1_000), (2, 1_000)],
)
def test_estimates_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    """One channel would spread over both, and a sample more would be somebody else's."""
    track = torch.ones(2, 1_000)
    with pytest.raises(
        ValueError, match=r"Stranger: gave estimates of shape .*, expected \(1, 2, 2, 1000\): "
    ) as said:
        list(estimate_track(Stranger(shape), reader(track), 1_000, Augmentation(), 0.0))
    assert str(shape) in str(said.value)


def row(architecture: str, folder: Path) -> Checkpoint:
    return Checkpoint(
        name="theirs", architecture=architecture, sources=("vocals", "other"), parameters=Record(), file="x.bin",
        bytes=None, about_bytes=None, sha256=None, origins=(), licence=None, manifest=folder / "rows.yaml",
        path=folder / "x.bin",
    )  # fmt: skip


def load(
    checkpoint: Checkpoint,
    path: Path,
    device: torch.device,
    dtype: torch.dtype,
    needed: Collection[str] | None,
) -> Stranger:
    return Stranger(sources=("voice", "other"))


THEIRS = Architecture("theirs", (".bin",), load, lower_precision=False)


def test_a_model_of_other_sources_than_its_row_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("my_submission.runtime.pool.admit", lambda *_: None)
    theirs = row(f"{__name__}:THEIRS", tmp_path)
    paths, precision = {"theirs": tmp_path / "x.bin"}, Precision(torch.device("cpu"), torch.float32)
    expected = r"^theirs: .*:THEIRS loads a model of voice, other, expected also vocals, which its row in .*rows.yaml"
    with pytest.raises(WeightsError, match=expected):
        ModelPool([theirs], paths, precision)
    assert ModelPool([theirs], paths, precision, {"theirs": {"other"}}).get("theirs").sources == (
        "voice",
        "other",
    )


@pytest.mark.parametrize(
    "name",
    ["theirs:", ":THEIRS", "a:b:c", "a : b", "a:b [extra]", "../a:b", "import a:b", "a.:b", "1a:b", ":"],
)
def test_what_is_no_object_in_a_module_is_not_imported(name: str) -> None:
    with pytest.raises(UnknownArchitecture, match=r"^found '.*'; expected package.module:object$"):
        find_architecture(name)
    assert find_architecture(f"{__name__}:THEIRS") is THEIRS


def test_a_name_that_two_packages_have_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    here = EntryPoint("theirs", f"{__name__}:THEIRS", registry.ENTRY_POINTS)
    there = EntryPoint("theirs", "elsewhere:THEIRS", registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda **_: [here, here])
    assert find_architecture("theirs") is THEIRS
    monkeypatch.setattr(registry, "entry_points", lambda **_: [here, there])
    with pytest.raises(UnknownArchitecture, match=rf"write one of elsewhere:THEIRS, {__name__}:THEIRS"):
        find_architecture("theirs")
