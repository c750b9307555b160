"""Whatever has an influence on a pass makes it another entry of the estimate cache."""

import dataclasses
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from evaluator.tuning import member_passes
from evaluator.tuning.member_passes import Passes
from my_submission.ensemble.plan import Pass
from my_submission.models.demucs_file import DemucsParameters
from my_submission.models.zero_shot import ZeroShotParameters
from my_submission.models.zero_shot.query import write_query
from my_submission.runtime.devices import Precision
from my_submission.runtime.schedule import SEQUENTIAL
from my_submission.schema import Record, validate
from my_submission.signal.augment import Augmentation
from my_submission.signal.chunking import Geometry, reader
from my_submission.weights import Checkpoint, ManifestError, load_manifest
from tests.small_networks import ZERO_SHOT

CPU = torch.device("cpu")
SIGNAL = torch.linspace(-1, 1, 64).reshape(2, 32)


class Same:
    """Gives the mixture as each of two sources."""

    sources = ("vocals", "bass")
    geometry = Geometry(chunk_samples=16, short_chunk="as_is", least_samples=1)
    bytes_per_sample = 1

    def __call__(self, chunks: Tensor) -> Tensor:
        return chunks[:, None].expand(-1, 2, -1, -1)


class Asked:
    """One pass of a checkpoint over a signal, and everything around it that a cache's entry depends on."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.folder = folder
        self.path = folder / "weights.th"
        self.path.write_bytes(b"weights")
        self.row = dataclasses.replace(load_manifest().checkpoints["hdemucs_mmi"], sources=Same.sources)
        self.one = Pass("hdemucs_mmi", Augmentation(1.0, 3), 0.25, {"vocals": {"vocals": 1.0}})
        self.signal = SIGNAL
        self.dtype = torch.float32
        self.device = CPU
        monkeypatch.setattr(member_passes, "load_model", lambda *arguments: Same())
        monkeypatch.setattr(member_passes, "plan_schedule", lambda *arguments: SEQUENTIAL)

    def computed(self) -> int:
        """How many passes had to be computed, in a process that has computed none."""
        passes = Passes(self.folder / "cache", 1 << 30, "cpu", "fp32")
        passes._precision = Precision(CPU, self.dtype)
        passes._checkpoints, passes._paths = {self.row.name: self.row}, {self.row.name: self.path}
        passes.device = self.device
        read, samples = reader(self.signal), self.signal.shape[-1]
        assert len(list(passes.run(self.one, read, samples, lambda chunks: None))) == 1
        return passes.cost.computed


def replaced(field: str, **changes: Any) -> Callable[[Asked], None]:
    """A change of a field of what is asked, or of a part of that field."""

    def change(asked: Asked) -> None:
        setattr(asked, field, dataclasses.replace(getattr(asked, field), **changes))

    return change


def new_weights(asked: Asked) -> None:
    asked.path = asked.path.with_name("others.th")
    asked.path.write_bytes(b"other weights")


def another_signal(asked: Asked) -> None:
    asked.signal = SIGNAL.clone()
    asked.signal[1, 31] += 1e-7


def another_length(asked: Asked) -> None:
    asked.signal = torch.nn.functional.pad(SIGNAL, (0, 1))


def another_library(asked: Asked) -> None:
    asked.monkeypatch.setattr(member_passes, "_library_versions", lambda: {"torch": "0.1"})


CHANGES: dict[str, Callable[[Asked], None]] = {
    "precision": lambda asked: setattr(asked, "dtype", torch.bfloat16),
    "device": lambda asked: setattr(asked, "device", torch.device("meta")),
    "gain": replaced("one", augmentation=Augmentation(-1.0, 3)),
    "delay": replaced("one", augmentation=Augmentation(1.0, 4)),
    "overlap": replaced("one", overlap=0.5),
    "segments": replaced("one", segment_samples=16),
    "architecture": replaced("row", architecture="htdemucs"),
    "parameters": replaced("row", parameters=DemucsParameters(segment_seconds=5.0)),
    "order of the sources": replaced("row", sources=("bass", "vocals")),
    "source": replaced("one", factors={"bass": {"bass": 1.0}}),
    "weights": new_weights,
    "signal": another_signal,
    "length": another_length,
    "libraries": another_library,
    "version": lambda asked: asked.monkeypatch.setattr(member_passes, "ESTIMATES_VERSION", -1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_pass_is_computed_again_where_anything_it_depends_on_is_another(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(tmp_path, monkeypatch)
    assert [asked.computed(), asked.computed()] == [1, 0]
    CHANGES[change](asked)
    assert [asked.computed(), asked.computed()] == [1, 0]


def test_other_peoples_code_is_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the kit's own networks, a version says when they have changed; of others', their modules."""
    asked = Asked(tmp_path, monkeypatch)
    monkeypatch.syspath_prepend(str(tmp_path))
    code = "from my_submission.registry import find_architecture\n"
    code += "A = find_architecture('hdemucs')\n"
    own, package = tmp_path / "networks_of_mine.py", tmp_path / "package_of_mine"
    package.mkdir()
    for file in (own, package / "__init__.py", package / "layers.py"):
        file.write_text(code)
    for architecture, file in (("networks_of_mine:A", own), ("package_of_mine:A", package / "layers.py")):
        asked.row = dataclasses.replace(asked.row, architecture=architecture)
        assert [asked.computed(), asked.computed()] == [1, 0]
        file.write_text(f"{code}# changed\n")
        member_passes._others_code.cache_clear()
        assert [asked.computed(), asked.computed()] == [1, 0]


