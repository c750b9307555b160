"""Laws of every network from waveforms to waveforms, from its file to a track's estimates."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from my_submission.models import ChunkModel
from my_submission.registry import find_architecture
from my_submission.runtime.inference import estimate_track
from my_submission.runtime.pool import load_model
from my_submission.runtime.schedule import SEQUENTIAL, Schedule
from my_submission.schema import validate
from my_submission.signal.augment import Augmentation
from my_submission.signal.chunking import reader
from my_submission.weights import ManifestError, UnsafeFile
from tests.lower_precision import CPU, agreement
from tests.small_networks import NETWORKS, published_state, random_network, saved, small_row, write_beside
from tests.thinned import one_in

pytestmark = pytest.mark.processor

EVERY = pytest.mark.parametrize("name", one_in(4, NETWORKS))
FIRST = {architecture: name for name, (architecture, _, _) in reversed(NETWORKS.items())}.values()
ONE_EACH = pytest.mark.parametrize("name", FIRST)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ChunkModel]:
    """The networks by name, each opened once."""
    folder = tmp_path_factory.mktemp("networks")

    @functools.cache
    def open_network(name: str) -> ChunkModel:
        row = small_row(name, folder / f"{name}.ckpt")
        return load_model(row, saved(row), CPU, torch.float32)

    return open_network


Opened = Callable[[str], ChunkModel]


def chunks(model: ChunkModel, count: int) -> Tensor:
    random = torch.Generator().manual_seed(0)
    shape = count, model.geometry.channels, model.geometry.chunk_samples
    return 0.1 * torch.randn(shape, generator=random)


def estimates(model: ChunkModel, signal: Tensor, schedule: Schedule = SEQUENTIAL) -> Tensor:
    """A whole track's estimates at an overlap of 1/2, (sources, channels, samples)."""
    pieces = estimate_track(model, reader(signal), signal.shape[-1], Augmentation(), 0.5, schedule)
    return torch.cat([piece for _, piece in pieces], dim=-1)


@EVERY
def test_a_chunk_has_an_estimate_for_each_source(name: str, opened: Opened) -> None:
    model = opened(name)
    batch = chunks(model, 2)
    result = model(batch)
    assert result.shape == (2, len(model.sources), *batch.shape[1:])
    assert result.dtype == torch.float32
    assert result.std() > 1e-4


@pytest.mark.parametrize("name", ["scnet", "mdx23c", "bandit"])
def test_a_row_is_refused_by_its_key(name: str) -> None:
    architecture, _, parameters = NETWORKS[name]
    kind = find_architecture(architecture).parameters
    for change, complaint in (
        ({"n_fft": 1 << 17, "chunk_samples": 1 << 18}, "n_fft: expected at most 65,536, found 131072"),
        ({"fade_samples": 1_501}, "fade_samples: expected at most half of chunk_samples, 1500, found 1501"),
    ):
        with pytest.raises(ManifestError, match=complaint):
            validate(kind, {**parameters, **change}, "rows.yaml", ManifestError)


@EVERY
def test_the_batch_changes_nothing(name: str, opened: Opened) -> None:
    model = opened(name)
    batch = chunks(model, 3)
    batch[1] *= 0.01
    together = model(batch)
    for one, result in zip(batch, together, strict=True):
        assert agreement(model(one[None])[0], result) > 90


@EVERY
def test_constant_and_quiet_chunks(name: str, opened: Opened) -> None:
    model = opened(name)
    some = chunks(model, 1)
    batch = torch.cat([*(torch.full_like(some, level) for level in (0.0, 1e-9, 0.5)), 1e-9 * some])
    result = model(batch)
    assert result.isfinite().all()
    assert result.abs().max() < 1e3


@pytest.mark.thorough
@ONE_EACH
def test_what_is_not_needed_is_not_given(name: str, opened: Opened, tmp_path: Path) -> None:
    whole, last, row = opened(name), NETWORKS[name][1][-1], small_row(name, tmp_path / "x.ckpt")
    part = load_model(row, saved(row), CPU, torch.float32, {last})
    assert part.sources == (last,)
    batch = chunks(whole, 1)
    assert agreement(whole(batch)[:, -1:], part(batch)) > 110


