"""Opening checkpoints: the released formats load to the same network, anything else is refused unopened."""

import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from demucs.htdemucs import HTDemucs
from demucs.states import load_model
from safetensors.torch import load_file, save_file

from evaluator.locations import REPOSITORY
from my_submission.models.demucs_file import load_torch
from my_submission.weights import (
    Checkpoint,
    UnsafeFile,
    WeightsError,
    WrongContent,
    load_manifest,
)
from my_submission.weights.load import open_tensors
from tests.random_checkpoints import (
    SMALL_SEGMENT,
    demucs_arguments,
    demucs_package,
    random_state,
    safetensors_metadata,
    save_demucs,
)
from tests.thinned import one_in

ROWS = load_manifest().checkpoints
NAMES = ("htdemucs", "htdemucs_6s", "hdemucs_mmi", "dnr_a778de4a")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NAME.th and NAME.safetensors with the same weights, for every name of NAMES."""
    folder = tmp_path_factory.mktemp("files")
    for name in NAMES:
        for suffix in (".th", ".safetensors"):
            save_demucs(name, folder / f"{name}{suffix}", small=True, seed=3)
    return folder


@pytest.mark.thorough
@pytest.mark.parametrize("suffix", [".th", ".safetensors"])
@pytest.mark.parametrize("name", NAMES)
def test_loads_what_demucs_itself_loads(files: Path, name: str, suffix: str) -> None:
    ours = load_torch(files / f"{name}{suffix}", ROWS[name])
    theirs = load_model(files / f"{name}.th")
    assert not ours.training
    assert not any(parameter.requires_grad for parameter in ours.parameters())
    for (key, ours_value), (_, value) in zip(
        ours.state_dict().items(), theirs.state_dict().items(), strict=True
    ):
        assert ours_value.dtype == torch.float32, key
        assert torch.equal(ours_value, value), key


@pytest.mark.thorough
def test_nothing_of_the_network_is_left_uninitialised(files: Path) -> None:
    """The network is built without memory first; what is no parameter must be there all the same."""
    ours = load_torch(files / "htdemucs.th", ROWS["htdemucs"])
    theirs = load_model(files / "htdemucs.th").eval()
    mixture = 0.1 * torch.randn(1, 2, 13_230, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(ours(mixture), theirs(mixture))


def test_loading_draws_no_random_numbers(files: Path) -> None:
    before = torch.get_rng_state()
    load_torch(files / "htdemucs.th", ROWS["htdemucs"])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.thorough
def test_the_rows_segment_replaces_the_files(files: Path) -> None:
    assert load_torch(files / "hdemucs_mmi.th", ROWS["hdemucs_mmi"]).segment == 44
    assert load_torch(files / "htdemucs.th", ROWS["htdemucs"]).segment == SMALL_SEGMENT


@pytest.mark.thorough
def test_sources_are_compared_with_the_row_under_our_names(files: Path) -> None:
    row = replace(ROWS["dnr_a778de4a"], sources=("effect", "music", "dialog"))
    with pytest.raises(
        WrongContent,
        match=r"dnr_a778de4a\.th: expected .* effect, music, dialog .*found music, effect, dialog",
    ):
        load_torch(files / "dnr_a778de4a.th", row)


def test_the_architecture_is_compared_with_the_row(files: Path) -> None:
    with pytest.raises(WrongContent, match=r"hdemucs_mmi\.th: expected htdemucs, .* found hdemucs"):
        load_torch(files / "hdemucs_mmi.th", ROWS["htdemucs"])


class Malicious:
    """Pickles to a call that creates a file."""

    def __init__(self, call: Callable[..., object], *arguments: object) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call, self.arguments


def package(**changes: Any) -> dict[str, Any]:
    network, kwargs = demucs_arguments("htdemucs", small=True)
    return {**demucs_package(network, kwargs, random_state("htdemucs", seed=0)), **changes}


@pytest.mark.parametrize("where", ["instead", "klass", "kwargs", "training_args"])
def test_a_malicious_pickle_is_refused_and_nothing_of_it_runs(tmp_path: Path, where: str) -> None:
    trap = tmp_path / "it-ran"
    evil = Malicious(os.mkdir, str(trap))
    path = tmp_path / "evil.th"
    torch.save(evil if where == "instead" else package(**{where: evil}), path)
    with pytest.raises(UnsafeFile, match=r"evil\.th: refused.*No code of it was run.*posix\.mkdir") as caught:
        load_torch(path, ROWS["htdemucs"])
    assert not trap.exists()
    assert "weights_only" not in str(caught.value), "torch's advice is to switch the protection off"
    torch.load(path, weights_only=False)
    assert trap.exists(), "the trap is real: an ordinary load springs it"


def test_a_plain_malicious_pickle_is_refused(tmp_path: Path) -> None:
    trap = tmp_path / "it-ran"
    path = tmp_path / "evil.th"
    path.write_bytes(pickle.dumps(Malicious(os.mkdir, str(trap)), protocol=2))
    with pytest.raises(UnsafeFile, match="refused"):
        load_torch(path, ROWS["htdemucs"])
    assert not trap.exists()


def test_the_environment_cannot_switch_the_protection_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    trap = tmp_path / "it-ran"
    torch.save(Malicious(os.mkdir, str(trap)), tmp_path / "evil.th")
    with pytest.raises(UnsafeFile, match="refused"):
        load_torch(tmp_path / "evil.th", ROWS["htdemucs"])
    assert not trap.exists()


def test_unpickling_constructs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.th"
    torch.save(package(training_args=Malicious(HTDemucs, ["vocals"])), path)
    monkeypatch.setattr(HTDemucs, "__init__", lambda *_, **__: pytest.fail("a network was constructed"))
    with pytest.raises(UnsafeFile, match=r"training_args|refused"):
        load_torch(path, ROWS["htdemucs"])


def test_numpy_numbers_among_the_metrics_are_not_read(tmp_path: Path, files: Path) -> None:
    """Released files were written by numpy 1, which calls the module numpy.core."""
    source, path = files / "htdemucs.th", tmp_path / "old.th"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            contents = old.read(name)
            if name.endswith("data.pkl"):
                assert b"numpy._core.multiarray" in contents
                contents = contents.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
            new.writestr(name, contents)
    assert load_torch(path, ROWS["htdemucs"]).segment == SMALL_SEGMENT


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"klass": "demucs.htdemucs.HTDemucs"}, r"found the class \"'demucs\.htdemucs\.HTDemucs'\""),
        (
            {"klass": Fraction},
            r"found the class .*Fraction.*, allowed: demucs\.htdemucs\.HTDemucs, demucs\.hdemucs",
        ),
        ({"args": {"a": 1}}, r"expected args as a list"),
        ({"args": (["bass"],)}, r"do not fit HTDemucs: multiple values for argument 'sources'"),
        ({"kwargs": {}}, r"do not fit HTDemucs: missing a required argument: 'sources'"),
        ({"state": {"a": 1}}, r"expected a state of named tensors"),
        ({"state": {}}, r"tensor '.*': its arguments describe shape \(.*\), found none"),
    ],
)
def test_a_package_that_is_not_as_demucs_writes_it_is_refused(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    path = tmp_path / "odd.th"
    torch.save(package(**changes), path)
    with pytest.raises(UnsafeFile, match=rf"odd\.th: .*{complaint}"):
        load_torch(path, ROWS["htdemucs"])


@pytest.mark.parametrize(
    ("changes", "complaint"),
    one_in(
        2,
        [
            ({"magic": 1}, r"do not fit HTDemucs: got an unexpected keyword argument 'magic'"),
            ({"samplerate": 48000}, r"samplerate: expected 44100, found 48000"),
            ({"audio_channels": 1}, r"audio_channels: expected 2, found 1"),
            ({"sources": "vocals"}, r"sources: expected a list of names"),
            ({"channels": {"a": 1}}, r"argument 'channels': expected numbers, text or lists"),
            ({"channels": "many"}, r"the network refuses its arguments"),
            ({"channels": 16}, r"tensor '.*': its arguments describe shape"),
            ({"channels": 1_000_000}, r"tensor '.*': its arguments describe shape"),
        ],
    ),
)
def test_arguments_are_checked_before_memory_is_allocated(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    kwargs = {**package()["kwargs"], **changes}
    torch.save(package(kwargs=kwargs), tmp_path / "odd.th")
    with pytest.raises(UnsafeFile, match=rf"odd\.th: .*{complaint}"):
        load_torch(tmp_path / "odd.th", ROWS["htdemucs"])


@pytest.mark.parametrize(
    ("changes", "complaint"),
    one_in(
        2,
        [
            ({"klass": "my_trap.Network"}, r"found the class 'my_trap\.Network'"),
            ({"klass": "os.system"}, r"found the class 'os\.system', allowed: demucs\.htdemucs\.HTDemucs"),
            ({"klass": None}, r"the metadata has no 'klass'"),
            ({"kwargs": "{"}, r"not a Demucs checkpoint, or damaged"),
            ({"kwargs": '{"segment": {"_type": "fraction", "numerator": 1, "denominator": 0}}'}, r"damaged"),
            ({"kwargs": '{"segment": {"_type": "fraction"}}'}, r"damaged"),
            ({"kwargs": "[" * 100_000}, r"damaged"),
            ({"args": "3"}, r"expected args as a list"),
            ({"structure": "{}"}, r"a diffq-quantised checkpoint"),
        ],
    ),
)
def test_safetensors_metadata_is_input_too(
    tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], complaint: str
) -> None:
    (tmp_path / "my_trap.py").write_text("raise SystemExit('a module was imported by name')")
    monkeypatch.syspath_prepend(tmp_path)
    network, kwargs = demucs_arguments("htdemucs", small=True)
    metadata = {**safetensors_metadata(network, kwargs), **changes}
    state = load_file(files / "htdemucs.safetensors")
    save_file(state, tmp_path / "odd.safetensors", {k: v for k, v in metadata.items() if v is not None})
    with pytest.raises(UnsafeFile, match=rf"odd\.safetensors: .*{complaint}"):
        load_torch(tmp_path / "odd.safetensors", ROWS["htdemucs"])


def test_safetensors_without_metadata_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "bare.safetensors")
    with pytest.raises(UnsafeFile, match="the metadata has no 'klass'"):
        load_torch(tmp_path / "bare.safetensors", ROWS["htdemucs"])


@pytest.mark.parametrize("suffix", [".th", ".safetensors"])
@pytest.mark.parametrize("damage", one_in(2, ["half", "empty", "html", "flipped"]))
def test_damaged_files_are_refused(tmp_path: Path, files: Path, suffix: str, damage: str) -> None:
    whole = (files / f"htdemucs{suffix}").read_bytes()
    contents = {
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "html": b"<!DOCTYPE html><html>404</html>",
        "flipped": b"\xff" * 64 + whole[64:],
    }[damage]
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(contents)
    with pytest.raises(UnsafeFile, match=r"damaged\.\w+: "):
        load_torch(path, ROWS["htdemucs"])


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    for name in ("none.th", "none.safetensors"):
        with pytest.raises(FileNotFoundError):
            load_torch(tmp_path / name, ROWS["htdemucs"])


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"expected a file that ends in \.th or \.th\.gz or \.safetensors"):
        load_torch(tmp_path / "x.onnx", ROWS["htdemucs"])


@pytest.mark.thorough
def test_positional_arguments_are_understood(tmp_path: Path) -> None:
    network, kwargs = demucs_arguments("htdemucs", small=True)
    sources = kwargs.pop("sources")
    with torch.random.fork_rng():
        module = network(sources, **kwargs)
    content = {**demucs_package(network, kwargs, module.state_dict()), "args": (sources,)}
    torch.save(content, tmp_path / "x.th")
    row: Checkpoint = ROWS["htdemucs"]
    assert list(load_torch(tmp_path / "x.th", row).sources) == list(row.sources)
    metadata = {**safetensors_metadata(network, kwargs), "args": json.dumps([sources])}
    save_file(module.state_dict(), tmp_path / "x.safetensors", metadata)
    assert list(load_torch(tmp_path / "x.safetensors", row).sources) == list(row.sources)


def test_tensors_are_opened_as_safely(tmp_path: Path) -> None:
    trap = tmp_path / "it-ran"
    torch.save({"state_dict": Malicious(os.mkdir, str(trap))}, tmp_path / "evil.ckpt")
    with pytest.raises(UnsafeFile, match="No code of it was run"):
        open_tensors(tmp_path / "evil.ckpt", inside=["state_dict"])
    assert not trap.exists()
    with pytest.raises(WeightsError, match=r"x\.onnx: expected a file that ends in \.safetensors or \.th, "):
        open_tensors(tmp_path / "x.onnx")


LOADS = """
import sys
from pathlib import Path
from my_submission.models.demucs_file import load_torch
from my_submission.weights import load_manifest
load_torch(Path(sys.argv[1]), load_manifest().checkpoints["htdemucs"])
print("torch._dynamo" in sys.modules)
"""


@pytest.mark.thorough
def test_loading_imports_no_compiler(files: Path) -> None:
    """Which takes longer than the rest of it."""
    command = [sys.executable, "-c", LOADS, str(files / "htdemucs.th")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