class Inner(Record):
    size: int


class Nested(Record):
    inner: tuple[Inner, ...] = (Inner(size=1),)
    path: Path = Path("x")


def test_parameters_may_be_of_any_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(tmp_path, monkeypatch)
    asked.row = dataclasses.replace(asked.row, parameters=Nested())
    assert [asked.computed(), asked.computed()] == [1, 0]
    asked.row = dataclasses.replace(asked.row, parameters=Nested(inner=(Inner(size=2),)))
    assert asked.computed() == 1


def test_a_system_has_one_of_two_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no onnxruntime-gpu for macOS nor for ARM."""

    def version(name: str) -> str:
        if name == "onnxruntime-gpu":
            raise metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(metadata, "version", version)
    expected = {"torch": "1", "demucs": "1", "onnxruntime": "1"}
    assert member_passes._library_versions.__wrapped__() == expected


def test_another_query_is_another_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lies beside the manifest; its numbers count, and not where they are."""
    asked = Asked(tmp_path, monkeypatch)
    parameters = validate(ZeroShotParameters, ZERO_SHOT, "row", ManifestError)
    computed = {}
    for folder, level in (("one", 1.0), ("same", 1.0), ("other", 2.0)):
        (tmp_path / folder).mkdir()
        for file in parameters.files:
            write_query(tmp_path / folder / file, torch.full((64,), level), {})
        manifest = tmp_path / folder / "rows.yaml"
        asked.row = dataclasses.replace(asked.row, parameters=parameters, manifest=manifest)
        computed[folder] = asked.computed()
    assert computed == {"one": 1, "same": 0, "other": 1}


def test_signals_of_one_content_and_another_shape_are_told_apart() -> None:
    hashes = {member_passes.sha256_of_signal(SIGNAL.reshape(shape)) for shape in ((2, 32), (1, 64), (64, 1))}
    assert len(hashes) == 3


def test_a_checkpoints_own_precision_is_what_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With auto it is chosen by network: of two that share everything else, each has its own."""
    asked = Asked(tmp_path, monkeypatch)
    loaded = []

    def load(row: Checkpoint, path: Path, device: torch.device, dtype: torch.dtype) -> Same:
        loaded.append(dtype)
        return Same()

    monkeypatch.setattr(member_passes, "load_model", load)
    for dtype in (torch.float32, torch.bfloat16):
        monkeypatch.setattr(member_passes, "dtype_of", lambda *arguments, dtype=dtype: dtype)
        assert asked.computed() == 1
        assert asked.computed() == 0
    assert loaded == [torch.float32, torch.bfloat16]


def test_what_a_pass_contributes_to_is_no_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So presets share passes."""
    asked = Asked(tmp_path, monkeypatch)
    assert asked.computed() == 1
    asked.one = dataclasses.replace(asked.one, factors={"other": {"vocals": 0.5}})
    assert asked.computed() == 0