@pytest.mark.thorough
@ONE_EACH
@pytest.mark.parametrize("samples", [1, 7_890])
def test_tracks_of_any_length_in_any_batches(name: str, samples: int, opened: Opened, noise: Tensor) -> None:
    model = opened(name)
    signal = noise[:, :samples]
    one = estimates(model, signal)
    assert one.shape == (len(model.sources), *signal.shape)
    assert one.isfinite().all()
    assert agreement(one, estimates(model, signal, Schedule(batch_size=4))) > 90


def wrapped(state: dict[str, Tensor], wrap: str) -> Any:
    prefixed = {f"model.{name}": value for name, value in state.items()}
    return {
        "bare": state,
        "lightning": {"epoch": 3, "state_dict": prefixed},
        "ema": {"ema_state_dict": {f"module.{name}": value for name, value in state.items()}},
        "fp16": {name: value.half() if value.is_floating_point() else value for name, value in state.items()},
    }[wrap]


FORMS = [
    (".ckpt", "lightning"),
    (".pt", "ema"),
    (".th", "bare"),
    (".pth", "fp16"),
    (".chpt", "bare"),
    (".safetensors", "fp16"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "suffix", "wrap"),
    [
        (name, *form)
        for index, name in enumerate(FIRST)
        for place, form in enumerate(FORMS)
        if index == 0 or place % 3 == index % 3  # what opens them is the same for all
    ],
)
def test_every_form_of_file_is_the_network(name: str, suffix: str, wrap: str, tmp_path: Path) -> None:
    row = small_row(name, tmp_path / f"x{suffix}")
    assert row.path is not None
    write_beside(row)
    network = random_network(row)
    content = wrapped(published_state(row, network), wrap)
    if suffix == ".safetensors":
        save_file({key: value.clone() for key, value in content.items()}, row.path)
    else:
        torch.save(content, row.path)
    model = load_model(row, row.path, CPU, torch.float32)
    if wrap == "fp16":
        network.load_state_dict({key: value.half() for key, value in network.state_dict().items()})
    batch = chunks(model, 1)
    assert agreement(network(batch), model(batch)) > 120


@pytest.mark.slow
@ONE_EACH
def test_another_networks_tensors_are_refused(name: str, tmp_path: Path) -> None:
    """One that is missing, one too many, and one of another shape."""
    row = small_row(name, tmp_path / "x.ckpt")
    assert row.path is not None
    write_beside(row)
    state = published_state(row, random_network(row))
    ends = ("conv.weight", "conv1.weight", "rnn.weight_hh_l0", "main_layer.weight_hh_l0")
    key = next(name for name in state if name.endswith(ends))
    for blamed, content in (
        (key, {name: value for name, value in state.items() if name != key}),
        ("surplus", {**state, "surplus": torch.zeros(1)}),
        (key, {**state, key: state[key][..., None]}),
    ):
        torch.save(content, row.path)
        with pytest.raises(UnsafeFile, match=rf"x\.ckpt: .*tensor '{blamed.removeprefix('bsrnn.')}'"):
            load_model(row, row.path, CPU, torch.float32)


@pytest.mark.thorough
@ONE_EACH
def test_auto_has_a_piece_of_work_where_lower_precision_is_near_enough(name: str, tmp_path: Path) -> None:
    row = small_row(name, tmp_path / "x.ckpt")
    path = saved(row)
    make = find_architecture(row.architecture).piece_of_work
    assert (make is None) == (name in ("mdx23c", "zero-shot"))
    if make is None:
        return
    for dtype in (torch.float32, torch.bfloat16):
        work = make(row, path, CPU, dtype)
        assert work is not None
        for share in (0.0, 0.5, 1.0):
            result = work(share)
            assert isinstance(result, Tensor)
            assert result.isfinite().all()
