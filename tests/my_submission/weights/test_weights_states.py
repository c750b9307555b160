"""Tensors of a file: found in whatever a training framework saves, and filled into a network."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from my_submission.weights import UnsafeFile
from my_submission.weights.load import build, open_network_state, open_tensors


class Small(torch.nn.Module):
    """A network with a window that no state dict has, as a buffer or as a plain attribute."""

    def __init__(self, buffer: bool) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)
        window = torch.hann_window(4)
        if buffer:
            self.register_buffer("window", window, persistent=False)
        else:
            self.window = window


@pytest.mark.parametrize("buffer", [True, False])
def test_tensors_that_are_not_saved_are_made(tmp_path: Path, buffer: bool) -> None:
    before = torch.get_rng_state()
    state = {"layer.weight": torch.eye(4), "layer.bias": torch.ones(4)}
    network = build(tmp_path / "x.ckpt", lambda: Small(buffer), state)
    assert torch.equal(network.window, torch.hann_window(4))
    assert torch.equal(network.layer.weight, torch.eye(4))
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(UnsafeFile, match=r"x\.ckpt: tensor 'layer\.bias': .* shape \(4,\), found none"):
        build(tmp_path / "x.ckpt", lambda: Small(buffer), {"layer.weight": torch.eye(4)})


def test_tensors_are_taken_over_and_copied_only_where_they_must_be(tmp_path: Path) -> None:
    whole, half, larger = torch.randn(4, 4), torch.randn(4, 4).half(), torch.randn(9, 4)
    for weight, is_taken in ((whole, True), (half, False), (larger[:4], False), (whole.T, False)):
        for bias in (torch.ones(4), torch.ones(4).half()):
            state = {"weight": weight, "bias": bias}
            network = build(tmp_path / "x.ckpt", lambda: torch.nn.Linear(4, 4), state)
            assert torch.equal(network.weight, weight.float())
            assert torch.equal(network.bias, bias.float())
            assert (network.weight.dtype, network.bias.dtype) == (torch.float32, torch.float32)
            assert network.weight.is_contiguous()
            assert (
                network.weight.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr()
            ) == is_taken
            assert not network.weight.requires_grad


def test_a_networks_weights_stay_whatever_becomes_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"weight": torch.ones(4, 4), "bias": torch.ones(4)}, path)
    network = build(path, lambda: torch.nn.Linear(4, 4), open_network_state(path))
    with path.open("r+b") as file:
        size = path.stat().st_size
        file.seek(size - 80)
        file.write(bytes(80))
        file.flush()
        assert torch.equal(network.weight, torch.ones(4, 4))
        assert torch.equal(network.bias, torch.ones(4))
    assert all(weight.data_ptr() % 64 == 0 for weight in network.parameters())


def test_a_buffer_is_one_whatever_the_file_says_of_it(tmp_path: Path) -> None:
    state = torch.nn.BatchNorm1d(3).state_dict()
    state["running_mean"] = torch.nn.Parameter(torch.ones(3))
    state["running_var"] = torch.ones(3, requires_grad=True)
    torch.save(state, tmp_path / "x.ckpt")
    network = build(
        tmp_path / "x.ckpt", lambda: torch.nn.BatchNorm1d(3), open_network_state(tmp_path / "x.ckpt")
    )
    assert {"running_mean", "running_var"} <= dict(network.named_buffers()).keys()
    assert [name for name, _ in network.named_parameters()] == ["weight", "bias"]
    assert not any(buffer.requires_grad for buffer in network.buffers())


def test_a_tensor_with_two_names_in_one_layer_is_loaded_under_both(tmp_path: Path) -> None:
    class Twice(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = self.other = torch.nn.Parameter(torch.zeros(3))

    state = {"one": torch.arange(3.0), "other": torch.arange(3.0)}
    network = build(tmp_path / "x.th", Twice, state)
    assert torch.equal(network.one, state["one"])
    assert torch.equal(network.other, state["other"])


@pytest.mark.parametrize("name", ["x.safetensors", "x.ckpt", "x.pt", "x.pth", "x.th"])
def test_tensors_of_any_format(tmp_path: Path, name: str) -> None:
    state = {"a": torch.arange(3.0)}
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"epoch": 3, "state_dict": state}, path)
        with pytest.raises(UnsafeFile, match="expected a state of named tensors"):
            open_tensors(path)
    opened = open_tensors(path, inside=["state_dict"])
    assert list(opened) == ["a"]
    assert torch.equal(opened["a"], state["a"])


AVERAGE = {f"ema_model.{name}": torch.ones(3) for name in "ab"}
COUNTED = {"initted": torch.tensor(True), "step": torch.tensor(4)}


@pytest.mark.parametrize(
    "content",
    [
        {"n_averaged": torch.tensor(4), **{f"module.{name}": torch.ones(3) for name in "ab"}},
        {"model": {"a": torch.zeros(3), "b": torch.zeros(3)}, "ema": {**AVERAGE, **COUNTED}},
        {**AVERAGE, **COUNTED, "online_model.a": torch.zeros(3), "online_model.b": torch.zeros(3)},
        {"state_dict": {**AVERAGE, "model.a": torch.zeros(3), "model.b": torch.zeros(3)}},
        {"state": {"state_dict": {f"model.module.{name}": torch.ones(3).half() for name in "ab"}}},
        {"state_dict": {"model.a": torch.ones(3), "model.b": torch.ones(3), "loss.weight": torch.ones(1)}},
    ],
    ids=["torch's average", "an average beside", "both", "Lightning and both", "nested", "Lightning, loss"],
)
def test_weights_are_found_in_what_training_frameworks_save(content: dict[str, Any], tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.ckpt")
    state = open_network_state(tmp_path / "x.ckpt")
    assert sorted(state) == ["a", "b"]
    assert all(torch.equal(value, torch.ones(3)) for value in state.values())


def test_an_error_names_what_is_no_tensor(tmp_path: Path) -> None:
    state = {"a": torch.ones(3)}
    for content, found in (
        ({**state, "epoch": 3}, "'epoch' of the kind int"),
        ({"generator": state}, "'generator' of the kind dict"),
        ([state], "the kind list"),
    ):
        torch.save(content, tmp_path / "x.ckpt")
        with pytest.raises(UnsafeFile, match=f"expected a state of named tensors, found {found}"):
            open_network_state(tmp_path / "x.ckpt")
